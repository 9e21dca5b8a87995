"""What Ray Train and DeepSpeed cost: time to the first steps, and steps a second beside a bare PyTorch loop.

    python benchmarks/overhead.py [--steps 300] [--runs 3]

Both train the default model on the shipped Adult with the same batches, precision and threads. "First steps" is the time
from the start of the ``artesian`` process to its first line about training, which comes after ten steps. Prints one JSON
object a run and appends it to benchmarks/results/overhead.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

RESULTS = Path(__file__).parent / "results" / "overhead.jsonl"


def bare(steps: int) -> float:
    """Steps a second of the same model, rows, optimizer and precision without Ray and DeepSpeed."""
    import torch

    from synth.data.demo import adult
    from synth.generators.base import Draw
    from synth.generators.families import build
    from synth.recipe import Recipe
    from synth.training.engine import Average, make_optimizer
    from synth.training.feed import Feed
    from synth.training.loop import computes_in_bf16
    from synth.training.prepare import open_sources, prepare

    recipe = Recipe.read(None, {"target": "income", "training.steps": steps}).resolved(test_apart=False)
    table = prepare(*open_sources(str(adult()), None, recipe), recipe)
    device = torch.device("cpu")
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(recipe.seed)
    model = build(recipe, table.codec.layout)
    feed = Feed(table.encoded, seed=recipe.seed, batch=recipe.training.batch, rank=0, world=1, device=device)
    average = Average([p.data for p in model.parameters()], recipe.training.ema)
    optimizer = make_optimizer(model, recipe.training, feed.rows)
    bf16 = computes_in_bf16("auto", device)
    began = time.perf_counter()
    for step in range(steps):
        batch = feed(step, slice(0, recipe.training.batch))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            _, loss = next(model.losses(model.players, batch, Draw(recipe.seed, "train", step, 0)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update()
    return steps / (time.perf_counter() - began)


def whole(steps: int, zero: int) -> tuple[float, float]:
    """(seconds from the command to its first steps, steps a second in training) of ``artesian train``."""
    from synth.data.demo import adult

    with tempfile.TemporaryDirectory() as scratch:
        command = [str(Path(sys.executable).parent / "artesian"), "train", str(adult()), "--target", "income",
                   "--steps", str(steps), "--zero", str(zero), "--out", f"{scratch}/release"]  # fmt: skip
        began, first = time.monotonic(), float("nan")
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("training ") and first != first:
                    first = time.monotonic() - began
        assert process.returncode == 0
        manifest = json.loads(Path(scratch, "release", "manifest.json").read_text())
    return first, manifest["training"]["steps"] / manifest["training"]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--zero", type=int, default=0)
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    rows = []
    for _ in range(options.runs):
        plain = bare(options.steps)
        first, rate = whole(options.steps, options.zero)
        rows.append({
            "steps": options.steps, "zero": options.zero, "bare_steps_per_s": round(plain, 2),
            "artesian_steps_per_s": round(rate, 2), "ratio": round(rate / plain, 3), "first_steps_s": round(first, 1),
            **circumstances(),
        })  # fmt: skip
        with RESULTS.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(json.dumps(rows[-1]), flush=True)
    for key in ("ratio", "first_steps_s"):
        print(f"median {key}: {statistics.median(float(str(r[key])) for r in rows)}")


if __name__ == "__main__":
    main()
