"""How the service bears too much load, replicas that are killed, and versions that change while it is asked.

    python benchmarks/service_load.py RELEASE OTHER [--only overload killed promoted]

RELEASE and OTHER are two releases with the same columns, served as versions of one generator. Callers run on the service's
cores. Too much load is open: requests are sent at their times, whatever became of those before, as a service's callers do,
and an answer's time is counted from when it was to be sent; by how much this program was late is told beside it. Lines go
to results/service.jsonl.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from typing import Any

import httpx2
import psutil
from service import ASKED, FEW, measure, parsed, quantile, replicas, with_client

from cluster.machine import usable_cores

OVERLOAD_S, TIMES = 60.0, 4.0
TRIED_S, GAIN, CALLERS = 8.0, 1.05, 64  # of a closed load; more callers are tried while they gain this much
KILLS, KILL_S = 10, 6.0
PROMOTIONS, PROMOTE_S = 20, 1.5


def main() -> None:
    options = parsed(__doc__, every := {"overload": overload, "killed": killed, "promoted": promoted})
    if options.other is None:
        raise SystemExit("give RELEASE and OTHER: two releases with the same columns")
    measure(every, [options.release, options.other], options)


def overload(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Open load of TIMES what is borne, for OVERLOAD_S: how long the accepted take, and what the others are told."""

    async def run(client: httpx2.AsyncClient) -> dict[str, Any]:
        alone = []
        for seed in range(ASKED):
            began = time.monotonic()
            (await post(client, url, 1_000_000 + seed)).raise_for_status()
            alone.append(time.monotonic() - began)
        unloaded = quantile(alone, 0.99)
        rate, callers = await borne(client, url)
        answers = await open_load(client, url, TIMES * rate, OVERLOAD_S)
        took = [a.seconds for a in answers if a.told == "200"]
        return {
            "rows": FEW, "sustained_per_s": round(rate, 2), "callers": callers, "offered_per_s": round(TIMES * rate, 2),
            "seconds": OVERLOAD_S, "answers": dict(Counter(a.told for a in answers)),
            "all_503_say_when": all(a.says_when for a in answers if a.told == "503"),
            "unloaded_p99_ms": round(1_000 * unloaded, 1), "accepted_p50_ms": round(1_000 * quantile(took, 0.5), 1),
            "accepted_p99_ms": round(1_000 * quantile(took, 0.99), 1), "times": round(quantile(took, 0.99) / unloaded, 2),
            "sent_late_p99_ms": round(1_000 * quantile([a.late for a in answers], 0.99), 1),
        }  # fmt: skip

    found: dict[str, Any] = asyncio.run(with_client(run))
    return found


async def borne(client: httpx2.AsyncClient, url: str) -> tuple[float, int]:
    """The most answers a second that callers get who ask again when they have one, and of how many callers. Only answers
    with rows count."""
    best, callers, tried = 0.0, 0, 1
    while tried <= CALLERS:
        until = time.monotonic() + TRIED_S
        told = Counter[str]()
        await asyncio.gather(*(insist(client, url, 100_000 * (tried + k), until, told, tries=1) for k in range(tried)))
        rate = told["200"] / (time.monotonic() - until + TRIED_S)
        if rate < GAIN * best:
            break
        best, callers, tried = max(rate, best), tried, 2 * tried
    return best, callers


def killed(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Replicas killed, any of them, while a caller a core asks; what is not answered with rows is asked again once."""

    async def run(client: httpx2.AsyncClient) -> dict[str, Any]:
        told, rng, pids = Counter[str](), random.Random(0), list[int]()
        until = time.monotonic() + KILLS * KILL_S + KILL_S
        callers = [
            asyncio.create_task(insist(client, url, 10_000 * (k + 1), until, told, tries=2))
            for k in range(usable_cores())
        ]
        for _ in range(KILLS):
            await asyncio.sleep(KILL_S)
            while not (alive := await asyncio.to_thread(replicas, process)):
                await asyncio.sleep(0.1)
            victim = rng.choice(alive)
            victim.kill()
            pids.append(victim.pid)
        await asyncio.gather(*callers)
        return {"kills": len(set(pids)), "answers": dict(told)}

    found: dict[str, Any] = asyncio.run(with_client(run))
    return found


def promoted(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """One version promoted instead of the other, to and fro, while a caller a core asks; nothing is asked again."""

    async def run(client: httpx2.AsyncClient) -> dict[str, Any]:
        told, by = Counter[str](), Counter[str]()
        until = time.monotonic() + (PROMOTIONS + 1) * PROMOTE_S
        callers = [
            asyncio.create_task(insist(client, url, 10_000 * (k + 1), until, told, tries=1, by=by))
            for k in range(usable_cores())
        ]
        for k in range(PROMOTIONS):
            await asyncio.sleep(PROMOTE_S)
            alias = f"{url}/v1/generators/g/aliases/production"
            (await client.put(alias, json={"shares": {str(1 + k % 2): 1}})).raise_for_status()
        await asyncio.gather(*callers)
        return {"promotions": PROMOTIONS, "answers": dict(told), "by_release": dict(by)}

    found: dict[str, Any] = asyncio.run(with_client(run))
    return found


async def post(client: httpx2.AsyncClient, url: str, seed: int) -> httpx2.Response:
    asked = {"n": FEW, "seed": seed, "format": "arrow"}
    return await client.post(f"{url}/v1/generators/g:production/samples", json=asked)


async def insist(
    client: httpx2.AsyncClient, url: str, seed: int, until: float, told: Counter[str], *, tries: int,
    by: Counter[str] | None = None,
) -> None:  # fmt: skip
    """Ask one request after the other until that time, each as often as it may be; ``told`` counts what became of them, and
    ``by`` which release answered."""
    while time.monotonic() < until:
        seed += 1
        for left in reversed(range(tries)):
            try:
                answer = await post(client, url, seed)
                status = str(answer.status_code)
            except httpx2.TransportError as e:
                status = type(e).__name__
            if status == "200" or not left:
                break
            told["asked again"] += 1
            await asyncio.sleep(1.0)
        told[status] += 1
        if by is not None and status == "200":
            by[answer.headers["artesian-release"][:12]] += 1


class Answer:
    """What became of a request: how late it was sent, what it was told, after how many seconds of when it was to be sent."""

    late = seconds = 0.0
    told = ""
    says_when = False


async def open_load(client: httpx2.AsyncClient, url: str, rate: float, seconds: float) -> list[Answer]:
    """Requests at their times, the first now."""
    began = time.monotonic()

    async def one(k: int) -> Answer:
        found, due = Answer(), began + k / rate
        await asyncio.sleep(due - time.monotonic())
        found.late = time.monotonic() - due
        try:
            answer = await post(client, url, 5_000_000 + k)
        except httpx2.TransportError as e:
            found.told = type(e).__name__
        else:
            found.told, found.says_when = str(answer.status_code), "retry-after" in answer.headers
        found.seconds = time.monotonic() - due
        return found

    return list(await asyncio.gather(*(one(k) for k in range(int(rate * seconds)))))


if __name__ == "__main__":
    main()
