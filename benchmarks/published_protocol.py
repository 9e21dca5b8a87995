"""Train on five published tables by the published protocol and have an outside yardstick score the samples.

    python benchmarks/published_protocol.py DATA_DIR YARDSTICK.py --yardstick-python PYTHON [--tables adult …] [--seeds 0 1 2]
    python benchmarks/published_protocol.py DATA_DIR YARDSTICK.py --yardstick-python PYTHON --resample [--seeds 0 1 2 …]

DATA_DIR holds a folder a table with train.parquet, test.parquet and schema.json. The yardstick is a separate program with
packages of its own (SDMetrics and XGBoost are peers' measures, and no dependencies of this project). Every run is the
command that a person would type; rows are appended to benchmarks/results/published_protocol.jsonl as they come, and
``--table`` prints the medians. Where a release has a student, its samples are scored, too ("fast"). ``--resample`` scores
bootstraps of the train rows instead: what chance alone does to a perfect generator's figures. They go to
results/resampled.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

RESULTS = Path(__file__).parent / "results" / "published_protocol.jsonl"
RESAMPLED = RESULTS.with_name("resampled.jsonl")
SHOWN = ("shape_error", "trend_error", "tstr", "trtr", "c2st_auc", "exact_copies", "rare_category_coverage")


def measure(
    folder: Path,
    family: str,
    seed: int,
    budget: str,
    yardstick: Path,
    python: str,
    command: list[str],
    keep: Path | None,
) -> dict[str, object]:
    schema = json.loads((folder / "schema.json").read_text())
    rows = schema["rows"]["train"]
    with tempfile.TemporaryDirectory() as scratch:
        release = f"{scratch}/release" if keep is None else str(keep / f"{schema['name']}-{family}-{budget}-{seed}")
        samples, fast = f"{scratch}/samples.parquet", f"{scratch}/fast.parquet"
        began = time.monotonic()
        subprocess.run(
            [*command, "train", str(folder / "train.parquet"), "--target", schema["target"], "--split", "1,0,0",
             "--test", str(folder / "test.parquet"), "--family", family, "--budget", budget, "--seed", str(seed),
             "--out", release, *kinds(schema)],
            check=True,
        )  # fmt: skip
        trained = time.monotonic()
        subprocess.run(
            [*command, "sample", release, "-n", str(rows), "--seed", str(seed + 1), "--out", samples], check=True
        )
        sampled = time.monotonic()
        manifest = json.loads(Path(release, "manifest.json").read_text())
        certificate = json.loads(Path(release, "certificate.json").read_text())
        score = scored(folder, samples, yardstick, python)
        told: dict[str, Any] = {}
        if yaml.safe_load(Path(release, "recipe.yaml").read_text())["training"]["distilled"]:
            asked = time.monotonic()
            draw = [*command, "sample", release, "-n", str(rows), "--seed", str(seed + 1), "--quality", "fast"]
            subprocess.run([*draw, "--out", fast], check=True)
            took = round(time.monotonic() - asked, 1)
            told = {"fast": scored(folder, fast, yardstick, python) | {"sample_command_s": took}}
    return {
        "table": schema["name"], "family": family, "seed": seed, "budget": budget, **score, **told,
        "steps": manifest["training"]["steps"], "training_s": round(manifest["training"]["seconds"], 1),
        "train_command_s": round(trained - began, 1), "sample_command_s": round(sampled - trained, 1),
        "certificate": {name: figure["value"] for name, figure in certificate["figures"].items()},
        **circumstances(), "device": manifest["training"]["devices"],
    }  # fmt: skip


def kinds(schema: dict[str, Any]) -> list[str]:
    """The flags that say what each column of a table is."""
    categorical = [*schema["categorical"], *([schema["target"]] if schema["task"] == "classification" else [])]
    numerical = [*schema["numerical"], *([schema["target"]] if schema["task"] == "regression" else [])]
    flags = {"--categorical": categorical, "--numerical": numerical}
    return [word for flag, names in flags.items() if names for word in (flag, ",".join(names))]


def resample(folder: Path, seed: int, yardstick: Path, python: str) -> dict[str, object]:
    """Score as many train rows, drawn with replacement, as if a generator had made them."""
    import numpy as np
    import pyarrow.parquet as pq

    train = pq.read_table(folder / "train.parquet")
    with tempfile.TemporaryDirectory() as scratch:
        samples = f"{scratch}/samples.parquet"
        pq.write_table(train.take(np.random.default_rng(seed).integers(0, train.num_rows, train.num_rows)), samples)
        score = scored(folder, samples, yardstick, python)
    return {"table": folder.name, "seed": seed, **score, **circumstances()}


def scored(folder: Path, samples: str, yardstick: Path, python: str) -> dict[str, Any]:
    command = [python, str(yardstick), str(folder), samples, "--no-knn"]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def rows_of(results: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def circumstances() -> dict[str, str]:
    """When, where and of which commit; "-dirty" where more than results has changed since."""
    import os

    import psutil

    def git(*words: str) -> str:
        try:
            told = subprocess.run(["git", *words], cwd=RESULTS.parent, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):  # an archive of the project, and no clone
            return "unknown"
        return told.stdout.strip()

    changed = git("status", "--porcelain", "--", ":/", ":/!benchmarks/results")
    memory = psutil.virtual_memory().total / 2**30
    return {
        "commit": git("rev-parse", "HEAD") + ("-dirty" if changed not in ("", "unknown") else ""),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}",
    }


def table(rows: list[dict[str, object]]) -> str:
    """Medians over the seeds measured at the newest commit of each family and table, and their range, as Markdown."""
    keys = [*SHOWN, "steps"] if "steps" in rows[-1] else list(SHOWN)
    lines = ["| family | table | seeds | " + " | ".join(keys) + " |", "|---" * (len(keys) + 3) + "|"]
    # Rows without a family are of the time when diffusion was the only one, or of no generator.
    of = ["–" if "steps" not in r else str(r.get("family", "diffusion")) for r in rows]
    for family, name in dict.fromkeys((f, str(r["table"])) for f, r in zip(of, rows, strict=True)):
        mine = [r for f, r in zip(of, rows, strict=True) if (f, r["table"]) == (family, name)]
        mine = list({r["seed"]: r for r in mine if r["commit"] == mine[-1]["commit"]}.values())
        lines.append(
            f"| {family} | {name} | {len(mine)} | " + " | ".join(shown([r[key] for r in mine]) for key in keys) + " |"
        )
    return "\n".join(lines)


def shown(values: list[object]) -> str:
    """The median and, where they differ, the least and the greatest; a dash for what a table has none of."""
    if None in values:
        return "–"
    numbers = [float(str(v)) for v in values]
    low, high = f"{min(numbers):.4g}", f"{max(numbers):.4g}"
    return f"{statistics.median(numbers):.4g}" + (f" ({low} to {high})" if low != high else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("yardstick", type=Path, nargs="?")
    parser.add_argument("--yardstick-python", default=sys.executable)
    parser.add_argument("--tables", nargs="+", default=["adult", "default", "shoppers", "magic", "beijing"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", default="4m")
    parser.add_argument("--family", default="diffusion")
    parser.add_argument("--resample", action="store_true", help="score bootstraps of the train rows; train nothing")
    parser.add_argument("--keep", type=Path, help="a folder in which the releases stay")
    parser.add_argument("--table", action="store_true", help="only print the medians of what was measured")
    options = parser.parse_args()
    results = RESAMPLED if options.resample else RESULTS
    if not options.table:
        if options.data is None or options.yardstick is None:
            parser.error("give DATA_DIR and YARDSTICK, or --table")
        results.parent.mkdir(exist_ok=True)
        command = [str(Path(sys.executable).parent / "artesian")]
        for name in options.tables:
            for seed in options.seeds:
                folder, judge = options.data / name, (options.yardstick, options.yardstick_python)
                if options.resample:
                    row = resample(folder, seed, *judge)
                else:
                    row = measure(folder, options.family, seed, options.budget, *judge, command, options.keep)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    print(table([json.loads(line) for line in results.read_text().splitlines()]))


if __name__ == "__main__":
    main()
