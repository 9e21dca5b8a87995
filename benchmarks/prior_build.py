"""Turn the runs of prior_runs.py into the prior that is shipped, tuning/prior.parquet.

    OMP_NUM_THREADS=1 python benchmarks/prior_build.py TABLES [--runs RUNS] [--out tuning/prior.parquet]

What a search would have seen goes into it: the scores on select, at every rung; those on confirm stay out. The
meta-features are of the same training rows that the recipes learnt from. ``make prior`` does all three steps: the tables, the
runs, which go on where they were stopped, and this.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from prior_runs import RESULTS, base, parted

from tuning.features import describe
from tuning.memory import Past, Point, Tried, packed

PRIOR = Path(__file__).parents[1] / "tuning" / "prior.parquet"


def name_of(table: str) -> str:
    """The study of a table."""
    return f"prior-{table}"


def tried(row: dict[str, Any]) -> Tried:
    """A run as the search would have seen it."""
    origin = "default" if row["recipe"] < 3 else "drawn"
    if "failed" in row:
        return Tried(row["knobs"], origin, 0, "failed")
    # Steps at the early rungs were not written down: there are as many a second as at the end.
    pace = row["steps"] / row["cpu_s"]
    early = [(seconds, [score]) for seconds, score in row["curve"]]
    curve = tuple(
        Point(seconds, round(pace * seconds), *value_and_error(scores))
        for seconds, scores in [*early, (row["cpu_s"], row["select"])]
    )
    last = {
        part: float(np.mean([s[part] for s in row["select"]])) for part in ("utility", "error", "coverage", "copying")
    }
    return Tried(row["knobs"], origin, 0, "done", curve, **last)


def value_and_error(scores: list[dict[str, float]]) -> tuple[float, float]:
    """The mean over draws, and its standard error from draw to draw; 0 for a single draw, of which nothing is known."""
    values = [score["value"] for score in scores]
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def past(table: str, key: str, features: dict[str, float], rows: Iterable[dict[str, Any]]) -> Past:
    rows = list(rows)
    began = min(datetime.fromisoformat(row["date"]) for row in rows)
    return Past(name_of(table), began, key, features, tuple(tried(row) for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--runs", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=PRIOR)
    options = parser.parse_args()
    runs = [json.loads(line) for line in options.runs.read_text().splitlines()]
    found = []
    for table in json.loads((options.tables / "tables.json").read_text()):
        rows = [row for row in runs if row["table"] == table["name"]]
        if not rows:
            continue
        prepared = parted(table, options.tables, base(table, 1.0))
        key = hashlib.sha256((options.tables / f"{table['name']}.parquet").read_bytes()).hexdigest()[:32]
        found.append(past(table["name"], key, describe(prepared.schema, prepared.real), rows))
        print(f"{table['name']}: {prepared.real.num_rows:,} rows of train, {len(rows)} recipes", flush=True)
    options.out.write_bytes(packed(found))
    print(f"{options.out}: {len(found)} tables, {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
