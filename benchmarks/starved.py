"""Few real rows, and many that an earlier model drew: weighed, pooled, or left alone?

    python benchmarks/starved.py TRAIN.parquet TEST.parquet SCHEMA.json [--seeds 0 1 2 3 4] [--steps 600]

Of a seed, an earlier generator learns from 2,000 real rows that are gone then, and 4,500 rows are drawn from it. What is left
are 500 other real rows. A second generator learns from these alone (``real``), from both as one table would be (``pooled``: a
tenth of each batch is real), from both with the golden weight (``golden``), and from that half of the drawn rows that judges of
the 500 find likeliest, with their golden weight (``verified``). Of each, 5,000 rows are drawn, and three learners that learn
from them are scored on the real test rows (AUC, their mean); ``none``: the learners learn from the 500 rows themselves,
``earlier``: from those that the earlier generator drew. Lines are appended to results/starved.jsonl; ``--table`` prints means,
and how far golden is above each, with the error over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from published_protocol import circumstances, kinds

from synth.data.infer import infer
from synth.data.source import open_source
from synth.evaluation.frame import Lens
from synth.evaluation.utility import Downstream

RESULTS = Path(__file__).parent / "results" / "starved.jsonl"
EARLIER, REAL, DRAWN, SAMPLED = 2_000, 500, 4_500, 5_000
ARMS = {
    "real": (),
    "pooled": ("--mix", str(REAL / (REAL + DRAWN))),
    "golden": ("--mix", "golden"),
    "verified": ("--mix", "golden", "--verify", "0.5"),
}


def run(options: argparse.Namespace, seed: int, judge: Judge) -> dict[str, Any]:
    schema = json.loads(options.schema.read_text())
    table = pq.read_table(options.train)
    rows = table.take(np.random.default_rng(seed).permutation(len(table)))
    artesian = str(Path(sys.executable).parent / "artesian")
    ways = ["--target", schema["target"], *kinds(schema), "--test", str(options.test), "--split", "1,0,0"]
    ways += ["--steps", str(options.steps), "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pq.write_table(rows.slice(0, EARLIER), folder / "earlier.parquet")
        pq.write_table(rows.slice(EARLIER, REAL), folder / "real.parquet")

        def made(name: str, data: str, count: int, *more: str) -> pa.Table:
            subprocess.run([artesian, "train", data, "--out", str(folder / name), *ways, *more], check=True)
            drawn = str(folder / f"{name}-rows.parquet")
            subprocess.run(
                [artesian, "sample", str(folder / name), "-n", str(count), "--seed", str(seed + 1), "--out", drawn],
                check=True,
            )
            return pq.read_table(drawn)

        earlier = made("earlier-release", str(folder / "earlier.parquet"), DRAWN)
        found = {"none": judge(rows.slice(EARLIER, REAL)), "earlier": judge(earlier)}
        for name, more in ARMS.items():
            both = ("--synthetic", str(folder / "earlier-release-rows.parquet")) if more else ()
            found[name] = judge(made(name, str(folder / "real.parquet"), SAMPLED, *both, *more))
    return {"auc": found}


class Judge:
    """AUC on the test rows of learners that have learnt from some."""

    def __init__(self, train: Path, test: Path, schema: dict[str, Any]) -> None:
        real, held = pq.read_table(train), pq.read_table(test)
        classes = [*schema["categorical"], schema["target"]]
        known = infer(
            open_source(str(train)), target=schema["target"], categorical=classes, numerical=schema["numerical"]
        )
        self.lens = Lens.fit(known, {"train": real})
        rng = np.random.default_rng(0)
        ours, theirs = (self.lens.view(rows, what, rng)[0] for rows, what in ((real, "train"), (held, "test")))
        self.downstream = Downstream(self.lens, ours, theirs, rng)

    def __call__(self, rows: pa.Table) -> dict[str, float]:
        rng = np.random.default_rng(1)
        found = self.downstream.judge(self.lens.view(rows, "the rows", rng)[0], rng)
        return {learner: round(estimate.value, 5) for learner, estimate in found.synthetic["auc"].items()}


def table() -> str:
    rows = [json.loads(line)["auc"] for line in RESULTS.read_text().splitlines()]
    lines = ["| learnt from | AUC | golden is above it by |", "|---|---|---|"]
    for name in ("none", "earlier", *ARMS):
        values = [row[name]["mean"] for row in rows]
        ahead = [row["golden"]["mean"] - row[name]["mean"] for row in rows]
        error = statistics.stdev(ahead) / len(ahead) ** 0.5 if len(ahead) > 1 else float("nan")
        lines.append(f"| {name} | {statistics.mean(values):.4f} | {statistics.mean(ahead):.4f} ± {error:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("schema", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    if not options.table:
        if options.schema is None:
            parser.error("TRAIN.parquet, TEST.parquet and SCHEMA.json are needed")
        judge = Judge(options.train, options.test, json.loads(options.schema.read_text()))
        for seed in options.seeds:
            found = run(options, seed, judge)
            with RESULTS.open("a") as file:
                file.write(json.dumps({"seed": seed, "steps": options.steps} | found | circumstances()) + "\n")
    print(table())


if __name__ == "__main__":
    main()
