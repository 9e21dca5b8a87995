"""What each choice in the recipe is worth: five tables, three seeds, equal processor time, scored by an outside yardstick.

    OMP_NUM_THREADS=1 python benchmarks/ablations.py DATA_DIR YARDSTICK.py --yardstick-python PYTHON [--seconds 120]
        [--variants baseline ema=.995 …] [--of 2 --mine 0] [--again]
    OMP_NUM_THREADS=1 python benchmarks/ablations.py … --code NAME --words 'what is changed in the code'
    python benchmarks/ablations.py --table

A variant is the default recipe with some keys changed, or other code: check out the commit that holds it and give it a name
(``--code``), and the default recipe is run under that name; rows say which commit that was, so what was tried and lost is
here though its code is not. Every run is a bare loop of one thread (``bare.py``) which is given seconds of the processor, so
several processes share a machine fairly (``--of 2 --mine 0`` and ``--mine 1`` take every second run each). Data and kinds are
those of the published protocol: all train rows train. Rows go to results/ablations.jsonl, and what is there of the same
commit and seconds is not run again, so it can be stopped and gone on with.

``--table`` prints, for each variant, how far each figure is from the baseline's: the mean, over tables and seeds, of the
differences from the baseline of the same table, seed and seconds (and commit, or else the last one), and its standard error
over these pairs. RMSE (Beijing's ``tstr``) and AUC do not add up, so ``tstr`` is a share of what models learn of real rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances, rows_of, scored

RESULTS = Path(__file__).parent / "results" / "ablations.jsonl"
BASELINE = "baseline"
# What is changed in the recipe, by the name of the variant; what it means in words is the key's own description.
VARIANTS: dict[str, dict[str, Any]] = {
    BASELINE: {},
    "ema=.995": {"training.ema": 0.995},
    "ema=.9995": {"training.ema": 0.9995},
    "batch=512": {"training.batch": 512},
    "batch=2048": {"training.batch": 2048},
    "decay=.4": {"training.decay": 0.4},
    "decay=.8": {"training.decay": 0.8},
    "learning_rate=2e-3": {"training.learning_rate": 2e-3},
    "learning_rate=4e-3": {"training.learning_rate": 4e-3},
    "sigma_mean=-1.2": {"diffusion.sigma_mean": -1.2},
    "sigma_mean=-.4": {"diffusion.sigma_mean": -0.4},
    "dropout=0": {"diffusion.dropout": 0.0},
    "dropout=.3": {"diffusion.dropout": 0.3},
    "width=192": {"diffusion.width": 192},
    "width=384": {"diffusion.width": 384},
    "blocks=4": {"diffusion.blocks": 4},
    "blocks=6": {"diffusion.blocks": 6},
    "memory=60": {"training.memory": 60},
    "memory=240": {"training.memory": 240},
    "cell_share=.5": {"diffusion.cell_share": 0.5},
    "cell_share=.75": {"diffusion.cell_share": 0.75},
    "bins=16": {"codec.bins": 16},
    "bins=64": {"codec.bins": 64},
    "crosses=0": {"codec.crosses": 0},
    "precision=fp32": {"training.precision": "fp32"},
    "steps=12": {"diffusion.steps": 12},
    "steps=32": {"diffusion.steps": 32},
}
FIGURES = ("shape_error", "trend_error", "tstr", "c2st_auc", "exact_copies", "rare_category_coverage")


def run(folder: Path, changed: dict[str, Any], seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One training and what the yardstick says of as many rows as it has learnt from."""
    import pyarrow.parquet as pq
    import torch
    from bare import train

    from synth.recipe import Recipe
    from synth.sampling import Sampler
    from synth.training import raking
    from synth.training.feed import Feed, Share
    from synth.training.prepare import open_sources, prepare

    schema = json.loads((folder / "schema.json").read_text())
    kind = "categorical" if schema["task"] == "classification" else "numerical"
    given = {
        "target": schema["target"], "seed": seed, "split": [1, 0, 0], "training.budget_s": options.seconds,
        "training.checks": 0,
        **{k: [*schema[k], *([schema["target"]] if k == kind else [])] for k in ("categorical", "numerical")},
    }  # fmt: skip
    recipe = Recipe.read(None, given | changed).suited(images=False)
    prepared = prepare(*open_sources(str(folder / "train.parquet"), str(folder / "test.parquet"), recipe), recipe)
    training = recipe.training
    assert isinstance(prepared.encoded, list)
    feed = Feed(prepared.encoded, Share(seed, training.batch, 1, 0, 1, torch.device("cpu")))
    model, facts = train(
        recipe, prepared.codec.layout, lambda step: feed(step, slice(0, training.batch)), prepared.rows["train"],
        clock=time.process_time,
    )  # fmt: skip
    if raking.worth(training.model_copy(update={"steps": facts["steps"]}), prepared.codec.layout):  # as in a release
        raking.rake(prepared.codec.layout, model.denoiser.logits.bias, model.heat, model.cells, seed)
    began = time.process_time()
    samples = Sampler(model, prepared.codec).table(prepared.rows["train"], seed=seed + 1)
    drawn = time.process_time() - began
    with tempfile.TemporaryDirectory() as scratch:
        pq.write_table(samples, f"{scratch}/samples.parquet")
        score = scored(folder, f"{scratch}/samples.parquet", options.yardstick, options.yardstick_python)
    told = {"steps": facts["steps"], "cpu_s": facts["seconds"], "sampling_cpu_s": round(drawn, 1)}
    return told | {"loss": facts["losses"]} | score


def against(rows: list[dict[str, Any]], name: str, key: str) -> list[float]:
    """Of each table, seed and seconds that the variant has, its figure less the baseline's."""
    found = []
    for row in latest([r for r in rows if r["variant"] == name]):
        same = [r for r in rows if r["variant"] == BASELINE and place(r) == place(row)]
        base = next((r for r in reversed(same) if r["commit"] == row["commit"]), same[-1] if same else None)
        if base is None:
            continue
        before, after = figure(base, key), figure(row, key)
        if before is not None and after is not None:
            found.append(after - before)
    return found


def figure(row: dict[str, Any], key: str) -> float | None:
    """``tstr`` as a share of what models learn of real rows: of AUC beyond chance, of RMSE inverted."""
    if key != "tstr":
        value: float | None = row[key]
        return value
    if row["task"] == "classification":
        return float((row["tstr"] - 0.5) / (row["trtr"] - 0.5))
    return float(row["trtr"] / row["tstr"])


def place(row: dict[str, Any]) -> tuple[str, int, float]:
    return row["table"], row["seed"], row["seconds"]


def latest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({place(row): row for row in rows}.values())


def table(rows: list[dict[str, Any]]) -> str:
    """The baseline's means, and the differences of the others, as Markdown; runs that diverged are counted beside."""
    failed = Counter(r["variant"] for r in rows if "failed" in r)
    rows = [r for r in rows if "failed" not in r]
    lines = ["| variant | what is changed | pairs | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 3) + "|"]
    for name in sorted(dict.fromkeys(r["variant"] for r in rows), key=lambda name: name != BASELINE):
        mine = latest([r for r in rows if r["variant"] == name])
        if name == BASELINE:
            count, told = len(mine), [mean([figure(r, key) for r in mine]) for key in FIGURES]
        else:
            differences = {key: against(rows, name, key) for key in FIGURES}
            count, told = len(differences[FIGURES[0]]), [paired(found) for found in differences.values()]
        pairs = f"{count}, {failed[name]} diverged" if failed[name] else str(count)
        lines.append(f"| {name} | {mine[-1]['changed']} | {pairs} | " + " | ".join(told) + " |")
    lengths = ", ".join(f"{seconds:g}" for seconds in sorted({row["seconds"] for row in rows}))
    return "\n".join([*lines, "", f"Seconds of one thread that each training had: {lengths}."])


def mean(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{statistics.mean(known):.4g}" if known else "–"


def paired(differences: list[float]) -> str:
    """Mean and standard error."""
    if len(differences) < 2:
        return f"{differences[0]:+.3g}" if differences else "–"
    return f"{statistics.mean(differences):+.3g} ± {statistics.stdev(differences) / len(differences) ** 0.5:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("yardstick", type=Path, nargs="?")
    parser.add_argument("--yardstick-python", default=sys.executable)
    parser.add_argument("--tables", nargs="+", default=["adult", "default", "shoppers", "magic", "beijing"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--code", help="a name for what the checked-out code does otherwise; the recipe is the default")
    parser.add_argument("--words", help="what that is")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the processor, for training")
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--mine", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="also what was measured at this commit")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the differences")
    options = parser.parse_args()
    if (options.code is None) != (options.words is None) or options.code in VARIANTS:
        parser.error("--code and --words belong together, and the name is none of the recipe's variants")
    if not options.table:
        if options.yardstick is None:
            parser.error("give DATA_DIR and YARDSTICK, or --table")
        measure(options)
    print(table(rows_of(options.results)))


def measure(options: argparse.Namespace) -> None:
    import torch
    from bare import alone

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    variants = {name: VARIANTS[name] for name in options.variants} if options.code is None else {options.code: {}}
    # Seed by seed, so that what there is so far compares all variants.
    runs = [(v, t, s) for s in options.seeds for t in options.tables for v in variants]
    about = circumstances()
    with alone():
        for name, of, seed in runs[options.mine :: options.of]:
            row: dict[str, Any] = {"variant": name, "table": of, "seed": seed, "seconds": options.seconds}
            done = [r for r in rows_of(options.results) if r["commit"] == about["commit"] and r["variant"] == name]
            if not options.again and place(row) in map(place, done):
                continue
            words = ", ".join(f"{key}={value}" for key, value in variants[name].items())
            row["changed"] = options.words if options.code is not None else words or "nothing"
            try:
                row |= run(options.data / of, variants[name], seed, options)
            except ArithmeticError as e:  # a variant that diverges is a result, too
                row |= {"failed": f"{type(e).__name__}: {e}"}
            row |= about
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
