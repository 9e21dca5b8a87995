"""Do releases get better by refinement, and are their samples more useful then? Scored by a yardstick.

    python benchmarks/refined.py DATA_DIR RELEASES_DIR YARDSTICK.py --yardstick-python PYTHON [--tables adult …]
        [--cures neon sims feedback] [--steps 400] [--draws 5]

DATA_DIR holds a folder a table with train.parquet, test.parquet and schema.json, RELEASES_DIR a release of each, ``TABLE-*``.
Each is refined by each cure for so many steps. What is refused is written down with its figures on select; of what is
published, as many rows as train has are drawn a few times, and of the release that it was made from, and a separate program
scores them against the test rows: the difference in TSTR, and its standard error over the draws. Lines are appended to
results/refined.jsonl, and ``--table`` prints them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from published_protocol import circumstances, scored

import artesian
from synth.errors import UserError

RESULTS = Path(__file__).parent / "results" / "refined.jsonl"
CURES = ("discriminator", "neon", "sims", "gradients", "feedback")


def run(folder: Path, release: Path, cure: str, options: argparse.Namespace) -> dict[str, Any]:
    """What became of it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "refined"
        ways = {"by": cure} | ({"feedback": "train"} if cure == "feedback" else {})
        try:
            artesian.refine(
                release,
                str(folder / "train.parquet"),
                out=out,
                test=str(folder / "test.parquet"),
                steps=options.steps,
                **ways,
            )
        except UserError as e:
            return {
                "published": False,
                "said": str(e).replace(str(release), release.name),
                "seconds": round(time.monotonic() - began),
            }
        seconds = round(time.monotonic() - began)
        manifest = json.loads((out / "manifest.json").read_text())
        before, after = (
            [score(folder, one, seed, options) for seed in range(1, 1 + options.draws)] for one in (release, out)
        )
    return {
        "published": True,
        "said": manifest["training"]["notes"][0],
        "seconds": seconds,
        "before": before,
        "after": after,
    }


def score(folder: Path, release: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """By the yardstick, of one draw."""
    rows = json.loads((folder / "schema.json").read_text())["rows"]["train"]
    command = str(Path(sys.executable).parent / "artesian")
    with tempfile.TemporaryDirectory() as scratch:
        samples = f"{scratch}/samples.parquet"
        subprocess.run(
            [command, "sample", str(release), "-n", str(rows), "--seed", str(seed), "--out", samples], check=True
        )
        return scored(folder, samples, options.yardstick, options.yardstick_python)


def table() -> str:
    lines = ["| table | cure | published | TSTR on test | what was said |", "|---|---|---|---|---|"]
    for row in map(json.loads, RESULTS.read_text().splitlines()):
        told = ""
        if row["published"]:
            gains = [b["tstr"] - a["tstr"] for a, b in zip(row["before"], row["after"], strict=True)]
            error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
            told = f"{statistics.mean(gains):+.4f} ± {error:.4f}"
        said = " ".join(row["said"].split())
        lines.append(f"| {row['table']} | {row['cure']} | {'yes' if row['published'] else 'no'} | {told} | {said} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("releases", type=Path, nargs="?")
    parser.add_argument("yardstick", type=Path, nargs="?")
    parser.add_argument("--yardstick-python", default=sys.executable)
    parser.add_argument("--tables", nargs="+", default=["magic", "shoppers", "default", "beijing", "adult"])
    parser.add_argument("--cures", nargs="+", choices=CURES, default=["neon", "sims", "feedback"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    if not options.table:
        if options.yardstick is None:
            parser.error("DATA_DIR, RELEASES_DIR and YARDSTICK.py are needed")
        for cure in options.cures:
            for name in options.tables:
                release = min(options.releases.glob(f"{name}-*"))
                asked = {"table": name, "cure": cure, "steps": options.steps, "release": release.name}
                found = asked | run(options.data / name, release, cure, options) | circumstances()
                with RESULTS.open("a") as file:
                    file.write(json.dumps(found) + "\n")
    print(table())


if __name__ == "__main__":
    main()
