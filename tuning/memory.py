"""What past studies leave behind: for each data set its meta-features, and for each recipe that was tried how it went.

A store is a folder of Parquet files, one a study, at any storage URI; a file alone is a store, too, of many studies, as the
one that is shipped is. Neither where a table lies nor any of its values is in it.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any

import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq

from cluster import storage
from synth.errors import UserError
from tuning.record import ENDING, Study

VERSION = 1
"""Of the store's layout and of what the knobs mean: a release that renames a knob or a meta-feature has another."""
STORE = "ARTESIAN_STUDIES"  # in the environment: where studies are remembered

POINT = pa.struct([("seconds", pa.float64()), ("step", pa.int64()), ("value", pa.float64()), ("error", pa.float64())])
LAYOUT = pa.schema(
    [
        ("version", pa.int32()),
        ("study", pa.string()),
        ("created", pa.timestamp("us", tz="UTC")),
        ("key", pa.string()),
        ("features", pa.map_(pa.string(), pa.float64())),
        ("family", pa.string()),
        ("knobs", pa.string()),
        ("origin", pa.string()),
        ("seed", pa.int64()),
        ("state", pa.string()),
        ("seconds", pa.float64()),
        ("steps", pa.int64()),
        ("value", pa.float64()),
        ("utility", pa.float64()),
        ("error", pa.float64()),
        ("coverage", pa.float64()),
        ("copying", pa.float64()),
        ("curve", pa.list_(POINT)),
    ]
)


@dataclass(frozen=True)
class Point:
    """A rung: after ``seconds`` of training, the value on ``select`` and its standard error from draw to draw."""

    seconds: float
    step: int
    value: float
    error: float


@dataclass(frozen=True)
class Tried:
    """A recipe and how it went: the rungs it reached, and the parts of the score at the last of them, not numbers where it
    failed before the first."""

    knobs: dict[str, Any]
    origin: str
    seed: int
    state: str
    curve: tuple[Point, ...] = ()
    utility: float = math.nan
    error: float = math.nan
    coverage: float = math.nan
    copying: float = math.nan

    @property
    def family(self) -> str:
        return str(self.knobs["family"])

    @property
    def failed(self) -> bool:
        return self.state == "failed" or not self.curve

    @property
    def value(self) -> float:
        """At the last rung; not a number where the trial failed."""
        return math.nan if self.failed else self.curve[-1].value

    @property
    def seconds(self) -> float:
        """How long it was trained, as far as it was scored."""
        return self.curve[-1].seconds if self.curve else 0.0


@dataclass(frozen=True)
class Past:
    """What one study says of one data set. ``key`` is the same for the same rows, and says nothing of them."""

    study: str
    created: datetime
    key: str
    features: dict[str, float]
    trials: tuple[Tried, ...]

    @classmethod
    def of(cls, study: Study) -> Past:
        """Of the search's trials that have ended: what was trained for longer would put those below it, whatever their
        knobs."""
        trials = []
        for trial in study.trials:
            if trial.state in ("waiting", "running") or trial.origin in ENDING:
                continue
            score = trial.last.score if trial.last else None
            parts = {} if score is None else score.model_dump(include={"utility", "error", "coverage", "copying"})
            curve = tuple(Point(r.seconds, r.step, r.score.value, r.error) for r in trial.curve)
            trials.append(Tried(trial.knobs, trial.origin, trial.seed, trial.state, curve, **parts))
        return cls(study.id, study.created, study.key, dict(study.features), tuple(trials))


def default_store() -> str:
    """Where studies are remembered unless a store is named: the user's data folder, or $ARTESIAN_STUDIES."""
    return os.environ.get(STORE) or os.path.join(platformdirs.user_data_dir("artesian"), "studies")


def remember(store: str, study: Study) -> None:
    """Write what a study found to the store, in place of what it wrote there before. A study of which no trial has ended
    leaves nothing. UserError where the store cannot be written."""
    past = Past.of(study)
    if past.trials:
        storage.write_bytes(storage.join(store, f"{study.id}.parquet"), packed([past]))


def recall(store: str) -> list[Past]:
    """All studies of a store, the oldest first: a folder, or one file. An empty list where there is nothing yet.

    Raises UserError, naming the file, for one that is damaged, of another version, or no study at all.
    """
    if not storage.exists(store):
        return []
    if storage.is_file(store):
        files = [store]
    else:
        names = [name for name in storage.list_files(store) if name.endswith(".parquet") and "/" not in name]
        files = [storage.join(store, name) for name in names]
    found = [past for file in files for past in unpacked(storage.read_bytes(file), storage.without_credentials(file))]
    return sorted(found, key=lambda past: (past.created, past.study))


def shipped() -> list[Past]:
    """What is known before the first study: recipes on many real tables, by benchmarks/prior_build.py."""
    return unpacked(resources.files("tuning").joinpath("prior.parquet").read_bytes(), "the shipped prior")


def packed(pasts: Sequence[Past]) -> bytes:
    """As one Parquet file, a row a trial."""
    rows = [
        {
            "version": VERSION, "study": past.study, "created": past.created, "key": past.key,
            "features": list(past.features.items()), "family": t.family, "knobs": json.dumps(t.knobs), "origin": t.origin,
            "seed": t.seed, "state": t.state, "seconds": t.seconds, "steps": t.curve[-1].step if t.curve else 0,
            "value": t.value, "utility": t.utility, "error": t.error, "coverage": t.coverage, "copying": t.copying,
            "curve": [vars(point) for point in t.curve],
        }
        for past in pasts
        for t in past.trials
    ]  # fmt: skip
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=LAYOUT), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def unpacked(data: bytes, name: str) -> list[Past]:
    """The studies in the bytes of a file; ``name`` is what errors call it."""
    remedy = "move it out of the store, or choose another store"
    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as e:  # what Arrow and Python say of bytes that are not as written
        raise UserError(f"{name}: is no Parquet file, or a damaged one; {remedy}") from e
    versions = {row.get("version", VERSION) for row in rows}
    if other := versions - {VERSION}:
        found = ", ".join(sorted(map(str, other)))
        raise UserError(f"{name}: holds studies of version {found}, and this is version {VERSION}; {remedy}")
    if not table.schema.equals(LAYOUT):
        raise UserError(f"{name}: is a Parquet file, but holds no studies; {remedy}")
    trials: dict[tuple[Any, ...], list[Tried]] = defaultdict(list)
    for row in rows:
        parts = {part: row[part] for part in ("origin", "seed", "state", "utility", "error", "coverage", "copying")}
        curve = tuple(Point(**point) for point in row["curve"])
        of = row["study"], row["created"], row["key"], tuple(row["features"])
        trials[of].append(Tried(json.loads(row["knobs"]), curve=curve, **parts))
    return [Past(study, at, key, dict(features), tuple(found)) for (study, at, key, features), found in trials.items()]
