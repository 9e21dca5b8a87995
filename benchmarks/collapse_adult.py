"""Generations of diffusion models that learn from each other's tables: what real rows, kept or fresh, are worth.

    python benchmarks/collapse_adult.py TRAIN.parquet SCHEMA.json --study DIR [--generations 6] [--budget 90s] [--seeds 1]

``artesian collapse`` of the diffusion family under replace, fresh:golden and accumulate, beside the control. Where DIR holds a
study it is gone on with. Lines are appended to results/collapse_adult.jsonl, one a chain: the figures of each generation, on
select and confirm rows, and in ``seconds`` what each took. ``--table`` prints generation 0 and the last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from published_protocol import circumstances, kinds

RESULTS = Path(__file__).parent / "results" / "collapse_adult.jsonl"
POLICIES = ("replace", "fresh:golden", "accumulate")
SHOWN = ("utility", "c2st", "rare", "coverage", "recall", "tail_recall", "variance")


def run(options: argparse.Namespace) -> None:
    schema = json.loads(options.schema.read_text())
    command = [
        str(Path(sys.executable).parent / "artesian"), "collapse", str(options.train), "--target", schema["target"],
        *kinds(schema), "--family", "diffusion", "--budget", options.budget, "--generations", str(options.generations),
        "--seeds", str(options.seeds), "--policy", ",".join(POLICIES), "--out", str(options.study),
        *(["--resume"] if (options.study / "study.json").exists() else []),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    study = json.loads((options.study / "study.json").read_text())
    with RESULTS.open("a") as file:
        for chain in study["found"]:
            asked = {"budget": options.budget, "rows": study["asked"]["rows"], "held": study["rows"]["held out"]}
            file.write(json.dumps(asked | chain | circumstances()) + "\n")


def table() -> str:
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    lines = [f"| policy | seed | rows | generation | {' | '.join(SHOWN)} |", "|---" * (4 + len(SHOWN)) + "|"]
    for row in rows:
        last = len(row["figures"]) - 1
        for generation in (0, last):
            told = " | ".join(f"{row['figures'][generation][name]:.3f}" for name in SHOWN)
            lines.append(f"| {row['policy']} | {row['seed']} | {row['rows']:,} | {generation} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("schema", type=Path, nargs="?")
    parser.add_argument("--study", type=Path)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--budget", default="90s")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    if not options.table:
        if options.train is None or options.schema is None or options.study is None:
            parser.error("TRAIN.parquet, SCHEMA.json and --study are needed")
        run(options)
    print(table())


if __name__ == "__main__":
    main()
