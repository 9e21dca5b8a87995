"""Rows a second that a kept release is sampled at in this process, time to the first rows, and where processor time goes.

    python benchmarks/sampling_speed.py RELEASE… [--threads 1 2] [--rows 50000] [--asks 50] [--steps N] [--quality fast]
    python benchmarks/sampling_speed.py --table

Each release is loaded anew in a process of its own, a number of threads each. ``rows_per_s`` is of ``Sampler.table``;
``first_ms`` the time in which one row and a hundred rows of another seed are there, the median and the 99th percentile of
``asks``; ``cpu_s`` the processor seconds of 1,000 rows: of the noise, the cells, the values and the decoding to Arrow (phases
are timed apart, of a table diffusion model alone). ``--steps`` puts another number in place of the release's
diffusion.steps, as releases of older recipes ask for more than there need be. Rows go to results/sampling_speed.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances, rows_of

if TYPE_CHECKING:
    from synth.asking import Quality

RESULTS = Path(__file__).parent / "results" / "sampling_speed.jsonl"


def measure(release: str, threads: int, rows: int, asks: int, steps: int | None, quality: Quality) -> dict[str, Any]:
    import numpy as np
    import torch

    from synth import release as releases
    from synth.sampling import Sampler

    torch.set_num_threads(threads)
    began = time.perf_counter()
    sampler = Sampler.from_release(releases.load(release))
    loaded = time.perf_counter() - began
    if steps is not None:
        sampler.generator.steps = steps  # type: ignore[assignment]
    request = sampler.ask(quality=quality)
    sampler.table(2048, request=request)
    first = {}
    for count in (1, 100):
        took = []
        for seed in range(asks):
            began = time.perf_counter()
            sampler.table(count, seed=seed, request=request)
            took.append(1000 * (time.perf_counter() - began))
        first[str(count)] = {"p50": round(float(np.median(took)), 1), "p99": round(float(np.quantile(took, 0.99)), 1)}
    began, spent = time.perf_counter(), time.process_time()
    sampler.table(rows, seed=1, request=request)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    return {
        "release": Path(release).name, "threads": threads, "quality": quality, "rows": rows,
        "rows_per_s": round(rows / seconds),
        "steps": getattr(sampler.generator, "steps", None), "load_s": round(loaded, 3), "first_ms": first,
        "cpu_s": {"all": round(1000 * spent / rows, 4), **({} if request else phases(sampler, min(rows, 16_384)))},
        "device": str(sampler.device),
        "torch": torch.__version__, **circumstances(),
    }  # fmt: skip


def phases(sampler: Any, rows: int) -> dict[str, float]:
    """Processor seconds of 1,000 rows by what they go into; what they are part of does not count them again."""
    from unittest import mock

    from synth.data.codec import Codec
    from synth.generators import base, noise, unmasking

    spent: dict[str, float] = defaultdict(float)
    within: list[float] = []  # of the phases that are going on, what others took in them

    def timed(phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            within.append(0.0)
            try:
                return call(*args, **kwargs)
            finally:
                took = time.process_time() - began
                spent[phase] += took - within.pop()
                if within:
                    within[-1] += took

        return wrapped

    wrap = [
        (base.Joint, "stratified", "noise"), (base.Joint, "orders", "noise"), (unmasking.Unmasking, "finish", "cells"),
        (noise, "multistep", "values"), (Codec, "decode", "decode"),
    ]  # fmt: skip
    patches = [mock.patch.object(owner, name, timed(phase, getattr(owner, name))) for owner, name, phase in wrap]
    for patch in patches:
        patch.start()
    try:
        sampler.table(rows, seed=2)
    finally:
        for patch in patches:
            patch.stop()
    return {phase: round(1000 * seconds / rows, 4) for phase, seconds in spent.items()}


def command(release: str, **given: Any) -> list[str]:
    """What measures a release in a process of its own, by the options that are given; the last line that it prints tells it."""
    words = [word for key, value in given.items() if value is not None for word in (f"--{key}", str(value))]
    return [sys.executable, __file__, release, *words, "--here"]


def table(rows: list[dict[str, Any]]) -> str:
    """Those of the commit of the last one, the last of each release, number of threads and quality, as Markdown."""
    rows = [row for row in rows if row["commit"] == rows[-1]["commit"]]
    lines = [
        "| release | threads | quality | steps | rows a second | first row, first 100 (ms) | processor s of 1,000 rows |",
        "|---" * 7 + "|",
    ]
    for row in {tuple(row[key] for key in ("release", "threads", "quality")): row for row in rows}.values():
        first = ", ".join(f"{ms['p50']:g} (p99 {ms['p99']:g})" for ms in row["first_ms"].values())
        spent = ", ".join(f"{phase} {s:.3g}" for phase, s in row["cpu_s"].items())
        steps = row["steps"] if row["quality"] == "best" else ""  # a student takes no notice of the release's
        told = [row["release"], row["threads"], row["quality"], steps, f"{row['rows_per_s']:,}", first, spent]
        lines.append("| " + " | ".join(map(str, told)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--asks", type=int, default=50)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--quality", default="best", choices=["best", "fast"])
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        [release], [threads] = options.releases, options.threads
        print(json.dumps(measure(release, threads, options.rows, options.asks, options.steps, options.quality)))
        return
    if not options.table:
        if not options.releases:
            parser.error("give RELEASE…, or --table")
        RESULTS.parent.mkdir(exist_ok=True)
        for release in options.releases:
            for threads in options.threads:
                given = {key: getattr(options, key) for key in ("rows", "asks", "steps", "quality")}
                found = subprocess.run(
                    command(release, threads=threads, **given), check=True, stdout=subprocess.PIPE, text=True,
                    env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                )  # fmt: skip
                line = found.stdout.splitlines()[-1]
                with RESULTS.open("a") as file:
                    file.write(line + "\n")
                print(line, flush=True)
    print(table(rows_of(RESULTS)))


if __name__ == "__main__":
    main()
