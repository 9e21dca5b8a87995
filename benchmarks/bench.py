"""The short benchmark, anywhere: `artesian demo` for a minute, and what comes of it beside the last figures that were kept.

    make bench        or: python benchmarks/bench.py [--budget 1m] [--rows 20000] [--keep]

Takes two to four minutes on two cores: a minute of training, the rest is start, certificate and drawing. It needs no more than
`make install` has brought, so no yardstick and no peers (these are in published_protocol.py and peers.py): the figures are the
certificate's own, on rows of the shipped Adult census table that were held out. Speeds: optimizer steps a second of training;
seconds from the command to a file with the first row; rows a second in a process that has the release (sampling_speed.py).

``--keep`` appends the row to results/bench.jsonl, and is no default: what an unknown, perhaps busy machine measures at a
commit with changes of one's own is to be looked at, and nothing to hold others against.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import sampling_speed
from published_protocol import circumstances

RESULTS = Path(__file__).parent / "results" / "bench.jsonl"
FIGURES = (
    "shape_error", "trend_error", "c2st_tree", "coverage", "rare_category_coverage", "tstr_auc", "dcr_share", "exact_copies",
)  # fmt: skip
SPEEDS = ("steps_per_s", "rows_per_s", "first_row_s", "train_command_s")


def measure(budget: str, rows: int) -> tuple[dict[str, Any], dict[str, float]]:
    """What is told of the run, and the certificate's figures for real rows."""
    from cluster.machine import usable_threads

    with tempfile.TemporaryDirectory() as scratch:
        release = f"{scratch}/release"
        train = timed("demo", "--budget", budget, "--out", release)
        first = timed("sample", release, "-n", "1", "--out", f"{scratch}/one.parquet")
        command = sampling_speed.command(release, threads=usable_threads(), rows=rows)
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        training = json.loads(Path(release, "manifest.json").read_text())["training"]
        figures = json.loads(Path(release, "certificate.json").read_text())["figures"]
    found = {
        "budget": budget, "rows": rows, **{name: figures[name]["value"] for name in FIGURES},
        "steps": training["steps"], "steps_per_s": round(training["steps"] / training["seconds"], 2),
        "rows_per_s": json.loads(told)["rows_per_s"], "first_row_s": round(first, 2),
        "train_command_s": round(train, 1), **circumstances(), "device": training["devices"],
    }  # fmt: skip
    return found, {name: figures[name]["baseline"] for name in FIGURES}


def timed(*words: str) -> float:
    """The seconds that the command takes."""
    began = time.monotonic()
    subprocess.run([str(Path(sys.executable).parent / "artesian"), *words], check=True)
    return time.monotonic() - began


def table(now: dict[str, Any], real: dict[str, float], kept: dict[str, Any] | None) -> str:
    """The run beside real rows and the last that was kept with its budget, as Markdown."""
    lines = ["| | now | real rows | kept |", "|---|---|---|---|"]
    for name in (*FIGURES, *SPEEDS):
        cells = [now[name], real.get(name), None if kept is None else kept.get(name)]
        told = ["–" if v is None else f"{v:,.0f}" if v >= 1000 else f"{v:.4g}" for v in cells]
        lines.append(f"| {name} | " + " | ".join(told) + " |")
    if kept is not None:
        lines += [
            "",
            f"kept: {kept['date'][:10]}, commit {kept['commit'][:12]}, {kept['machine']}, {', '.join(kept['device'])}",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="1m")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--keep", action="store_true", help="append the row to results/bench.jsonl")
    options = parser.parse_args()
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    now, real = measure(options.budget, options.rows)
    print(table(now, real, next((row for row in reversed(rows) if row["budget"] == options.budget), None)))
    if options.keep:
        with RESULTS.open("a") as file:
            file.write(json.dumps(now) + "\n")


if __name__ == "__main__":
    main()
