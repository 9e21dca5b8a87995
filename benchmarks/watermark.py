"""What the watermark and the log of drawn rows are worth on a release: power, false alarms, survival, harm and cost.

    python benchmarks/watermark.py RELEASE DATA_DIR --scratch DIR [--rows 24576] [--only power …]

DATA_DIR holds train.parquet, test.parquet and schema.json; rows are drawn once, with and without the watermark, into DIR, which
also gets the keys and the log of the benchmark, so that the user's own stay as they are. What is measured is appended to
benchmarks/results/watermark.jsonl, a line a question.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from published_protocol import circumstances, kinds

from synth import release as releases
from synth.data.source import open_source
from synth.evaluation.compare import compare
from synth.marking import mark_of
from synth.provenance import recognition
from synth.provenance.canonical import cells
from synth.provenance.served import Log, Prints, logged
from synth.provenance.watermark import SURE, Detector, Mark
from synth.release import Release
from synth.sampling import BLOCK, Sampler

RESULTS = Path(__file__).parent / "results" / "watermark.jsonl"
SEED = 1
KEYS = 10_000  # random keys that false alarms are looked for with


class Bench:
    """A release, its mark, and rows of it drawn with and without: ``took`` are the seconds of each."""

    def __init__(self, release: Release, data: Path, scratch: Path, rows: int) -> None:
        self.release, self.mark, self.scratch = release, mark_of(release), scratch
        self.train, self.test = (pq.read_table(data / f"{part}.parquet") for part in ("train", "test"))
        self.told = json.loads((data / "schema.json").read_text())
        self.took = dict[str, float]()
        self.plain, self.marked = (self._drawn(name, rows) for name in ("plain", "marked"))

    def _drawn(self, name: str, rows: int) -> pa.Table:
        path = self.scratch / f"{name}-{rows}.parquet"
        if not path.exists():
            sampler = Sampler.from_release(self.release, self.mark if name == "marked" else None)
            began = time.perf_counter()
            batches = logged(self.release, sampler.batches(rows, seed=SEED), SEED, None)
            table = pa.Table.from_batches(batches)
            pq.write_table(table, path)
            path.with_suffix(".seconds").write_text(str(time.perf_counter() - began))
        self.took[name] = float(path.with_suffix(".seconds").read_text())
        return pq.read_table(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    parser.add_argument("data", type=Path)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=24 * BLOCK)
    parser.add_argument("--only", nargs="+", default=list(QUESTIONS), choices=list(QUESTIONS))
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "ARTESIAN_CONFIG_DIR": str(options.scratch / "config"),
        "ARTESIAN_STATE_DIR": str(options.scratch / "state"),
    }
    bench = Bench(releases.load(options.release), options.data, options.scratch, options.rows)
    for name in options.only:
        row = {"question": name, "rows_drawn": options.rows, **QUESTIONS[name](bench), **circumstances()}
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


QUESTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {"none": lambda b: {}}

if __name__ == "__main__":
    main()
