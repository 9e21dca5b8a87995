"""Tables that a worker does not hold: what streaming costs, and whether memory stays bounded.

    python benchmarks/streaming.py speed [--rows 5e6]
    python benchmarks/streaming.py large [--rows 5e7] [--data FILE]

* speed: rows a second of the loop with rows streamed from the run's storage beside rows held in memory, the same table
  and the same steps, in turns.
* large: the whole of ``artesian train`` on a table of 20 columns that is made first: seconds of each phase, rows a second
  of the loop, and the largest resident memory of a training worker, of a task that reads a piece, and of the driver.

Rows are appended to benchmarks/results/streaming.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

from cluster.session import connected
from synth.progress import Display
from synth.recipe import Recipe
from synth.training import prepare, run, workers

RESULTS = Path(__file__).parent / "results" / "streaming.jsonl"
GROUP = 1_000_000  # rows of a row group
Facts = dict[str, Any]


def block(rows: int, seed: int) -> pa.Table:
    """Six smooth numbers, three of money, four counts, five categories (3 to 768 of them), a date and a class."""
    draw = np.random.default_rng(seed)
    hidden = draw.normal(size=(rows, 3))
    columns: dict[str, Any] = {}
    for i in range(6):
        columns[f"smooth_{i}"] = hidden[:, i % 3] * (i + 1) + draw.normal(size=rows) / 2
    for i in range(3):
        columns[f"money_{i}"] = np.round(np.exp(hidden[:, i] + 0.3 * draw.normal(size=rows)) * 100, 2)
    for i in range(4):
        columns[f"count_{i}"] = (draw.poisson(np.exp(1 + 0.3 * hidden[:, i % 3])) * 10**i).astype(np.int32)
    for i in range(5):
        code = np.minimum(np.exp(hidden[:, i % 3]) * 2 * (i + 1), 3 * 4**i - 1).astype(np.int32)
        words = pa.array([f"{j:03}" for j in range(3 * 4**i)])
        columns[f"category_{i}"] = pa.DictionaryArray.from_arrays(code, words)
    columns["day"] = (draw.integers(0, 3650, rows) + 14_000).astype("datetime64[D]")
    of_class = hidden[:, 0] + hidden[:, 1] * hidden[:, 2] + draw.normal(size=rows) > 0
    columns["class"] = np.where(of_class, "yes", "no")
    return pa.table(columns)


def make(rows: int, path: Path) -> None:
    sample = block(10, 0)
    with pq.ParquetWriter(path, sample.schema) as writer:
        for seed, start in enumerate(range(0, rows, GROUP)):
            writer.write_table(block(min(GROUP, rows - start), seed), row_group_size=GROUP)


def recipe_of(**training: Any) -> Recipe:
    settings = {f"training.{key}": value for key, value in training.items()}
    return Recipe.read(None, {"target": "class", **settings}).resolved(test_apart=False)


def of_speed(rows: int, data: Path, scratch: Path) -> Facts:
    rates: dict[str, list[float]] = {"held": [], "streamed": []}
    recipe = recipe_of(steps=300)
    with connected() as ray:
        found = prepare.open_sources(str(data), None, recipe)
        tables = {
            "held": prepare.prepare(*found, recipe),
            "streamed": prepare.prepare(*found, recipe, store=str(scratch / "rows")),
        }
        held = tables["held"].encoded
        for turn, kind in enumerate(("held", "streamed") * 3):
            if isinstance(held, list):
                tables["held"].encoded = list(held)  # which the run empties
            place = str(scratch / f"{turn}.run")
            done = workers.fit(ray, recipe, tables[kind], place, lambda phase, done, facts: None, embedded=True)
            rates[kind].append(round(done["rows_per_s"]))
    held_rate, streamed_rate = (statistics.median(rates[kind]) for kind in rates)
    return {"rows": rows, "ratio": round(streamed_rate / held_rate, 3), "rows_per_s": rates}


class Memory(threading.Thread):
    """The largest resident memory of the processes under this one, by what they are; MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most: dict[str, int] = {}

    def run(self) -> None:
        me = psutil.Process()
        while True:
            for process in [me, *me.children(recursive=True)]:
                try:
                    name, size = process.name(), process.memory_info().rss >> 20
                except psutil.NoSuchProcess:
                    continue
                kind = (
                    "driver" if process == me else "worker" if "RayTrainWo" in name else "task" if "Map" in name else ""
                )
                if kind:
                    self.most[kind] = max(self.most.get(kind, 0), size)
            time.sleep(0.5)


def of_large(rows: int, data: Path, scratch: Path) -> Facts:
    memory, phases, began = Memory(), dict[str, float](), time.monotonic()
    memory.start()
    with Display() as display:

        def progress(phase: str, done: float, facts: Facts) -> None:
            phases[phase.partition(":")[0]] = time.monotonic() - began  # when it was last heard of
            display(phase, done, facts)

        done = run.train(str(data), recipe_of(budget_s=240), str(scratch / "release"), progress=progress)
    training = done.manifest.training
    return {
        "rows": rows,
        "file_mib": data.stat().st_size >> 20,
        "most_mib": memory.most,
        "until_s": {phase: round(at) for phase, at in phases.items()},
        "rows_per_s": round(training.steps * 1024 / training.seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["speed", "large"])
    parser.add_argument("--rows", type=float)
    parser.add_argument("--data", type=Path, help="a table made by an earlier run, or where to keep the one made now")
    options = parser.parse_args()
    rows = int(options.rows or {"speed": 5e6, "large": 5e7}[options.kind])
    RESULTS.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "table.parquet"
        if not data.exists():
            make(rows, data)
        measure = {"speed": of_speed, "large": of_large}[options.kind]
        row = {"what": options.kind, **measure(rows, data, Path(folder)), **circumstances()}
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
