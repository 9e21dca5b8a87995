"""The rows of an answer are the sampler's own, in every format, from whichever row on, and say where they come from."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.formats import FORMATS
from synth import release as releases
from synth.provenance.keys import signing_key
from synth.provenance.origin import Origin
from synth.sampling import BLOCK, SMALL, Sampler
from tests.serving.service import Service

Serve = Callable[..., Service]
ASKED: list[dict[str, Any]] = [
    {}, {"where": "age>=40"}, {"where": {"city": ["Rome", "Oslo"], "member": True}}, {"balance": "city"},
    {"rare": "age>80", "boost": 3}, {"where": []},
]  # fmt: skip


def table(answer: Any, format: str, schema: pa.Schema) -> pa.Table:
    """What a reader of the format makes of an answer, with the columns' own types."""
    assert answer.status_code == 200, answer.text
    content = io.BytesIO(answer.content)
    if format == "arrow":
        return pa.ipc.open_stream(content).read_all().replace_schema_metadata()
    if format == "parquet":
        return pq.read_table(content).replace_schema_metadata()
    if format == "json":
        return pa.Table.from_pylist(json.loads(answer.content), schema)
    if format == "ndjson":
        return pa.Table.from_pylist([json.loads(line) for line in answer.text.splitlines()], schema)
    options = pyarrow.csv.ConvertOptions(
        column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    return pyarrow.csv.read_csv(content, convert_options=options)


def expected(
    sampler: Sampler, rows: int, *, seed: int, first: int = 0, asked: dict[str, Any] | None = None
) -> pa.Table:
    request = sampler.ask(**asked) if asked else None
    batches = sampler.batches(rows, seed=seed, first=first, request=request)
    return pa.Table.from_batches(batches, sampler.arrow(request)).combine_chunks()


@pytest.fixture(scope="module")
def service(people: Any, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service.of({"people": {"versions": {1: str(people)}}}, tmp_path_factory.mktemp("state"))


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("format", FORMATS)
def test_rows_are_the_sampler_s_own_in_every_format(
    service: Service, sampler: Sampler, format: str, asked: dict[str, Any]
) -> None:
    rows = BLOCK + 200
    answer = service.draw(n=rows, seed=5, first=100, format=format, **asked)
    wanted = expected(sampler, rows, seed=5, first=100, asked=asked)
    assert table(answer, format, wanted.schema).combine_chunks().equals(wanted)
    assert answer.headers["content-type"] == FORMATS[format].media_type
    assert answer.headers["content-disposition"] == f'attachment; filename="people-5.{format}"'
    assert answer.headers["cache-control"] == "no-store"


def test_fast_rows_are_the_student_s_where_there_is_one(service: Service, taught: Path, tmp_path: Path) -> None:
    served = Service.of({"people": {"versions": {1: str(taught)}}}, tmp_path)
    sampler = Sampler.from_release(releases.load(str(taught)))
    answer = served.draw(n=BLOCK + 50, seed=5, first=30, format="arrow", quality="fast")
    wanted = expected(sampler, BLOCK + 50, seed=5, first=30, asked={"quality": "fast"})
    assert table(answer, "arrow", wanted.schema).combine_chunks().equals(wanted)
    assert not wanted.equals(expected(sampler, BLOCK + 50, seed=5, first=30))
    [origin, _] = Origin.read(dict(answer.headers))
    assert origin.asked == {"quality": "fast"} and origin.key is not None
    assert served.draw(quality="best", seed=5, format="csv").content == served.draw(seed=5, format="csv").content
    for refused, words in (
        (service.draw(quality="fast"), "has no student"), (served.draw(quality="fast", where="age>=40"), "as they come"),
        (served.draw(quality="swift"), "'best' or 'fast'"),
    ):  # fmt: skip
        assert refused.status_code == 422 and words in refused.text


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**63 - 1), st.sampled_from([0, 1, SMALL - 1, BLOCK - 1, BLOCK, 2**62 + 5]), st.integers(2, 1_300),
    st.floats(0, 1, exclude_max=True), st.sampled_from([{}, {"where": "age>=40"}]),
)  # fmt: skip
def test_an_answer_that_was_cut_goes_on_with_the_same_rows(
    service: Service, sampler: Sampler, seed: int, first: int, rows: int, part: float, asked: dict[str, Any]
) -> None:
    cut = int(part * rows)
    wanted = expected(sampler, rows, seed=seed, first=first, asked=asked)
    whole = service.draw(n=rows, seed=seed, first=first, format="arrow", **asked)
    rest = service.draw(n=rows - cut, seed=seed, first=first + cut, format="arrow", **asked)
    assert table(whole, "arrow", wanted.schema).combine_chunks().equals(wanted)
    assert table(rest, "arrow", wanted.schema).combine_chunks().equals(wanted.slice(cut).combine_chunks())


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_the_origin_verifies_and_names_release_seed_rows_and_depth(service: Service, asked: dict[str, Any]) -> None:
    answer = service.draw(n=30, seed=9, first=7, format="parquet", **asked)
    found = [Origin.read(dict(answer.headers)), Origin.read(pq.read_schema(io.BytesIO(answer.content)).metadata)]
    assert found[0] == found[1]
    origin, shelf = found[0][0], service.desk.shelves["people@1"]
    assert (origin.release, origin.version, origin.name) == (shelf.manifest.id, "people@1", "people")
    assert (origin.seed, origin.first, origin.rows, origin.depth, origin.real_fraction) == (9, 7, 30, 1, 1.0)
    plain = not asked.get("where", True) or not asked
    assert origin.asked == ({} if plain else asked) and (origin.key is None) == plain
    assert answer.headers["artesian-rows"] == "7-36" and answer.headers["artesian-depth"] == "1"


def test_without_a_seed_one_is_drawn_that_any_language_can_hold(service: Service, sampler: Sampler) -> None:
    answers = [service.draw(n=20, format="arrow") for _ in range(5)]
    seeds = {int(answer.headers["artesian-seed"]) for answer in answers}
    assert len(seeds) == 5 and all(0 <= seed < 2**53 for seed in seeds)
    for answer in answers:
        wanted = expected(sampler, 20, seed=int(answer.headers["artesian-seed"]))
        assert table(answer, "arrow", wanted.schema).equals(wanted)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"), ("text/csv", "text/csv"), ("application/x-ndjson, */*;q=0.1", "application/x-ndjson"),
        ("text/html, application/vnd.apache.parquet;q=0.5", "application/vnd.apache.parquet"), ("*/*", "application/json"),
    ],
)  # fmt: skip
def test_the_accept_header_chooses_where_the_request_does_not(
    service: Service, accept: str | None, media_type: str
) -> None:
    headers = {"accept": accept} if accept is not None else {}
    answer = service.client.post("/v1/generators/people/samples", json={"n": 3}, headers=headers)
    assert answer.headers["content-type"].partition(";")[0] == media_type
    named = service.client.post("/v1/generators/people/samples", json={"n": 3, "format": "csv"}, headers=headers)
    assert named.headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize(
    ("asked", "status", "type", "field"),
    [
        ({"n": 0}, 422, "invalid-request", "/n"), ({"n": -1}, 422, "invalid-request", "/n"),
        ({"n": 1.5}, 422, "invalid-request", "/n"), ({"n": "5"}, 422, "invalid-request", "/n"),
        ({"n": True}, 422, "invalid-request", "/n"), ({"n": None}, 422, "invalid-request", "/n"),
        ({"n": 1_000_001}, 413, "too-many-rows", "/n"), ({"n": 1e12}, 413, "too-many-rows", "/n"),
        ({"seed": -1}, 422, "invalid-request", "/seed"), ({"seed": 2**63}, 422, "invalid-request", "/seed"),
        ({"first": -1}, 422, "invalid-request", "/first"), ({"rows": 5}, 422, "invalid-request", "/rows"),
        ({"format": "xml"}, 422, "invalid-request", "/format"), ({"where": ["age>30"] * 65}, 422, "too-many-clauses", "/where"),
        ({"where": "agee>30"}, 422, "impossible", "/where"), ({"where": "age>900"}, 422, "impossible", "/where"),
        ({"where": "age in (1"}, 422, "impossible", "/where"),
        ({"where": {"age": float("1e400")}}, 422, "invalid-request", "/where"),
        ({"where": {"age": float("nan")}}, 422, "invalid-request", "/where"),
        ({"balance": "age"}, 422, "impossible", "/balance"), ({"boost": 3}, 422, "impossible", "/boost"),
        ({"rare": "age>80", "boost": 1e6}, 422, "impossible", "/boost"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_asked_is_a_problem_and_leaves_nothing(
    service: Service, asked: dict[str, Any], status: int, type: str, field: str | None
) -> None:
    content = json.dumps({"n": 10} | asked).replace("Infinity", "1e400")
    answer = service.client.post(
        "/v1/generators/people/samples", content=content, headers={"content-type": "application/json"}
    )
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), told
    assert (told["type"], told["status"], told.get("field")) == (f"/problems/{type}", status, field)
    assert told["detail"] and service.idle
    if asked.get("n") == 1e12:  # more than a job has, too
        assert told["remedy"].startswith("ask for fewer, or have a job draw them, at most 10,000,000,000:")
    if type == "impossible":  # it was let in, and then could not be done
        assert (service.audit[-1]["code"], service.audit[-1]["sent"]) == (422, 0)


@pytest.mark.parametrize(
    ("name", "status"), [("nobody", 404), ("people@7", 404), ("people:beta", 404), ("People", 422), ("people@x", 422)]
)
def test_names_that_are_not_served_are_problems(service: Service, name: str, status: int) -> None:
    answer = service.draw(name)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "text/*;q=2"])
def test_what_nobody_can_write_is_not_acceptable(service: Service, accept: str) -> None:
    answer = service.client.post("/v1/generators/people/samples", json={"n": 3}, headers={"accept": accept})
    assert (answer.status_code, answer.json()["type"]) == (406, "/problems/not-acceptable") and service.idle


def test_the_seed_decides_which_version_of_a_trial_draws(serve: Serve, people: Any, others: Any) -> None:
    served = {"versions": {1: str(people), 2: str(others)}, "aliases": {"trial": {1: 1, 2: 1}}}
    service = serve(generators={"people": served})
    found = {}
    for seed in range(12):
        answer = service.draw("people:trial", n=5, seed=seed, format="arrow")
        origin, _ = Origin.read(dict(answer.headers))
        assert service.draw(origin.version, n=5, seed=seed, format="arrow").content[-400:] == answer.content[-400:]
        found[origin.version] = origin.release
    assert found == {name: service.desk.shelves[name].manifest.id for name in ("people@1", "people@2")}


def test_the_monitor_is_shown_all_that_was_sent(serve: Serve) -> None:
    service = serve()
    service.draw(n=2 * BLOCK, seed=1, format="parquet")
    service.draw(n=10, seed=1, where="age>=40")
    assert [(version, piece.first, rows) for version, piece, rows in service.backend.watched] == [
        ("people@1", 0, SMALL), ("people@1", SMALL, BLOCK - SMALL), ("people@1", BLOCK, BLOCK), ("people@1", 0, 10),
    ]  # fmt: skip
    assert service.backend.watched[-1][1].words == {"where": "age>=40"}


def test_the_service_signs_with_its_own_key(serve: Serve) -> None:
    origin, signer = Origin.read(dict(serve().draw().headers))
    assert signer.kind == "own" and origin.public_key == signing_key().public_key().public_bytes_raw()
