"""What the service costs over the sampler itself, and how it bears too much load, dead replicas, promotions and half an hour.

    python benchmarks/service.py RELEASE [--only speed latency overload killed promoted memory] [--minutes 30]

Everything is asked over HTTP of a real service on this machine and, where it says so, of the sampler in this process, on as
many threads as there are replicas. Too much load is open: requests are sent at their times, whatever became of those
before, as a service's callers do. Lines go to results/service.jsonl.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
from published_protocol import circumstances

from cluster.machine import usable_cores

RESULTS = Path(__file__).parent / "results" / "service.jsonl"
MANY, FEW = 100_000, 100
OVERLOAD_S, TIMES = 60.0, 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    every = {
        "speed": speed,
        "latency": latency,
        "overload": overload,
        "killed": killed,
        "promoted": promoted,
        "memory": memory,
    }
    parser.add_argument("--only", nargs="+", choices=list(every), default=list(every))
    parser.add_argument("--minutes", type=float, default=30.0, help="of mixed load, for memory")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    for name in options.only:
        with service(options.release) as (url, process):
            row = {"what": name, "cores": usable_cores(), **every[name](url, process, options)}
        with options.results.open("a") as file:
            file.write(json.dumps(row | circumstances()) + "\n")
        print(json.dumps(row), flush=True)


@contextmanager
def service(release: str) -> Iterator[tuple[str, psutil.Process]]:
    """A service of its own, of two versions that are the same, with a replica a core."""
    with tempfile.TemporaryDirectory() as state, subprocess.Popen(
        [
            str(Path(sys.executable).parent / "artesian"), "serve", f"g@1={release}", f"g@2={release}", "--port", "0",
            "--state", state, "--replicas", f"{usable_cores()},{usable_cores()}",
        ], stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stderr is not None
        url = next(line.split(" at ")[1].split("/ ;")[0] for line in running.stderr if " at http" in line)
        while httpx2.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.2)
        time.sleep(5.0)
        try:
            draw(url, FEW, 0)  # a replica loads the release
            yield url, psutil.Process(running.pid)
        finally:
            running.send_signal(signal.SIGINT)
            running.wait()


def draw(url: str, rows: int, seed: int, form: str = "arrow") -> httpx2.Response:
    asked = {"n": rows, "seed": seed, "format": form}
    return httpx2.post(f"{url}/v1/generators/g/samples", json=asked, timeout=3_600)


def speed(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Rows a second of as many callers as there are replicas, against as many processes with the sampler in them."""
    cores, rows = usable_cores(), MANY // usable_cores()
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(in_process, [options.release] * cores, [FEW] * cores, range(cores)))  # imports, and loads
        began = time.monotonic()
        list(pool.map(in_process, [options.release] * cores, [rows] * cores, range(cores)))
        alone = cores * rows / (time.monotonic() - began)

    async def ask(client: httpx2.AsyncClient) -> float:
        began = time.monotonic()
        await asyncio.gather(*(post(client, url, rows, seed) for seed in range(cores)))
        return cores * rows / (time.monotonic() - began)

    served = asyncio.run(with_client(ask))
    return {
        "rows": MANY,
        "sampler_rows_per_s": round(alone, 1),
        "service_rows_per_s": round(served, 1),
        "ratio": round(served / alone, 3),
    }


def in_process(release: str, rows: int, seed: int) -> float:
    import torch

    from synth import release as releases
    from synth.sampling import Sampler

    torch.set_num_threads(1)
    global SAMPLER
    if "SAMPLER" not in globals():
        SAMPLER = Sampler.from_release(releases.load(release))
    began = time.perf_counter()
    for _ in SAMPLER.batches(rows, seed=seed):
        pass
    return time.perf_counter() - began


def latency(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Of one caller at a time that asks for few rows, in milliseconds over what the sampler takes."""
    in_process(options.release, FEW, 0)
    alone = [in_process(options.release, FEW, seed) for seed in range(60)]
    with httpx2.Client(timeout=60) as client:
        served = [
            timed(lambda s=seed: client.post(f"{url}/v1/generators/g/samples", json={"n": FEW, "seed": s}))
            for seed in range(300)
        ]
    over = [1_000 * (took - statistics.median(alone)) for took in served[40:]]
    return {
        "rows": FEW, "sampler_ms": {q: round(1_000 * quantile(alone, q), 2) for q in (0.5, 0.99)},
        "added_ms": {q: round(quantile(over, q), 2) for q in (0.5, 0.99)},
    }  # fmt: skip


def overload(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Open load of TIMES what is borne, for OVERLOAD_S: how long the accepted take, and what the others are told."""

    async def run(client: httpx2.AsyncClient) -> dict[str, Any]:
        alone = [await atimed(post(client, url, FEW, 1_000_000 + seed)) for seed in range(60)]
        unloaded = quantile([took for took, _ in alone], 0.99)
        began = time.monotonic()
        done = await asyncio.gather(
            *(several(client, url, 40, 2_000_000 + 1_000 * k) for k in range(2 * usable_cores()))
        )
        rate = sum(done) / (time.monotonic() - began)
        answers = await open_load(client, url, TIMES * rate, OVERLOAD_S)
        took = [seconds for seconds, answer in answers if answer is not None and answer.status_code == 200]
        told = Counter("lost" if answer is None else str(answer.status_code) for _, answer in answers)
        again = all("retry-after" in a.headers for _, a in answers if a is not None and a.status_code == 503)
        return {
            "rows": FEW, "sustained_per_s": round(rate, 2), "offered_per_s": round(TIMES * rate, 2), "answers": dict(told),
            "all_503_say_when": again, "unloaded_p99_ms": round(1_000 * unloaded, 1),
            "accepted_p99_ms": round(1_000 * quantile(took, 0.99), 1), "times": round(quantile(took, 0.99) / unloaded, 2),
        }  # fmt: skip

    return asyncio.run(with_client(run))


def killed(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Ten replicas killed under half of the load that is borne; a refusal is asked again once."""

    async def run(client: httpx2.AsyncClient) -> dict[str, Any]:
        stop, told = asyncio.Event(), Counter[str]()
        callers = [
            asyncio.create_task(insist(client, url, 10_000 * (k + 1), stop, told)) for k in range(usable_cores())
        ]
        for _ in range(10):
            await asyncio.sleep(6.0)
            victims = [
                p
                for p in process.children(recursive=True)
                if "Replica" in " ".join(p.cmdline()) and ":Replica" in " ".join(p.cmdline())
            ]
            os.kill(victims[0].pid, signal.SIGKILL)
        await asyncio.sleep(6.0)
        stop.set()
        await asyncio.gather(*callers)
        return {"kills": 10, "answers": dict(told)}

    return asyncio.run(with_client(run))


def promoted(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Versions promoted to and fro under load; nothing is asked again."""

    async def run(client: httpx2.AsyncClient) -> dict[str, Any]:
        stop, told = asyncio.Event(), Counter[str]()
        callers = [
            asyncio.create_task(insist(client, url, 10_000 * (k + 1), stop, told, again=False))
            for k in range(usable_cores())
        ]
        for k in range(20):
            await asyncio.sleep(1.5)
            await client.put(f"{url}/v1/generators/g/aliases/production", json={"shares": {str(1 + k % 2): 1}})
        stop.set()
        await asyncio.gather(*callers)
        return {"promotions": 20, "answers": dict(told)}

    return asyncio.run(with_client(run))


def memory(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory of all processes of the service over minutes of mixed load, after it has settled."""
    seen: list[tuple[float, float]] = []

    async def run(client: httpx2.AsyncClient) -> None:
        began, seed = time.monotonic(), 0
        forms = ("arrow", "json", "csv", "parquet", "ndjson")
        while time.monotonic() - began < 60 * options.minutes:
            seed += 1
            asked: dict[str, Any] = {"n": FEW if seed % 5 else 5_000, "seed": seed, "format": forms[seed % len(forms)]}
            await client.post(f"{url}/v1/generators/g/samples", json=asked)
            if not seen or time.monotonic() - began - seen[-1][0] > 10:
                seen.append((time.monotonic() - began, resident(process)))

    asyncio.run(with_client(run))
    settled = [mib for at, mib in seen if at > 6 * options.minutes]  # the first tenth loads and fills what is bounded
    first, last = statistics.mean(settled[:10]), statistics.mean(settled[-10:])
    return {
        "minutes": options.minutes,
        "first_mib": round(first),
        "last_mib": round(last),
        "growth": round(last / first - 1, 4),
    }


def resident(process: psutil.Process) -> float:
    """MiB that the process and all below it have for themselves, and what they share counted once by its part."""
    every = [process, *process.children(recursive=True)]
    return sum(p.memory_full_info().pss for p in every if p.is_running()) / 2**20


async def with_client(call: Callable[[httpx2.AsyncClient], Awaitable[Any]]) -> Any:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=600, limits=limits) as client:
        return await call(client)


async def post(client: httpx2.AsyncClient, url: str, rows: int, seed: int) -> httpx2.Response:
    return await client.post(f"{url}/v1/generators/g/samples", json={"n": rows, "seed": seed, "format": "arrow"})


async def several(client: httpx2.AsyncClient, url: str, times: int, seed: int) -> int:
    """How many of so many requests, one after the other, were answered."""
    return sum([(await post(client, url, FEW, seed + k)).status_code == 200 for k in range(times)])


async def insist(
    client: httpx2.AsyncClient, url: str, seed: int, stop: asyncio.Event, told: Counter[str], *, again: bool = True
) -> None:
    """Ask until it is over; what is not answered is asked once more."""
    while not stop.is_set():
        seed += 1
        for left in (1, 0) if again else (0,):
            try:
                status = str((await post(client, url, FEW, seed)).status_code)
            except httpx2.TransportError as e:
                status = type(e).__name__
            if status == "200" or not left:
                break
            told["asked again"] += 1
            await asyncio.sleep(1.0)
        told[status] += 1


async def open_load(
    client: httpx2.AsyncClient, url: str, rate: float, seconds: float
) -> list[tuple[float, httpx2.Response | None]]:
    """Requests at their times; each one's seconds and answer, None where it was lost or cut."""

    async def one(k: int) -> tuple[float, httpx2.Response | None]:
        await asyncio.sleep(k / rate)
        try:
            return await atimed(post(client, url, FEW, 5_000_000 + k))
        except httpx2.TransportError:
            return 0.0, None

    return list(await asyncio.gather(*(one(k) for k in range(int(rate * seconds)))))


async def atimed(call: Awaitable[httpx2.Response]) -> tuple[float, httpx2.Response]:
    began = time.monotonic()
    answer = await call
    return time.monotonic() - began, answer


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(int(q * len(values)), len(values) - 1)]


if __name__ == "__main__":
    main()
