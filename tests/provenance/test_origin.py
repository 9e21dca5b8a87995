"""An origin is read back as it was signed, or not at all."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI, Response
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient

from serving.formats import FORMATS, Encoder
from synth.data.schema import Column
from synth.provenance import keys, manifest
from synth.provenance.manifest import DataEntry, Manifest, Training
from synth.provenance.origin import MOST_ASKED, Origin, OriginError
from synth.provenance.watermark import Mark

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
HASH = "ab" * 32


FILES = {name: manifest.file_entry(name.encode()) for name in manifest.IDENTITY}
RELEASE = Manifest(
    name="adult", id=manifest.release_id(FILES), created=AT, files=FILES, parents=[],
    data=[DataEntry(location="a.parquet", sha256=HASH, rows=3, role="train", real=False, depth=2)],
    generation_depth=2, real_fraction=0.25, recipe_sha256=HASH, environment=manifest.environment(), seed=0,
    training=Training(steps=1, seconds=1, workers=1, zero=0, devices=["CPU"]),
)  # fmt: skip


def origin(**changes: Any) -> Origin:
    fields: dict[str, Any] = {
        "version": "3", "seed": 7, "first": 100, "rows": 50, "key": "0123456789abcdef",
        "asked": {"where": ["age>=65", "town=Ñuñoa"], "balance": None}, "at": AT, "public_key": PUBLIC,
    }  # fmt: skip
    return Origin.of(RELEASE, **fields | changes)


def test_an_origin_says_what_is_needed_to_draw_the_rows_again() -> None:
    said = json.loads(origin().canonical())
    assert said == {
        "format": "artesian-origin/1", "release": RELEASE.id, "name": "adult", "version": "3", "seed": 7, "first": 100,
        "rows": 50, "key": "0123456789abcdef", "asked": {"where": ["age>=65", "town=Ñuñoa"]}, "depth": 3,
        "real_fraction": 0.25, "at": "2026-05-01T12:00:00Z", "signer": base64.b64encode(PUBLIC).decode(),
    }  # fmt: skip
    assert list(said) == sorted(said)


def test_a_watermark_is_said_and_its_absence_is_not() -> None:
    columns = [Column(name="x", kind="numerical", dtype="int64")]
    mark = Mark(release=RELEASE.id, name="adult", key="cd" * 16, columns=columns, tokens=[["x"]], coins=[16])
    marked = origin(mark=mark)
    assert marked.mark == mark.id and b"mark" not in origin().canonical()
    assert Origin.verify(marked.canonical(), marked.sign(KEY)) == marked
    said = json.loads(marked.canonical())
    assert said["mark"] == mark.id and mark.key not in str(said)


def test_one_moment_has_one_spelling() -> None:
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert origin(at=there).canonical() == origin().canonical()
    with pytest.raises(ValidationError, match="timezone"):
        origin(at=AT.replace(tzinfo=None))


def test_of_what_was_asked_the_key_remains_where_it_is_long() -> None:
    long = origin(asked={"where": ["x" * MOST_ASKED]})
    assert long.asked is None and long.key == "0123456789abcdef"
    assert len(str(long.headers(long.sign(KEY)))) < 2_000
    most = origin(asked={"where": ["x" * (MOST_ASKED - len('{"where":[""]}'))]})
    assert most.asked is not None
    assert sum(len(k) + len(v) + 4 for k, v in most.headers(most.sign(KEY)).items()) < 6_000


def test_nothing_asked_has_no_key() -> None:
    assert origin(key=None, asked={"where": None}).asked == {}
    assert origin(key=None, asked={"where": []}).asked == {}, "an empty list asks for nothing"
    with pytest.raises(ValidationError, match="key"):
        origin(asked={})


def test_the_headers_that_people_read() -> None:
    signature = origin().sign(KEY)
    headers = origin().headers(signature)
    assert headers["Artesian-Release"] == RELEASE.id and headers["Artesian-Seed"] == "7"
    assert headers["Artesian-Rows"] == "100-149" and headers["Artesian-Depth"] == "3"
    assert base64.urlsafe_b64decode(headers["Artesian-Origin"]) == origin().canonical()
    assert origin(rows=1).headers(signature)["Artesian-Rows"] == "100-100"
    assert origin(rows=0).headers(signature)["Artesian-Rows"] == "none"


def through_http(found: Origin) -> tuple[Origin, keys.Signer]:
    app = FastAPI()

    @app.get("/")
    def answer() -> Response:
        return Response(headers=found.headers(found.sign(KEY)))

    with TestClient(app) as client:
        return Origin.read(client.get("/").headers)


def through_a_file(name: str) -> Callable[[Origin], tuple[Origin, keys.Signer]]:
    def read(found: Origin) -> tuple[Origin, keys.Signer]:
        encoder = Encoder(FORMATS[name], pa.schema([("n", pa.int64())]), found.metadata(found.sign(KEY)))
        content = encoder.begin() + encoder.end()
        is_parquet = name == "parquet"
        schema = pq.read_schema(io.BytesIO(content)) if is_parquet else pa.ipc.open_stream(content).schema
        return Origin.read(schema.metadata)

    return read


WAYS = {"http": through_http, "parquet": through_a_file("parquet"), "arrow": through_a_file("arrow")}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_read_back_with_its_signer(way: str) -> None:
    found, signer = WAYS[way](origin())
    assert found == origin()
    assert signer == keys.Signer("unknown", keys.fingerprint(PUBLIC))
    keys.config_dir().mkdir()
    keys.trust_file().write_text(f"{keys.fingerprint(PUBLIC)}  the service of the data team\n")
    assert WAYS[way](origin())[1].name == "the service of the data team"


def test_a_services_own_key_is_known() -> None:
    key = keys.signing_key()
    own = origin(public_key=key.public_key().public_bytes_raw())
    assert Origin.read(own.headers(own.sign(key)))[1].kind == "own"


def changed(text: str, position: int) -> str:
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]


@pytest.mark.parametrize("way", ["headers", "metadata"])
def test_whatever_was_altered_is_refused(way: str) -> None:
    first = origin()
    signature = first.sign(KEY)
    given = first.headers(signature) if way == "headers" else first.metadata(signature)
    assert Origin.read(given)[0] == first
    for name, value in given.items():
        for position in range(0, len(value), 1 if len(value) < 100 else 7):
            with pytest.raises(OriginError):
                Origin.read(given | {name: changed(value, position)})
        with pytest.raises(OriginError):
            Origin.read(given | {name: value + "="})
        with pytest.raises(OriginError):
            Origin.read(given | {name: ""})


def test_another_signer_does_not_pass_for_this_one() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
    text = origin().canonical()
    forged = base64.b64encode(other.sign(text)).decode()
    with pytest.raises(OriginError, match="not as it was signed"):
        Origin.verify(text, forged)
    own = origin(public_key=other.public_key().public_bytes_raw())
    assert Origin.read(own.headers(own.sign(other)))[1].fingerprint != keys.fingerprint(PUBLIC)


@pytest.mark.parametrize(
    "found",
    [None, {}, {"Artesian-Release": HASH}, {"Artesian-Origin": "e30="}, {b"artesian.origin": b"{}"},
     {"Artesian-Origin": "é", "Artesian-Signature": ""}, {b"artesian.origin": b"\xff", b"artesian.signature": b"\xff"}],
)  # fmt: skip
def test_what_is_no_origin_is_refused(found: Any) -> None:
    with pytest.raises(OriginError):
        Origin.read(found)


def test_a_version_that_is_not_read_here_is_named() -> None:
    text = origin().canonical().replace(b"artesian-origin/1", b"artesian-origin/2")
    signature = base64.b64encode(KEY.sign(text)).decode()
    with pytest.raises(OriginError, match="not an origin that this version reads: format"):
        Origin.verify(text, signature)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e300, 1e300) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
LINES = st.text(max_size=20) | st.sampled_from(["x\r\nSet-Cookie: a=b", "\n", "\0", "é\u2028"])


@given(
    name=LINES, version=LINES, key=LINES, seed=st.integers(0, 2**64 - 1), first=st.integers(0, 2**70),
    rows=st.integers(0, 2**70), asked=st.dictionaries(LINES, VALUES, min_size=1, max_size=3),
    share=st.floats(0, 1), at=st.datetimes(timezones=st.just(UTC)),
)  # fmt: skip
def test_nothing_breaks_out_of_a_header(
    name: str, version: str, key: str, seed: int, first: int, rows: int, asked: dict[str, Any], share: float,
    at: datetime,
) -> None:  # fmt: skip
    found = Origin.of(
        RELEASE.model_copy(update={"name": name, "real_fraction": share}), version=version, seed=seed, first=first,
        rows=rows, key=key, asked={"where": []} | asked, at=at, public_key=PUBLIC,
    )  # fmt: skip
    headers = found.headers(found.sign(KEY))
    for header, value in headers.items():
        assert re.fullmatch(r"[A-Za-z-]+", header) and re.fullmatch(r"[A-Za-z0-9+/=_-]+", value), header
    assert Origin.read(headers)[0] == found
    given = {k.encode(): v.encode() for k, v in found.metadata(found.sign(KEY)).items()}
    assert Origin.read(given)[0] == found


def test_a_signature_that_is_none_is_no_header() -> None:
    with pytest.raises(OriginError):
        origin().headers("x\r\nSet-Cookie: a=b")
