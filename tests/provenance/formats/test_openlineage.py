"""Trainings as events: two of each, the same every time, with what was read and what was written."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from synth import release as releases
from synth.provenance import lineage
from synth.provenance.formats.openlineage import events
from synth.provenance.manifest import DataEntry, Manifest, parse, sign
from tests.provenance.formats.conftest import save


def release(place: Path) -> Manifest:
    return parse((place / "manifest.json").read_bytes())


def test_each_training_starts_and_completes(made: Path, written: Callable[..., str]) -> None:
    told = json.loads(written(made / "rows2.parquet", "openlineage"))
    g1, g0 = [one for one in lineage.walk(str(made / "rows2.parquet")).all() if one.kind == "release"]
    assert [(one["eventType"], one["job"]["name"]) for one in told] == [
        ("START", "train.g0"), ("COMPLETE", "train.g0"), ("START", "train.g1"), ("COMPLETE", "train.g1")
    ]  # fmt: skip
    start, done = told[2:]
    assert start["run"]["runId"] == done["run"]["runId"] != told[0]["run"]["runId"]
    assert uuid.UUID(done["run"]["runId"]).version == 5
    times = [datetime.fromisoformat(one["eventTime"]) for one in (start, done)]
    assert times[1] - times[0] == timedelta(seconds=60) and times[0].tzinfo is not None
    said = done["run"]["facets"]["artesian_lineage"]
    assert (said["release"], said["depth"], said["realFraction"]) == (g1.sha256, 1, 0.0)
    # The release that the rows were drawn from is what the training before has written: the runs hang together.
    assert (
        [one["name"] for one in told[1]["outputs"]]
        == [f"release/{g0.sha256}"]
        == [one["name"] for one in done["inputs"][2:]]
    )
    assert [(one["namespace"], one["name"]) for one in done["inputs"][:2]] == [
        ("artesian", f"rows1.csv@{g1.parents[0].sha256[:12]}"),
        ("artesian", f"test.parquet@{g1.parents[1].sha256[:12]}"),
    ]
    assert done["inputs"][1]["facets"]["artesian_rows"]["role"] == "test" and start["outputs"] == []


def test_events_are_the_same_every_time(made: Path) -> None:
    assert events(release(made / "g1")) == events(release(made / "g1"))


def test_what_every_event_and_facet_must_have(made: Path) -> None:
    for event in events(release(made / "g1")):
        assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
        assert event.keys() >= {"eventType", "eventTime", "run", "job", "producer"}
        holders: list[dict[str, Any]] = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
        for facet in (facet for one in holders for facet in one["facets"].values()):
            assert urlsplit(facet["_producer"]).scheme and urlsplit(facet["_schemaURL"]).scheme


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("/data/people.parquet", ("artesian", "people.parquet@000000000000")),
        ("file:///data/people.parquet", ("artesian", "people.parquet@000000000000")),
        ("C:\\data\\people.parquet", ("artesian", "people.parquet@000000000000")),
        ("the table", ("artesian", "the table@000000000000")),
        ("zip://a.csv::/data/people.zip", ("artesian", "people.zip@000000000000")),
        ("local:///data/people.parquet", ("artesian", "people.parquet@000000000000")),
        ("s3://KEY:SECRET@bucket/a/b.parquet?region=x", ("s3://bucket", "a/b.parquet")),
        ("abfss://box@account.dfs.core.windows.net/a.csv", ("abfss://box@account.dfs.core.windows.net", "a.csv")),
    ],
)
def test_tables_are_named_by_their_storage(made: Path, location: str, named: tuple[str, str]) -> None:
    entry = DataEntry(location=location, sha256="0" * 64, rows=1, role="test")
    found = release(made / "g0")
    found = found.model_copy(update={"data": [entry]})
    [table] = events(found)[0]["inputs"]
    assert (table["namespace"], table["name"]) == named


def test_no_path_of_this_machine_is_in_an_event(made: Path, written: Callable[..., str]) -> None:
    for place in (made / "real.parquet", f"file://{made}/real.parquet"):
        save(releases.load("g0"), "g9", {"train": str(place)}, seed=9)
        assert str(made) not in written(made / "g9", "openlineage")
        shutil.rmtree("g9")


def test_tables_of_one_name_are_two(made: Path) -> None:
    found = release(made / "g0")
    data = [DataEntry(location="train.parquet", sha256=digit * 64, rows=1, role="train") for digit in "01"]
    first, second = [events(found.model_copy(update={"data": [one]}))[0]["inputs"][0] for one in data]
    assert first["name"] != second["name"]


@pytest.mark.parametrize("created", [datetime.min, datetime(2026, 5, 1)])
def test_a_training_that_cannot_have_been_so_long_is_written(
    made: Path, created: datetime, written: Callable[..., str]
) -> None:
    found = release(made / "g0")

    def lasted(seconds: float) -> Manifest:
        training = found.training.model_copy(update={"seconds": seconds})
        return found.model_copy(update={"training": training, "created": created.replace(tzinfo=UTC)})

    content = lasted(1e300).canonical()
    (made / "g0" / "manifest.json").write_bytes(content)
    (made / "g0" / "manifest.sig").write_bytes(sign(content))
    for format in ("openlineage", "prov", "card"):
        assert len(written(made / "g0", format)) < 20_000
    for seconds in (0.0, 60.0, 1e300, float("inf")):
        start, end = [datetime.fromisoformat(one["eventTime"]) for one in events(lasted(seconds))]
        assert start <= end == created.replace(tzinfo=UTC)


def test_rows_without_an_origin_have_no_training(made: Path, written: Callable[..., str]) -> None:
    assert json.loads(written(made / "real.parquet", "openlineage")) == []
