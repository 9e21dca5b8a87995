"""What the service costs over the sampler itself, and whether its memory stays as it is.

    python benchmarks/service.py RELEASE [--only speed latency memory] [--minutes 30]

Everything is asked over HTTP of a real service on this machine, with a replica a core, by callers on the same cores; and,
where it says so, of the sampler in a process of its own, on as many threads. Every answer is read whole and must be whole.
Lines go to results/service.jsonl, those of service_load.py, too.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import math
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pyarrow as pa
from published_protocol import circumstances

from cluster.machine import usable_cores

RESULTS = Path(__file__).parent / "results" / "service.jsonl"
MANY, FEW = 100_000, 100
SOME = 5_000  # rows of the larger answers of a mixed load
FORMS = ("arrow", "json", "csv", "parquet", "ndjson")
WARM, ASKED = 40, 500  # requests before those that count, and these
LOOK_S = 10.0  # between looks at the memory
Measure = Callable[[str, psutil.Process, argparse.Namespace], dict[str, Any]]


def main() -> None:
    options = parsed(__doc__, every := {"speed": speed, "latency": latency, "memory": memory})
    measure(every, [options.release, options.release], options)


def parsed(doc: str | None, every: dict[str, Measure]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    parser.add_argument("other", nargs="?", help="another version of it, where versions change")
    parser.add_argument("--only", nargs="+", choices=list(every), default=list(every))
    parser.add_argument("--minutes", type=float, default=30.0, help="of mixed load, for memory")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def measure(every: dict[str, Measure], releases: list[str], options: argparse.Namespace) -> None:
    for name in options.only:
        with service(releases) as (url, process):
            row = {"what": name, "cores": usable_cores(), **every[name](url, process, options)}
        with options.results.open("a") as file:
            file.write(json.dumps(row | circumstances()) + "\n")
        print(json.dumps(row), flush=True)


@contextmanager
def service(releases: list[str]) -> Iterator[tuple[str, psutil.Process]]:
    """A service of its own, of these releases as the versions of one generator, ready and warm."""
    with tempfile.TemporaryDirectory() as state, (log := Path(state, "said")).open("w") as said, subprocess.Popen(
        [
            str(Path(sys.executable).parent / "artesian"), "serve",
            *(f"g@{k}={place}" for k, place in enumerate(releases, start=1)), "--port", "0",
            "--state", state, "--replicas", f"{usable_cores()},{usable_cores()}",
        ], stderr=said,
    ) as running:  # fmt: skip
        while " at http" not in (told := log.read_text()):
            if running.poll() is not None:
                raise SystemExit(f"the service did not start:\n{told}")
            time.sleep(0.2)
        url = told.split(" at ")[1].split("/ ;")[0]
        process = psutil.Process(running.pid)
        try:
            while httpx2.get(f"{url}/readyz").status_code != 200 or len(replicas(process)) < usable_cores():
                time.sleep(0.2)
            for seed in range(WARM):  # each replica loads the releases
                for k in range(1, len(releases) + 1):
                    asked = {"n": FEW, "seed": seed, "format": "arrow"}
                    httpx2.post(f"{url}/v1/generators/g@{k}/samples", json=asked, timeout=600).raise_for_status()
            yield url, process
        finally:
            running.send_signal(signal.SIGINT)
            running.wait()


def replicas(process: psutil.Process) -> list[psutil.Process]:
    """The processes that sample."""
    found = []
    for child in process.children(recursive=True):
        try:
            if ":Replica" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def speed(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Rows a second of one caller's request for many, against the sampler in one process with a thread a core, and in a
    process a core with a thread each."""
    cores, spawn = usable_cores(), get_context("spawn")
    rates: dict[str, float] = {}
    for name, processes, threads in (("one_process", 1, cores), ("process_a_core", cores, 1)):
        begin = {
            "mp_context": spawn,
            "initializer": loaded,
            "initargs": (options.release, threads, spawn.Barrier(processes)),
        }
        with ProcessPoolExecutor(processes, **begin) as pool:
            list(
                pool.map(drawn, [FEW] * processes, range(processes))
            )  # a process starts with a task that no other takes
            began = time.monotonic()
            list(pool.map(drawn, [MANY // processes] * processes, range(processes)))
            rates[name] = round(MANY / (time.monotonic() - began), 1)
    began = time.monotonic()
    asked = {"n": MANY, "seed": 0, "format": "arrow"}
    answer = httpx2.post(f"{url}/v1/generators/g/samples", json=asked, timeout=3_600).raise_for_status()
    served = MANY / (time.monotonic() - began)
    assert pa.ipc.open_stream(io.BytesIO(answer.content)).read_all().num_rows == MANY
    return {
        "rows": MANY, "sampler_rows_per_s": rates, "service_rows_per_s": round(served, 1),
        "ratio": {name: round(served / rate, 3) for name, rate in rates.items()},
    }  # fmt: skip


def loaded(release: str, threads: int, others: Barrier) -> None:
    """Load the release in this process, and wait until the others have, too."""
    import torch

    from synth import release as releases
    from synth.sampling import Sampler

    torch.set_num_threads(threads)
    global SAMPLER
    SAMPLER = Sampler.from_release(releases.load(release))
    drawn(FEW, 0)
    others.wait()


def drawn(rows: int, seed: int) -> float:
    began = time.perf_counter()
    assert sum(batch.num_rows for batch in SAMPLER.batches(rows, seed=seed)) == rows  # type: ignore[name-defined]
    return time.perf_counter() - began


def latency(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Of one caller at a time that asks for few rows: by how many milliseconds the service's median and 99th percentile are
    above the sampler's, on a thread, as a replica has."""
    spawn = get_context("spawn")
    begin = {"mp_context": spawn, "initializer": loaded, "initargs": (options.release, 1, spawn.Barrier(1))}
    with ProcessPoolExecutor(1, **begin) as pool:
        alone = list(pool.map(drawn, [FEW] * (WARM + ASKED), range(WARM + ASKED)))[WARM:]
    with httpx2.Client(timeout=60) as client:

        def ask(seed: int) -> float:
            began = time.perf_counter()
            asked = {"n": FEW, "seed": seed, "format": "arrow"}
            client.post(f"{url}/v1/generators/g/samples", json=asked).raise_for_status()
            return time.perf_counter() - began

        served = [ask(seed) for seed in range(WARM + ASKED)][WARM:]
    ms = {
        name: {q: 1_000 * quantile(values, q) for q in (0.5, 0.99)}
        for name, values in (("sampler", alone), ("service", served))
    }
    return {
        "rows": FEW, "requests": ASKED,
        **{f"{name}_ms": {q: round(value, 2) for q, value in found.items()} for name, found in ms.items()},
        "added_ms": {q: round(ms["service"][q] - ms["sampler"][q], 2) for q in (0.5, 0.99)},
    }  # fmt: skip


def memory(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory of all processes of the service over minutes of mixed load: a caller a core, small and large answers in
    each form."""
    seen: list[tuple[float, float]] = []
    answers = 0

    async def caller(client: httpx2.AsyncClient, first: int, began: float) -> None:
        nonlocal answers
        seed = first
        while time.monotonic() - began < 60 * options.minutes:
            asked = {"n": SOME if seed % 4 == 0 else FEW, "seed": seed, "format": FORMS[seed % len(FORMS)]}
            (await client.post(f"{url}/v1/generators/g/samples", json=asked)).raise_for_status()
            seed, answers = seed + 1, answers + 1

    async def look(began: float) -> None:
        while time.monotonic() - began < 60 * options.minutes:
            seen.append((time.monotonic() - began, await asyncio.to_thread(resident, process)))
            await asyncio.sleep(LOOK_S)

    async def run(client: httpx2.AsyncClient) -> None:
        began = time.monotonic()
        await asyncio.gather(look(began), *(caller(client, 1_000_000 * k, began) for k in range(usable_cores())))

    asyncio.run(with_client(run))
    settled = [mib for at, mib in seen if at > 6 * options.minutes]  # the first tenth fills what is bounded
    tenth = max(1, len(settled) // 10)
    first, last = statistics.mean(settled[:tenth]), statistics.mean(settled[-tenth:])
    return {
        "minutes": options.minutes, "answers": answers, "first_mib": round(first), "last_mib": round(last),
        "growth": round(last / first - 1, 4), "mib": [round(mib) for _, mib in seen][:: max(1, len(seen) // 30)],
    }  # fmt: skip


def resident(process: psutil.Process) -> float:
    """MiB that the process and all below it have for themselves, and what they share counted once by its part."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().pss / 2**20
        except psutil.NoSuchProcess:
            continue
    return total


async def with_client(call: Callable[[httpx2.AsyncClient], Awaitable[Any]]) -> Any:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=600, limits=limits) as client:
        return await call(client)


def quantile(values: list[float], q: float) -> float:
    """The smallest value that at least a share of ``q`` does not exceed; NaN of none."""
    return math.nan if not values else sorted(values)[math.ceil(q * len(values)) - 1]


if __name__ == "__main__":
    main()
