"""What runs on a GPU, how fast, and whether rows there are what the sampler promises.

    python benchmarks/gpu.py --out results.jsonl [--commit HASH] [--budget 30s] [--rows 100000] [--only PART …]

Every part is a process of its own with a time limit, so that what fails in one hides no other: a part that fails leaves a
row with its exit status and last lines. On a machine without a GPU the same parts run on the CPU.

* device: what there is, and the rates at which it multiplies matrices of 8192 (1024 on a CPU) in bfloat16 and float32.
* diffusion, gan, vae: ``artesian train`` on the shipped Adult table, with its Ray, its DeepSpeed and its certificate; the
  release is verified. images: the same with diffusion on scikit-learn's digits as PNG files of 16 × 16.
* steps: the training step of the table diffusion without Ray and DeepSpeed, at batches of 1,024, 8,192 and 65,536, beside the
  floor: six operations a parameter and row at the device's bfloat16 rate. "kept_noise": the same step with random numbers
  that were drawn before.
* sampling: rows a second of the diffusion's release, decoded; seconds to the first of 1 and of 100 rows; and rows a second
  before decoding, where more blocks are computed at once than the sampler does.
* same: of every release, the share of rows that come out the same again, of the release loaded anew, alone, and beside
  others' rows; and how far the same rows of the CPU are from them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
FAMILIES = ("diffusion", "gan", "vae")
# That a part may take; a training as many as SECONDS more than its budget.
LIMITS, SECONDS = {"device": 60, "steps": 120, "sampling": 120, "same": 120}, 150
PARTS = ("device", "diffusion", "sampling", "steps", "gan", "vae", "same", "images")
FIGURES = ("utility", "c2st_tree", "coverage", "trend_error")
BATCHES = (1024, 8192, 65536)
SEED = 7

Told = dict[str, Any]


def device(options: argparse.Namespace) -> Told:
    import psutil
    import torch

    from cluster.session import connected

    kinds = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    found: Told = {"tflops": {name: round(_rate(kind) / 1e12, 2) for name, kind in kinds.items()}}
    with connected() as ray:
        found["ray"] = {kind: ray.cluster_resources().get(kind, 0) for kind in ("CPU", "GPU")}
    found["cores"] = os.cpu_count()
    found["memory_gib"] = round(psutil.virtual_memory().total / 2**30)
    if torch.cuda.is_available():
        found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
        found["gpu_memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30)
    return found


def train(name: str, options: argparse.Namespace) -> Told:
    from synth import release as releases
    from synth.data.demo import adult

    if name == "images":
        data, more = _digits(options.scratch / "digits"), []
    else:
        data, more = adult(), ["--target", "income", "--family", name]
    out = options.scratch / name
    began = time.monotonic()
    _artesian("train", str(data), *more, "--budget", options.budget, "--out", str(out), "--overwrite")
    seconds = time.monotonic() - began
    _artesian("verify", str(out))
    release = releases.load(str(out))
    training, figures = release.manifest.training, release.certificate["figures"]
    batch = release.recipe["training"]["batch"]
    return {
        "steps": training.steps, "batch": batch, "trained_s": round(training.seconds, 1), "whole_s": round(seconds, 1),
        "steps_per_s": round(training.steps / training.seconds, 2),
        "rows_per_s": round(training.steps * batch / training.seconds),
        "devices": training.devices, "sharding": training.sharding, "notes": training.notes,
        "figures": {f: [round(figures[f][key], 4) for key in ("value", "baseline")] for f in FIGURES if f in figures},
    }  # fmt: skip


def _digits(folder: Path) -> Path:
    """The handwritten digits of scikit-learn as PNG files, twice as large, each class in a folder of its own."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    for k, (image, digit) in enumerate(zip(found.images, found.target, strict=True)):
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
        pixels = np.kron(image * (255 / 16), np.ones((2, 2))).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / str(digit) / f"{k:04}.png")
    return folder


def steps(options: argparse.Namespace) -> Told:
    """By batch; every step waits for its loss, as the loop does every ten steps."""
    import torch

    from synth.data.demo import adult
    from synth.generators.base import Draw
    from synth.generators.families import build
    from synth.recipe import Recipe
    from synth.training.device import computes_in_bf16
    from synth.training.engine import Average, make_optimizer
    from synth.training.feed import Feed, Share
    from synth.training.prepare import open_sources, prepare

    recipe = Recipe.read(None, {"target": "income"}).resolved(test_apart=False)
    table, where = prepare(*open_sources(str(adult()), None, recipe), recipe), torch.device(_where())
    assert isinstance(table.encoded, list)
    bf16 = computes_in_bf16("auto", where)
    rate, told = _rate(torch.bfloat16 if bf16 else torch.float32), dict[str, Any]()
    for batch in BATCHES[: None if where.type == "cuda" else 1]:
        torch.manual_seed(recipe.seed)
        model = build(recipe, table.codec.layout).to(where)
        feed = Feed(table.encoded, Share(recipe.seed, batch, 1, 0, 1, where))
        optimizer = make_optimizer(model, recipe.training, feed.rows)
        average = Average([p.data for p in model.parameters()], recipe.training.ema)

        def step(number: int, draw: Draw, batch: int = batch, model: Any = model, feed: Feed = feed,
                 optimizer: Any = optimizer, average: Average = average) -> None:  # fmt: skip
            rows = feed(number, slice(0, batch))
            with torch.autocast(where.type, torch.bfloat16, enabled=bf16):
                _, loss = next(model.losses(model.players, rows, draw, number))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            average.update()

        number, parameters = iter(range(1 << 30)), sum(p.numel() for p in model.parameters())
        _forget_peak()

        def drawn(step: Callable[[int, Draw], None] = step, number: Iterator[int] = number) -> None:
            step(k := next(number), Draw(0, "train", k, device=where, local=True))

        whole = _seconds(drawn)
        peak, kept = _peak_mib(), _kept(Draw(0, "train", 0, device=where))
        floor = 6 * parameters * batch / rate
        told[str(batch)] = {
            "steps_per_s": round(1 / whole, 2), "rows_per_s": round(batch / whole), "of_floor": round(floor / whole, 4),
            "kept_noise_steps_per_s": round(1 / _seconds(lambda s=step, kept=kept: s(0, kept())), 2), "peak_mib": peak,
            "parameters": parameters,
        }  # fmt: skip
    return {"tflops": round(rate / 1e12, 2), "batches": told}


def _kept(draw: Any) -> Callable[[], Any]:
    """Draws whose random numbers are those of ``draw``, drawn at the first and kept where they are wanted."""
    from synth.generators.base import Draw

    found = list[Any]()

    class Kept(Draw):
        def __init__(self) -> None:
            self._part = self._total = None
            self.taken = 0

        def _take(self, name: str, *size: Any) -> Any:
            if self.taken == len(found):
                found.append(getattr(draw, name)(*size))
            self.taken += 1
            return found[self.taken - 1]

        def normal(self, *size: int) -> Any:
            return self._take("normal", *size)

        def uniform(self, *size: int) -> Any:
            return self._take("uniform", *size)

        def kept(self, *size: Any) -> Any:
            return self._take("kept", *size)

    return Kept


def sampling(options: argparse.Namespace) -> Told:
    from synth import release as releases
    from synth.generators.base import Joint
    from synth.sampling import BLOCK, SMALL, Sampler, attempt

    sampler = Sampler.from_release(releases.load(str(options.scratch / "diffusion")))

    def rows(number: int, seed: int = 0) -> None:
        for _ in sampler.batches(number, seed=seed):
            pass

    rows(2 * BLOCK)
    first = {}
    for number in (1, 100):
        took = []
        for seed in range(5):
            began = time.perf_counter()
            rows(number, seed)
            took.append(time.perf_counter() - began)
        first[str(number)] = round(median(took), 4)
    _forget_peak()
    began = time.perf_counter()
    rows(options.rows)
    told: Told = {"rows_per_s": round(options.rows / (time.perf_counter() - began)), "peak_mib": _peak_mib()}
    encoded = sampler.draw(BLOCK, attempt(0, "sample", 0, 0, device=sampler.device))
    told |= {"first_s": first, "decoded_rows_per_s": round(BLOCK / _seconds(lambda: sampler.codec.decode(encoded, 0)))}
    drawn = {}
    for blocks in (8, 64, 512) if sampler.device == "cuda" else (8,):
        _forget_peak()

        def draw(blocks: int = blocks) -> None:
            each = [attempt(0, "sample", 0, k, device=sampler.device) for k in range(blocks)]
            sampler.draw(SMALL * blocks, Joint(each))

        drawn[str(SMALL * blocks)] = {"rows_per_s": round(SMALL * blocks / _seconds(draw)), "peak_mib": _peak_mib()}
    return told | {"drawn_at_once": drawn}


def same(options: argparse.Namespace) -> Told:
    from synth import release as releases
    from synth.sampling import BLOCK, SMALL, TOGETHER, Sampler

    told = {}
    for family in FAMILIES:
        if not (options.scratch / family / "manifest.json").exists():
            continue
        release = releases.load(str(options.scratch / family))
        sampler, other = Sampler.from_release(release), Sampler.from_release(release)
        whole = sampler.table(max(options.rows // 10, 2 * BLOCK), seed=SEED)
        blocks = min(whole.num_rows // SMALL, 32)
        found: Told = {"rows": whole.num_rows, "again": _equal(whole, sampler.table(whole.num_rows, seed=SEED))}
        found["anew"] = _equal(whole, other.table(whole.num_rows, seed=SEED))
        alone = [sampler.together([(SEED, k)])[0] for k in range(blocks)]
        beside = [sampler.together([(SEED + 1, 3), (SEED, k), (SEED, 0)])[1] for k in range(blocks)]
        others = [(SEED + k, 0) for k in range(1, TOGETHER)]
        apart = [sampler.together([*others, (SEED, k)])[-1] for k in range(blocks)]
        few = [next(sampler.batches(1, seed=SEED, first=k * 61)) for k in range(20)]
        for name, batches in {"alone": alone, "beside": beside, "apart": apart}.items():
            found[name] = _equal(whole.slice(0, blocks * SMALL), _table(batches))
        found["one"] = _equal(whole.take([k * 61 for k in range(20)]), _table(few))
        if sampler.device != "cpu":
            there = Sampler(other.generator, other.codec, "cpu").table(whole.num_rows, seed=SEED)
            found["cpu"] = _difference(whole, there)
        told[family] = found
    if not told:
        raise FileNotFoundError(f"no release in {options.scratch}")
    return told


def _table(batches: list[Any]) -> Any:
    import pyarrow as pa

    return pa.Table.from_batches(batches)


def _equal(one: Any, other: Any) -> float:
    """The share of rows that are the same to the last bit."""
    import numpy as np

    return float(np.mean([a == b for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)]))


def _difference(one: Any, other: Any) -> Told:
    """Shares of rows and of cells that are equal; and of numbers, the greatest difference in units of the column's greatest."""
    import numpy as np

    equal, worst = [], 0.0
    for name in one.column_names:
        a, b = (np.asarray(table[name].to_pandas()) for table in (one, other))
        equal.append(a == b)
        if a.dtype.kind in "iuf":
            worst = max(worst, float(np.nanmax(np.abs(a.astype(float) - b))) / max(float(np.nanmax(np.abs(a))), 1.0))
    cells = np.stack(equal)
    return {"rows": float(cells.all(0).mean()), "cells": float(cells.mean()), "greatest": worst}


def _where() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _rate(dtype: Any) -> float:
    """Operations a second of a product of two large matrices of random numbers."""
    import torch

    size = 8192 if torch.cuda.is_available() else 1024
    a = torch.randn(size, size, device=_where()).to(dtype)
    return 2 * size**3 / _seconds(lambda: a @ a)


def _seconds(call: Callable[[], object], least: int = 5, seconds: float = 2.0) -> float:
    """Of a call, after two that count for nothing: the mean of as many as take some time."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else time.monotonic
    for _ in range(2):
        call()
    wait()
    began, calls = time.perf_counter(), 0
    while calls < least or time.perf_counter() - began < seconds:
        call()
        wait()
        calls += 1
    return (time.perf_counter() - began) / calls


def _forget_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_mib() -> int | None:
    """Of the GPU, since it was last forgotten."""
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_available() else None


def _artesian(*words: str) -> None:
    code = "import artesian; artesian.main()"
    subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, check=True, stdout=sys.stderr)


def run(part: str, options: argparse.Namespace) -> Told:
    """A part in a process of its own: what it told, or how it ended."""
    from synth.recipe import seconds

    limit = LIMITS.get(part, seconds(options.budget) + SECONDS)
    words = [sys.executable, __file__, *sys.argv[1:], "--inside", part, "--scratch", str(options.scratch)]
    began = time.monotonic()
    log = options.scratch / f"{part}.log"
    status: int | str
    with (
        log.open("w") as file,
        subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, start_new_session=True) as process,
    ):
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = f"stopped after {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with what it started
    lines = log.read_text(errors="replace").splitlines()
    took = {"part": part, "status": status, "seconds": round(time.monotonic() - began, 1)}
    return took | (json.loads(lines[-1]) if status == 0 else {"last_lines": lines[-30:]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--commit", help="of what is measured, where there is no git to ask")
    parser.add_argument("--budget", default="30s", help="of each training")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--scratch", type=Path, default=Path("runs/gpu"), help="for the releases and each part's log")
    parser.add_argument("--inside", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.scratch = options.scratch.resolve()
    if options.inside is not None:
        measure = {"device": device, "steps": steps, "sampling": sampling, "same": same}.get(options.inside)
        print(json.dumps(train(options.inside, options) if measure is None else measure(options)))
        return
    import torch

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the part at work is ended, too
    options.scratch.mkdir(parents=True, exist_ok=True)
    about = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu", "torch": torch.__version__,
        "commit": options.commit,
    }  # fmt: skip
    for part in options.only:
        row = run(part, options) | about | {"date": datetime.now(UTC).isoformat(timespec="seconds")}
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]
    main()
