from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from synth.errors import ReleaseError
from synth.provenance import keys, manifest
from synth.provenance.manifest import DataEntry, FileEntry, Manifest, Training

HASH = "ab" * 32


def data(**changes: Any) -> DataEntry:
    return DataEntry(**{"location": "adult.parquet", "sha256": HASH, "rows": 3, "role": "train", **changes})


def record(**changes: Any) -> Manifest:
    files = {name: manifest.file_entry(name.encode()) for name in manifest.IDENTITY}
    fields: dict[str, Any] = {
        "name": "adult",
        "id": manifest.release_id(files),
        "created": datetime(2026, 5, 1, 12, tzinfo=UTC),
        "files": files,
        "data": [data()],
        "parents": [],
        "generation_depth": 0,
        "real_fraction": 1.0,
        "recipe_sha256": HASH,
        "environment": manifest.environment(),
        "seed": 0,
        "training": Training(steps=10, seconds=1.5, workers=1, zero=0, devices=["CPU"]),
    }
    return Manifest(**{**fields, **changes})


def test_round_trip_has_one_spelling() -> None:
    first = record(name="añadir")
    content = first.canonical()
    assert manifest.parse(content) == first
    assert manifest.parse(content).canonical() == content
    assert json.loads(content)["created"] == "2026-05-01T12:00:00Z"
    assert b"a\xc3\xb1adir" in content
    assert b'": ' not in content
    assert list(json.loads(content)) == sorted(json.loads(content))


def test_the_environment_names_what_ran() -> None:
    found = manifest.environment()
    assert found.packages["torch"] is not None
    assert set(found.packages) == {"artesian", "torch", "ray", "deepspeed", "numpy", "pyarrow"}
    assert found.git_commit is None or len(found.git_commit.removesuffix("-dirty")) == 40


@pytest.mark.parametrize(
    ("location", "written"),
    [
        ("/data/key=US/a b.parquet", "/data/key=US/a b.parquet"),
        ("s3://bucket/adult.parquet", "s3://bucket/adult.parquet"),
        ("s3://AKIA123:s3cr3t@bucket/x@y?region=eu-west-1", "s3://bucket/x@y?region=eu-west-1"),
        ("s3://AKIA123:s3/cr3t+x@bucket/x", "s3://bucket/x"),
        ("postgresql://ana:s3cr3t@db:5432/shop?password=s3cr3t&sslmode=require", "postgresql://db:5432/shop"),
        ("postgresql://ana:s3@cr3t@db/shop", "postgresql://db/shop"),
        ("https://host:8080/a.csv?X-Amz-Signature=s3cr3t&sig=s3cr3t#s3cr3t", "https://host:8080/a.csv"),
        ("abfss://box@account.dfs.core.windows.net/x?sig=s3cr3t", "abfss://box@account.dfs.core.windows.net/x"),
        ("abfss://box:s3cr3t@account/x", "abfss://account/x"),
        ("zip://a.csv::https://ana:s3cr3t@host/b.zip?token=s3cr3t", "zip://a.csv::https://host/b.zip"),
        ("Driver=X;Server=db;UID=ana;PWD=s3cr3t/1 2;Port=1", "Driver=X;Server=db;UID=ana;PWD=***;Port=1"),
        ("host=db password='s3cr3t word' dbname=shop", "host=db password=*** dbname=shop"),
        ("jdbc:sqlserver://db:1433;user=ana;password=s3cr3t", "jdbc:sqlserver://db:1433;user=ana;password=***"),
    ],
)
def test_credentials_never_reach_the_record(location: str, written: str) -> None:
    content = record(data=[data(location=location)]).canonical().decode()
    assert json.loads(content)["data"][0]["location"] == written
    assert "s3cr3t" not in content
    assert "cr3t" not in content


def test_depth_follows_the_training_data() -> None:
    synthetic = data(real=False, depth=2)
    assert record(data=[data(), synthetic], generation_depth=2).generation_depth == 2
    assert record(data=[data(), data(role="test", real=False, depth=5)]).generation_depth == 0
    with pytest.raises(ValidationError, match="generation_depth"):
        record(data=[synthetic])
    with pytest.raises(ValidationError, match="real rows"):
        data(real=True, depth=1)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../x", "a//b", "", "C:\\x", "a/."])
def test_a_listed_file_cannot_be_outside(name: str) -> None:
    files = dict(record().files) | {name: FileEntry(sha256=HASH, bytes=1)}
    with pytest.raises(ValidationError, match="plain path"):
        record(files=files)


def test_the_id_is_that_of_the_generator_not_of_its_report() -> None:
    first = record()
    assert manifest.release_id({**first.files, "report.html": manifest.file_entry(b"1")}) == first.id
    changed = {**first.files, "weights.safetensors": manifest.file_entry(b"1")}
    assert manifest.release_id(changed) != first.id
    with pytest.raises(ValidationError, match="id is not"):
        record(files=changed)


def test_a_signature_holds_for_these_bytes_alone() -> None:
    content = record().canonical()
    signature = manifest.sign(content)
    assert manifest.public_key_of(content, signature) == keys.signing_key().public_key().public_bytes_raw()
    with pytest.raises(ReleaseError):
        manifest.public_key_of(content + b"\n", signature)


def test_every_byte_of_the_signature_file_counts() -> None:
    content = record().canonical()
    signature = manifest.sign(content)
    for position in range(len(signature)):
        for flip in (1, 32):
            altered = bytearray(signature)
            altered[position] ^= flip
            with pytest.raises(manifest.SignatureError):
                manifest.public_key_of(content, bytes(altered))
    with pytest.raises(manifest.SignatureError):
        manifest.public_key_of(content, signature + b" ")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format": "artesian-release/2"}', b"null"])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ReleaseError, match="not a manifest"):
        manifest.parse(content)
    with pytest.raises(ReleaseError):
        manifest.public_key_of(b"", content)


def test_a_signature_of_nothing_but_brackets_is_none() -> None:
    with pytest.raises(manifest.SignatureError):
        manifest.public_key_of(b"", b"[" * 60_000)


def test_a_manifest_of_a_later_version_asks_for_that_version() -> None:
    later = record().canonical().replace(b"artesian-release/1", b"artesian-release/2")
    with pytest.raises(ReleaseError, match=r"is of format artesian-release/2, .* update this one"):
        manifest.parse(later)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        manifest.canonical_json({"auc": float("nan")})


def test_a_manifest_from_before_training_was_watched_is_read() -> None:
    written = json.loads(record().canonical())
    del written["training"]["watched"]
    assert manifest.parse(json.dumps(written).encode()).training.watched is None
