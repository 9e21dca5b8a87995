"""Twenty random conditions on a table: is every row as asked, how far is what comes from real rows, and what does it cost.

    python benchmarks/conditions.py RELEASE DATA_DIR [--conditions 20] [--rows 10000] [--only K …]

RELEASE learnt from DATA_DIR/train.parquet. Conditions have one to three clauses, drawn at random among those that at least
``--support`` of the test rows meet. Whether a row is as asked is decided by pandas, which knows nothing of the release.

``distance`` is the total-variation distance between samples and the train rows that meet the condition, the mean over
columns with numbers in twenty bins of equal mass; ``baseline`` is the same for the test rows that meet it. Both are of as
many rows: the distance is the mean over disjoint lots of that size. ``unconditional_ratio`` is the same for all rows, at
that size: what the release, not the condition, is to blame for. Time is the process's own, so that whatever else the
machine does is no part of it; ``throughput`` is relative to unconditional sampling. Results are appended to
results/conditions.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

import artesian

RESULTS = Path(__file__).parent / "results" / "conditions.jsonl"
BINS = 20
Clause = tuple[str, str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    parser.add_argument("data", type=Path)
    parser.add_argument("--conditions", type=int, default=20)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--support", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the conditions to run")
    arguments = parser.parse_args()
    train, test = (pd.read_parquet(arguments.data / f"{part}.parquet") for part in ("train", "test"))
    model = artesian.load(arguments.release)
    model.table(1024)  # what happens only once
    began = time.process_time()
    plain = model.sample(arguments.rows, seed=1)
    seconds = time.process_time() - began
    found = conditions(train, test, arguments.conditions, arguments.support, arguments.seed)
    for k, clauses in enumerate(found):
        if arguments.only and k not in arguments.only:
            continue
        found_here = measured(model, plain, clauses, train, test, arguments.rows)
        throughput = {"throughput": round(seconds / float(str(found_here["cpu_s"])), 3)}  # of the unconditional one
        result = {"condition": k, **found_here, **throughput, **circumstances(model)}
        print(json.dumps(result), flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(result) + "\n")


def conditions(train: pd.DataFrame, test: pd.DataFrame, number: int, support: int, seed: int) -> list[list[Clause]]:
    """Random conditions that enough of the test rows meet."""
    draw, found = np.random.default_rng(seed), list[list[Clause]]()
    while len(found) < number:
        names = draw.choice(train.columns, 1 + len(found) % 3, replace=False)
        clauses = [clause(train[name], draw) for name in names]
        if support <= meets(test, clauses).sum() < 0.9 * len(test):
            found.append(clauses)
    return found


def clause(column: pd.Series, draw: np.random.Generator) -> Clause:
    present = column.dropna()
    if pd.api.types.is_numeric_dtype(column):
        bound = present.quantile(draw.uniform(0.1, 0.9)).item()
        return column.name, draw.choice([">=", "<="]), int(bound) if float(bound).is_integer() else bound
    values = draw.choice(present.unique(), min(draw.integers(1, 4), present.nunique() - 1), replace=False).tolist()
    return column.name, draw.choice(["in", "not in"], p=[0.8, 0.2]), values


def meets(frame: pd.DataFrame, clauses: list[Clause]) -> np.ndarray:
    met = np.ones(len(frame), bool)
    for name, operation, value in clauses:
        column = frame[name]
        one = {
            ">=": lambda c, v: c >= v, "<=": lambda c, v: c <= v,
            "in": lambda c, v: c.isin(v), "not in": lambda c, v: c.notna() & ~c.isin(v),
        }[operation](column, value)  # fmt: skip
        met &= one.fillna(False).to_numpy(bool)
    return met


def written(name: str, operation: str, value: object) -> str:
    return f"'{name}' {operation} " + (
        f"({', '.join(json.dumps(v) for v in value)})" if isinstance(value, list) else str(value)
    )


def measured(
    model: artesian.Model,
    plain: pd.DataFrame,
    clauses: list[Clause],
    train: pd.DataFrame,
    test: pd.DataFrame,
    rows: int,
) -> dict[str, object]:
    """``plain`` are unconditional samples."""
    where = [written(*one) for one in clauses]
    began = time.process_time()
    frame = model.table(rows, seed=1, where=where).to_pandas()
    seconds = time.process_time() - began
    real, other = (part[meets(part, clauses)] for part in (train, test))
    size = min(len(other), rows)
    distance, baseline = mean_apart(real, frame, size), mean_apart(real, other, size)
    return {
        "where": where, "rows": rows, "train_rows": len(real), "test_rows": len(other),
        "satisfied": float(meets(frame, clauses).mean()),
        "distance": round(distance, 5), "baseline": round(baseline, 5), "ratio": round(distance / baseline, 3),
        "unconditional_ratio": round(mean_apart(train, plain, size) / mean_apart(train, test, size), 3),
        "cpu_s": round(seconds, 2),
    }  # fmt: skip


def mean_apart(real: pd.DataFrame, other: pd.DataFrame, size: int) -> float:
    """Over disjoint lots of ``size`` rows of the other table."""
    lots = range(0, len(other) - size + 1, size)
    return float(np.mean([apart(real, other.iloc[first : first + size]) for first in lots]))


def apart(real: pd.DataFrame, other: pd.DataFrame) -> float:
    """Mean over columns of the total-variation distance."""
    return float(np.mean([_apart(real[name], other[name]) for name in real.columns]))


def _apart(real: pd.Series, other: pd.Series) -> float:
    if pd.api.types.is_numeric_dtype(real):
        edges = np.unique(real.quantile(np.arange(1, BINS) / BINS))
        real, other = (
            pd.Series(np.searchsorted(edges, part.astype(float))).where(part.notna().to_numpy())
            for part in (real, other)
        )
    shares = [part.value_counts(normalize=True, dropna=False) for part in (real, other)]
    return float(shares[0].subtract(shares[1], fill_value=0).abs().sum() / 2)


def circumstances(model: artesian.Model) -> dict[str, object]:
    return {
        "release": model.release.manifest.id[:12], "steps": model.release.manifest.training.steps,
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


if __name__ == "__main__":
    main()
