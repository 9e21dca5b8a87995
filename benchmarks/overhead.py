"""What Ray Train and DeepSpeed cost: time to the first steps, and steps a second beside a bare PyTorch loop.

    python benchmarks/overhead.py [--steps 800] [--runs 3]

Both train the default model on the shipped Adult with the same batches, precision and threads. They take turns of six
seconds, each stopped (SIGSTOP, with all of Ray) in the other's, for machines change their speed by a third within
minutes. "First steps" is the time from the start of the ``artesian`` process to its first line about training, which
comes after ten steps. Prints one JSON object a run and appends it to benchmarks/results/overhead.jsonl.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

RESULTS = Path(__file__).parent / "results" / "overhead.jsonl"
TURN_S, TURNS = 6.0, 6


def bare(steps: int, taken: Any) -> None:
    """Train the same model on the same rows without Ray and DeepSpeed, for ever; ``taken`` counts the steps."""
    import torch

    from synth.data.demo import adult
    from synth.generators.base import Draw
    from synth.generators.families import build
    from synth.recipe import Recipe
    from synth.training.device import computes_in_bf16
    from synth.training.engine import Average, make_optimizer
    from synth.training.feed import Feed, Share
    from synth.training.prepare import open_sources, prepare

    recipe = Recipe.read(None, {"target": "income", "training.steps": steps}).resolved(test_apart=False)
    table = prepare(*open_sources(str(adult()), None, recipe), recipe)
    device = torch.device("cpu")
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(recipe.seed)
    model = build(recipe, table.codec.layout)
    assert isinstance(table.encoded, list)
    feed = Feed(table.encoded, Share(recipe.seed, recipe.training.batch, 1, 0, 1, device))
    average = Average([p.data for p in model.parameters()], recipe.training.ema)
    optimizer = make_optimizer(model, recipe.training, feed.rows)
    bf16 = computes_in_bf16("auto", device)
    while True:
        batch = feed(taken.value, slice(0, recipe.training.batch))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            _, loss = next(model.losses(model.players, batch, Draw(recipe.seed, "train", taken.value, 0), taken.value))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update()
        taken.value += 1


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """All processes of a tree stand still."""
    tree = [process, *process.children(recursive=True)]
    for one in tree:
        one.suspend()
    try:
        yield
    finally:
        for one in tree:
            one.resume()


def race(steps: int, zero: int) -> dict[str, float]:
    """Steps a second of the bare loop and of ``artesian train``, in turns; and the seconds to the latter's first steps."""
    from synth.data.demo import adult

    context = multiprocessing.get_context("spawn")
    taken = context.Value("Q", 0, lock=False)
    rival = context.Process(target=bare, args=(steps, taken), daemon=True)
    rival.start()
    while taken.value < 10:
        time.sleep(0.1)
    with tempfile.TemporaryDirectory() as scratch, stopped(psutil.Process(rival.pid)):
        command = [str(Path(sys.executable).parent / "artesian"), "train", str(adult()), "--target", "income",
                   "--steps", str(steps), "--zero", str(zero), "--out", f"{scratch}/release"]  # fmt: skip
        began, training = time.monotonic(), threading.Event()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:

            def read() -> None:
                for line in process.stderr or ():
                    if line.startswith("training "):
                        training.set()

            threading.Thread(target=read, daemon=True).start()
            assert training.wait(300)
            first, before, waited = time.monotonic() - began, taken.value, 0.0
            for _ in range(TURNS):
                time.sleep(TURN_S)
                turn = time.monotonic()
                with stopped(psutil.Process(process.pid)):
                    psutil.Process(rival.pid).resume()
                    time.sleep(TURN_S)
                    psutil.Process(rival.pid).suspend()
                waited += time.monotonic() - turn
            counted = taken.value - before
            process.wait()
        assert process.returncode == 0
        done = json.loads(Path(scratch, "release", "manifest.json").read_text())["training"]
    rival.kill()
    own = done["seconds"] - waited
    assert own > TURNS * TURN_S, "the training ended before its last turn: give more --steps"
    return {
        "bare_steps_per_s": round(counted / (TURNS * TURN_S), 2),
        "artesian_steps_per_s": round(done["steps"] / own, 2),
        "ratio": round(done["steps"] / own * TURNS * TURN_S / counted, 3),
        "first_steps_s": round(first, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--zero", type=int, default=0)
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    rows = []
    for _ in range(options.runs):
        rows.append(
            {"steps": options.steps, "zero": options.zero, **race(options.steps, options.zero), **circumstances()}
        )
        with RESULTS.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(json.dumps(rows[-1]), flush=True)
    for key in ("ratio", "first_steps_s"):
        print(f"median {key}: {statistics.median(float(str(r[key])) for r in rows)}")


if __name__ == "__main__":
    main()
