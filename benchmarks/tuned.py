"""Does a search find samples that are more useful than the default recipe's, at the same budget? Scored by a yardstick.

    python benchmarks/tuned.py DATA_DIR YARDSTICK.py --yardstick-python PYTHON [--tables adult …] [--budget 30m]
        [--keep DIR]

DATA_DIR holds a folder a table with train.parquet, test.parquet and schema.json. Each table is given to ``artesian tune``,
which starts from the shipped prior alone, and to ``artesian train`` with the same split, budget and seed (``--what tuned``
or ``default`` for one of them). As many rows as train has are drawn from either release, five times, and a separate
program scores each draw against the test rows; the standard error is from draw to draw, and says nothing of other seeds of
training. Lines are appended to benchmarks/results/tuned.jsonl: beside the scores, the share of all cores' time that
workers computed in, from the first second to the release, and the optimism of the released score. ``--keep`` leaves the
releases, and the studies beside them, in a folder; ``--table`` prints what was measured.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from published_protocol import circumstances, kinds, scored

from cluster.machine import usable_cores

RESULTS = Path(__file__).parent / "results" / "tuned.jsonl"
SPLIT = "0.8,0.1,0.1"
DRAWS = 5


def measure(
    folder: Path, what: str, budget: str, seed: int, judge: tuple[Path, str], keep: Path | None
) -> dict[str, Any]:
    schema = json.loads((folder / "schema.json").read_text())
    artesian = str(Path(sys.executable).parent / "artesian")
    with tempfile.TemporaryDirectory() as scratch:
        release, samples = f"{keep or scratch}/{folder.name}-{what}-{budget}-{seed}", f"{scratch}/samples.parquet"
        command = [
            artesian, "tune" if what == "tuned" else "train", str(folder / "train.parquet"), "--target", schema["target"],
            "--test", str(folder / "test.parquet"), "--split", SPLIT, "--budget", budget, "--seed", str(seed),
            "--out", release, *kinds(schema),
            *(["--memory", "none"] if what == "tuned" else []),
        ]  # fmt: skip
        began = time.monotonic()
        subprocess.run(command, check=True)
        took = time.monotonic() - began
        scores = []
        for draw in range(1, DRAWS + 1):
            drawn = ["--seed", str(seed + draw), "--out", samples, "--overwrite"]
            subprocess.run([artesian, "sample", release, "-n", str(schema["rows"]["train"]), *drawn], check=True)
            scores.append(scored(folder, samples, *judge))
        manifest = json.loads(Path(release, "manifest.json").read_text())
        certificate = json.loads(Path(release, "certificate.json").read_text())
        study = json.loads(Path(f"{release}.study/study.json").read_text()) if what == "tuned" else None
    useful = [s["tstr"] for s in scores]
    return {
        "table": schema["name"], "what": what, "budget": budget, "seed": seed, **scores[0],
        "tstr": round(statistics.mean(useful), 5), "draws": useful,
        "error": round(statistics.stdev(useful) / math.sqrt(DRAWS), 5),
        "steps": manifest["training"]["steps"], "training_s": round(manifest["training"]["seconds"], 1),
        "command_s": round(took, 1), "certificate": {k: f["value"] for k, f in certificate["figures"].items()},
        **(of_study(study) if study else {}), **circumstances(),
    }  # fmt: skip


def of_study(study: dict[str, Any]) -> dict[str, Any]:
    """What a study's record says: its trials, its choice, its optimism, and the share of the cores' time in training."""
    computed = sum(t["curve"][-1]["cpu_s"] for t in study["trials"] if t["curve"] and t["origin"] != "sampling")
    (chosen,) = [f for f in study["finalists"] if f["released"]]
    trial = study["trials"][chosen["trial"]]
    usual = {t["number"] for t in study["trials"] if (t["origin"], t["parent"]) in (("default", None), ("longer", 0))}
    default = max((f for f in study["finalists"] if f["trial"] in usual), key=lambda f: f["seconds"], default=None)
    return {
        "trials": {state: sum(t["state"] == state for t in study["trials"]) for state in ("done", "stopped", "failed")},
        "share_training": round(computed / (usable_cores() * study["spent_s"]), 3), "spent_s": round(study["spent_s"], 1),
        "optimism": study["released"]["optimism"], "why": chosen["why"], "origin": trial["origin"],
        "family": trial["knobs"]["family"], "knobs": trial["knobs"],
        "confirm": {"released": chosen["value"], "default": default and default["value"], "error": chosen["error"]},
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """The last row of each table, budget, seed and way, side by side, as Markdown."""
    last = {(r["table"], r["budget"], r["seed"], r["what"]): r for r in rows}
    lines = [
        "| table | seed | budget | default | tuned | real | released | share training | optimism |",
        "|---" * 9 + "|",
    ]
    for name, budget, seed in dict.fromkeys(key[:3] for key in last):
        default, tuned = (last.get((name, budget, seed, what), {}) for what in ("default", "tuned"))
        some = tuned or default
        values = [f"{number(r.get('tstr'))} ± {number(r.get('error'))}" for r in (default, tuned)]
        values.append(number(some.get("trtr")))
        told = tuned.get("why", "–").partition(":")[0]
        lines.append(
            f"| {name} | {seed} | {budget} | {' | '.join(values)} | {tuned.get('family', '–')}, {told} | "
            f"{number(tuned.get('share_training'))} | {number(tuned.get('optimism'))} |"
        )
    return "\n".join(lines)


def number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("yardstick", type=Path, nargs="?")
    parser.add_argument("--yardstick-python", default=sys.executable)
    parser.add_argument("--tables", nargs="+", default=["adult", "default", "shoppers", "magic", "beijing"])
    parser.add_argument("--what", nargs="+", choices=["tuned", "default"], default=["tuned", "default"])
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="leave releases and studies here")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    if not options.table:
        if options.data is None or options.yardstick is None:
            parser.error("give DATA_DIR and YARDSTICK, or --table")
        for name in options.tables:
            for what in options.what:
                judge = options.yardstick, options.yardstick_python
                row = measure(options.data / name, what, options.budget, options.seed, judge, options.keep)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))


if __name__ == "__main__":
    main()
