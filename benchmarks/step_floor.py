"""How near the training step of the table diffusion model comes to what the machine multiplies, and what columns cost.

    python benchmarks/step_floor.py [--data DATA_DIR --tables adult default …] [--clock wall] [--parts tables columns]
    python benchmarks/step_floor.py --table

tables: of the default recipe on the shipped Adult and on the tables of DATA_DIR (a folder each with train.parquet,
test.parquet and schema.json, as for published_protocol.py), the operations of a step (those of its matrix products, forth and
back, counted by PyTorch), the rates at which the machine multiplies large square matrices and those of the model's blocks in
the precision that is trained in, and steps a second of the bare step (losses, gradients, clipping, AdamW, averaged weights)
and of the same under DeepSpeed's engine, in turns. "of_floor" is the share of the square rate that the step comes to.

columns: the bare step at 10, 100 and 1,000 columns (a third each classes of 20 states, ordered numbers of 64, values), and at
10 and 100 with a column of 100,000 categories more, its seconds and the greatest memory of the process that took it. "growth"
is what ten times the columns cost, as a share of ten times the cost.

Every table and every width is a process of its own. ``--clock processor`` counts processor seconds in steps and rates, on a
machine that others use too; give the process as many cores as threads (``taskset``, ``OMP_NUM_THREADS``). Prints one JSON
object a row and appends it to benchmarks/results/step_floor.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances, rows_of

RESULTS = Path(__file__).parent / "results" / "step_floor.jsonl"
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
SHIPPED = "adult-shipped"
WIDTHS = ("10", "100", "1000", "10+100000", "100+100000")
SQUARE, ROUNDS, TURN = 2048, 12, 4

Told = dict[str, Any]


def of_table(name: str, data: Path | None, clock: Callable[[], float]) -> Told:
    """What the machine multiplies a second, and how much of it a step does."""
    import torch
    import torch.distributed as dist
    from torch.utils.flop_counter import FlopCounterMode

    recipe, layout, rows = _opened(name, data)
    model, bare = _steps(recipe, layout, rows)
    with FlopCounterMode(display=False) as counter:
        bare()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        _, engine = _steps(recipe, layout, rows, engine=True)
        took = _in_turns({"bare": bare, "engine": engine}, clock)
        dist.destroy_process_group()
    batch, width = recipe.training.batch, recipe.diffusion.width
    kind = torch.bfloat16 if _bf16() else torch.float32
    rates = {
        "square": _rate(SQUARE, SQUARE, SQUARE, kind, clock),
        "widen": _rate(batch, width, width * recipe.diffusion.expansion, kind, clock),
        "narrow": _rate(batch, width * recipe.diffusion.expansion, width, kind, clock),
    }
    work = counter.get_total_flops()
    return {
        "table": name, "cells": len(layout.cells), "states": sum(layout.sizes), "values": layout.values,
        "parameters": sum(p.numel() for p in model.parameters()), "batch": batch, "precision": str(kind).split(".")[1],
        "gflop_a_step": round(work / 1e9, 3), "gflops": {shape: round(rate / 1e9, 1) for shape, rate in rates.items()},
        "steps_per_s": {path: round(1 / seconds, 2) for path, seconds in took.items()},
        "of_floor": {path: round(work / seconds / rates["square"], 3) for path, seconds in took.items()},
    }  # fmt: skip


def of_columns(width: str, clock: Callable[[], float]) -> Told:
    """Seconds of a step, and memory beside what the process had before there was a model."""
    import numpy as np

    from synth.data.categories import Categories
    from synth.generators.layout import Cell, Encoded, Layout
    from synth.recipe import Recipe

    few, _, many = width.partition("+")
    values, recipe = int(few) // 3, Recipe.read(None, {}).resolved(test_apart=False)
    classes, numbers = Cell(shares=(1 / 20,) * 20), Cell(shares=(1 / 64,) * 64, ordered=64)
    cells = [classes if k % 2 else numbers for k in range(int(few) - values)]
    if many:
        words = [str(k) for k in range(int(many))]
        column = Categories(
            name="word", dtype="string", values=words, ordered=False, missing=False, counts=[1] * len(words)
        )
        cells += column.cells
    layout = Layout(cells=tuple(cells), values=values, target=1)
    rng, rows = np.random.default_rng(0), 4 * recipe.training.batch
    encoded = Encoded(
        rng.integers(0, layout.sizes, (rows, len(cells)), dtype=np.int32),
        rng.standard_normal((rows, values), dtype=np.float32),
    )
    before = _peak_mib()
    model, bare = _steps(recipe, layout, [encoded])
    seconds = _in_turns({"bare": bare}, clock)["bare"]
    return {
        "columns": width, "cells": len(cells), "states": sum(layout.sizes), "values": values,
        "parameters": sum(p.numel() for p in model.parameters()), "batch": recipe.training.batch,
        "step_s": round(seconds, 4), "peak_mib": round(_peak_mib() - before), "before_mib": round(before),
    }  # fmt: skip


def _opened(name: str, data: Path | None) -> tuple[Any, Any, Any]:
    """A table's recipe, layout and encoded batches."""
    from synth.data.demo import adult
    from synth.recipe import Recipe
    from synth.training.prepare import open_sources, prepare

    said: Told = {"target": "income"}
    source = str(adult())
    test: str | None = None
    if name != SHIPPED:
        assert data is not None, "--tables lie in --data"
        schema = json.loads((data / name / "schema.json").read_text())
        classified = schema["task"] == "classification"
        said = {
            "target": schema["target"], "split": [1, 0, 0],
            "categorical": [*schema["categorical"], *([schema["target"]] if classified else [])],
            "numerical": [*schema["numerical"], *([] if classified else [schema["target"]])],
        }  # fmt: skip
        source, test = str(data / name / "train.parquet"), str(data / name / "test.parquet")
    recipe = Recipe.read(None, said).resolved(test_apart=test is not None)
    table = prepare(*open_sources(source, test, recipe), recipe)
    assert isinstance(table.encoded, list)
    return recipe, table.codec.layout, table.encoded


def _steps(recipe: Any, layout: Any, rows: Any, *, engine: bool = False) -> tuple[Any, Callable[[], None]]:
    """A model, and what takes its next step: as the loop does with DeepSpeed's engine, or with PyTorch alone."""
    import torch

    from synth.generators.base import Draw
    from synth.generators.families import build
    from synth.training import shards
    from synth.training.engine import Average, make_engine, make_optimizer
    from synth.training.feed import Feed, Share

    training, device, bf16 = recipe.training, torch.device("cpu"), _bf16()
    torch.manual_seed(recipe.seed)
    model = build(recipe, layout)
    player = model.players["denoiser"]
    feed = Feed(rows, Share(recipe.seed, training.batch, 1, 0, 1, device))
    wrapped = make_engine(player, training, feed.rows, device, zero=0, bf16=bf16) if engine else None
    optimizer = make_optimizer(player, training, feed.rows)
    weights = [f.weight for f in shards.fragments(wrapped)] if engine else [p.data for p in player.parameters()]
    average, numbers = Average(weights, training.ema), iter(range(1 << 30))

    def step() -> None:
        number = next(numbers)
        draw = Draw(recipe.seed, "train", number, 0, part=slice(0, None, 1), total=training.batch)
        call = model.players if wrapped is None else {"denoiser": wrapped}
        pending = model.losses(call, feed(number, slice(0, training.batch)), draw, number)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            _, loss = next(pending)
        if wrapped is None:
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(player.parameters(), training.clip)
            optimizer.step()
        else:
            wrapped.backward(loss)
            wrapped.step()
        average.update()

    return model, step


def _in_turns(calls: dict[str, Callable[[], None]], clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each call, the median of turns; the first counts for nothing."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS + 1):
        for name, call in calls.items():
            began = clock()
            for _ in range(TURN):
                call()
            took[name].append((clock() - began) / TURN)
    return {name: statistics.median(seconds[1:]) for name, seconds in took.items()}


def _rate(rows: int, inner: int, outer: int, kind: Any, clock: Callable[[], float]) -> float:
    """Operations a second of (rows, inner) times (inner, outer)."""
    import torch

    a, b = torch.randn(rows, inner).to(kind), torch.randn(outer, inner).to(kind)
    repeated = max(1, SQUARE**3 // (rows * inner * outer) // 4)

    def multiply() -> None:
        for _ in range(repeated):
            torch.nn.functional.linear(a, b)

    return 2 * rows * inner * outer * repeated / _in_turns({"": multiply}, clock)[""]


def _bf16() -> bool:
    import torch

    from synth.training.device import computes_in_bf16

    return computes_in_bf16("auto", torch.device("cpu"))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def inside(part: str, options: argparse.Namespace) -> Told:
    import torch

    from cluster.machine import usable_threads
    from synth.training.device import keep_memory

    keep_memory()
    torch.set_num_threads(usable_threads())
    clock = CLOCKS[options.clock]
    told = of_columns(part, clock) if part in WIDTHS else of_table(part, options.data, clock)
    return told | {"clock": options.clock, "threads": torch.get_num_threads()}


def growth(rows: list[Told]) -> Told:
    """What ten times the columns cost, as a share of ten times the cost."""
    found = {row["columns"]: row for row in rows}
    return {
        f"{few} to {many}": {key: round(found[many][key] / found[few][key] / 10, 3) for key in ("step_s", "peak_mib")}
        for few, many in (("10", "100"), ("100", "1000"), ("10+100000", "100+100000"))
    }


def table(rows: list[Told]) -> str:
    """The last of each table and width, and what ten times the columns cost, as Markdown."""
    rows = [row for row in rows if row["clock"] == "wall"]
    lines = ["| table | GFLOP a step | bare steps/s (of floor) | with the engine (of floor) |", "|---" * 4 + "|"]
    for row in {row["table"]: row for row in rows if "table" in row}.values():
        speeds = [f"{row['steps_per_s'][way]:.3g} ({row['of_floor'][way]:.3f})" for way in ("bare", "engine")]
        lines.append(f"| {row['table']} | {row['gflop_a_step']:.3g} | {' | '.join(speeds)} |")
    lines += ["", "| columns | ms a step | MiB | of ten times the cost of a tenth of the columns |", "|---" * 4 + "|"]
    widths = {row["columns"]: row for row in rows if "columns" in row}
    grown = {key.partition(" to ")[2]: of for row in rows for key, of in row.get("growth", {}).items()}
    for width, row in widths.items():
        share = f"{grown[width]['step_s']:.2f}" if width in grown else ""
        lines.append(f"| {width} | {1000 * row['step_s']:.3g} | {row['peak_mib']:.0f} | {share} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of tables")
    parser.add_argument("--tables", nargs="+", default=[], help="of --data, beside the shipped Adult")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--parts", nargs="+", choices=("tables", "columns"), default=["tables", "columns"])
    parser.add_argument("--table", action="store_true", help="only print what was measured last")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        print(json.dumps(inside(options.inside, options)))
        return
    if options.table:
        print(table(rows_of(RESULTS)))
        return
    RESULTS.parent.mkdir(exist_ok=True)

    def add(row: Told) -> Told:
        row |= circumstances()
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        return row

    def measured(part: str) -> Told:
        words = [sys.executable, __file__, *sys.argv[1:], "--inside", part]
        return add(
            json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        )

    if "tables" in options.parts:
        for name in (SHIPPED, *options.tables):
            measured(name)
    if "columns" in options.parts:
        add({"growth": growth([measured(width) for width in WIDTHS]), "clock": options.clock})


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]
    main()
