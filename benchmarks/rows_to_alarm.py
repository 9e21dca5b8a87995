"""How many rows leave before the monitor raises an alarm, by what has gone wrong; and whether a healthy stream raises none.

    python benchmarks/rows_to_alarm.py RELEASE [--train TRAIN] [--healthy 100000] [--seeds 3] [--budget 2m]
    python benchmarks/rows_to_alarm.py --table

RELEASE is a release of a table, which is watched as the service watches it: against the rows that it was certified with, or
as many that it draws, and against fresh rows, within the monitor's budget. Healthy streams come first. Each fault begins
then twice: with the first rows that are served, of which fresh rows cost the monitor nothing, and after all rows of a
healthy stream, when it must live on its share of the sampling time. Rows are counted from where the fault begins.

The faults are made from the release's own rows (the sparsest 11 % lost, half of twenty clusters lost, a column frozen at its
commonest category), by its sampler (temperatures and noise of 0.7), and by training on its own rows, twice, for
``--budget`` each (left out without it). Where TRAIN is given, as many rows are drawn to train on as it has.

Beside the rows: the processor's time that the monitor took with them, fresh rows and reports included, relative to the
sampler's; the same without what is free at the start. What it takes to begin with a release is in neither. Lines go to
results/rows_to_alarm.jsonl. What the tests do without a neural network and a budget, rows_to_alarm_digits.py has.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from published_protocol import circumstances
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from cluster.machine import usable_cores
from serving.front import LOOK_S
from serving.monitor.monitor import Monitor
from serving.monitor.view import View
from synth import release as releases
from synth.data.codec import Codec
from synth.recipe import Recipe
from synth.release import Release
from synth.sampling import BLOCK, Sampler

RESULTS = Path(__file__).parent / "results" / "rows_to_alarm.jsonl"
MOST = 40_000  # rows of a faulty stream
TAIL, CLUSTERS, COLD = 0.11, 20, 0.7
Stream = Callable[[int], Iterator[tuple[pa.RecordBatch, float]]]
"""By seed, batches without end, each with the seconds that sampling it took."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", nargs="?")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--healthy", type=int, default=100_000, help="rows of each healthy stream")
    parser.add_argument("--seeds", type=int, default=3, help="healthy streams, and faults that begin after one")
    parser.add_argument("--repeats", type=int, default=7, help="faults that begin with the first rows")
    parser.add_argument("--budget", help="of each training on own rows")
    parser.add_argument("--faults", nargs="+", help="only these")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    options = parser.parse_args()
    if not options.table:
        if options.release is None:
            parser.error("give RELEASE, or --table")
        for row in measured(options):
            with options.results.open("a") as file:
                file.write(json.dumps(row | circumstances()) + "\n")
            print(json.dumps(row), flush=True)
    print(table([json.loads(line) for line in options.results.read_text().splitlines()]))


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    release = releases.load(options.release)
    with tempfile.TemporaryDirectory() as scratch:
        own = twice(release, options, scratch) if options.budget else None
        begin = {"mp_context": get_context("spawn"), "initializer": prepare, "initargs": (options.release, own)}
        with ProcessPoolExecutor(usable_cores(), **begin) as pool:
            named = [name for name in pool.submit(known).result() if options.faults is None or name in options.faults]
            late = [pool.submit(healthy_then, named, seed, options.healthy) for seed in range(options.seeds)]
            first = {name: [pool.submit(run, name, 100 + k) for k in range(options.repeats)] for name in named}
            server = {"server": release.manifest.name}
            for seed, found in enumerate(late):
                yield server | {"fault": "none", "seed": seed, "rows": options.healthy, **found.result()[0]._asdict()}
            for name in named:
                yield server | {"fault": name, "after": 0, **summed([found.result() for found in first[name]])}
                if after := [found.result()[1][name] for found in late if found.result()[1]]:
                    yield server | {"fault": name, "after": options.healthy, **summed(after)}


class Server(NamedTuple):
    """What a process of this benchmark watches: a release, and its faults by name."""

    release: Release
    sampler: Sampler
    faults: dict[str, Stream]


def prepare(release: str, own: str | None) -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)  # as Ray has it in the watcher's process; of other threads the time is not counted
    global SERVER
    found = releases.load(release)
    sampler = Sampler.from_release(found)
    SERVER = Server(found, sampler, dict(faults(found, sampler, own)))


def known() -> list[str]:
    return list(SERVER.faults)


def run(fault: str, seed: int) -> Found:
    """A fault that begins with the first rows that are served."""
    with tempfile.TemporaryDirectory() as folder:
        return watched(begun(Path(folder)), SERVER.faults[fault](seed), MOST)


def healthy_then(named: Sequence[str], seed: int, rows: int) -> tuple[Found, dict[str, Found]]:
    """A healthy stream, and each fault as it would begin after that; none where the healthy one raised an alarm."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = begun(Path(folder))
        found = watched(monitor, endless(SERVER.sampler, 10 + seed), rows)
        if found.alarm is not None:
            return found, {}
        same = {id(part): part for part in (SERVER.sampler, monitor.view)}  # what nothing is written to
        return found, {
            name: watched(copy.deepcopy(monitor, dict(same)), SERVER.faults[name](200 + seed), MOST) for name in named
        }


def begun(folder: Path) -> Monitor:
    """A monitor that has seen nothing yet."""
    return Monitor(SERVER.sampler, SERVER.release.manifest.id, folder, SERVER.release.reference)


def endless(sampler: Sampler, seed: int) -> Iterator[tuple[pa.RecordBatch, float]]:
    batches = sampler.batches(1 << 40, seed=seed)
    while True:
        began = time.thread_time()
        batch = next(batches)
        yield batch, time.thread_time() - began


class Found(NamedTuple):
    """Rows of a stream to the alarm, None where there was none, and by which detector; ln of the e-value at the end; the
    monitor's time relative to the sampler's, all of it and as the budget counts it."""

    alarm: int | None
    detector: str | None
    log_e: float
    share: float
    budgeted: float


def watched(monitor: Monitor, stream: Iterator[tuple[pa.RecordBatch, float]], most: int) -> Found:
    """So many rows of a stream, or those until the alarm, before a monitor."""
    sent, sampling_s, told_s, monitor_s, spent = 0, 0.0, 0.0, 0.0, monitor.budget.spent
    alarm, detector = None, None
    while sent < most and alarm is None:
        batch, took = next(stream)
        began, passed = time.thread_time(), monitor.watch.rows
        found = monitor.see(batch, "", took)
        if found is not None:  # its rows are all that the tests have looked at
            alarm, detector = sent + found.rows - passed, found.detector
        sampling_s += took
        if sampling_s - told_s > LOOK_S:  # as often as the front asks
            told_s = sampling_s
            monitor.report()
        monitor_s += time.thread_time() - began
        sent += batch.num_rows
    return Found(
        alarm, detector, round(monitor.watch.log_value, 2), round(monitor_s / sampling_s, 4),
        round((monitor.budget.spent - spent) / sampling_s, 4),
    )  # fmt: skip


def summed(found: Sequence[Found]) -> dict[str, Any]:
    """The median, in which an alarm that did not come counts as later than any."""
    ordered = sorted((f.alarm for f in found), key=lambda r: float("inf") if r is None else r)
    return {
        "median_rows": ordered[len(ordered) // 2], "rows": [f.alarm for f in found],
        "detectors": [f.detector for f in found], "most": MOST,
    }  # fmt: skip


def faults(release: Release, sampler: Sampler, own: str | None) -> Iterator[tuple[str, Stream]]:
    view = View(sampler.schema, sampler.table(8 * BLOCK, seed=1))
    some, others = np.split(view.points(sampler.table(8 * BLOCK, seed=2)), 2)
    near = NearestNeighbors(n_neighbors=10).fit(some)
    sparse = np.quantile(near.kneighbors(others)[0][:, -1], 1 - TAIL)
    clusters = KMeans(CLUSTERS, n_init=3, random_state=1).fit(some)

    def filtered(keep: Callable[[np.ndarray], np.ndarray]) -> Stream:
        def stream(seed: int) -> Iterator[tuple[pa.RecordBatch, float]]:
            for batch, took in endless(sampler, seed):
                kept = batch.filter(pa.array(keep(view.points(pa.Table.from_batches([batch])))))
                yield kept, took * kept.num_rows / batch.num_rows  # a model that has lost them would draw no others

        return stream

    yield "sparsest 11 % lost", filtered(lambda p: near.kneighbors(p)[0][:, -1] < sparse)
    yield "half of the modes lost", filtered(lambda p: clusters.predict(p) % 2 == 0)
    table = sampler.table(8 * BLOCK, seed=2)
    for column in [c.name for c in sampler.schema.columns if c.kind == "categorical"][:3]:
        yield f"{column} frozen", frozen(sampler, table, column)
    cold = {"temperature": COLD, "target_temperature": COLD, "noise": COLD}
    recipe = Recipe.check(release.recipe | {"diffusion": (release.recipe.get("diffusion") or {}) | cold})
    codec = Codec.model_validate(release.codec | {"table": release.schema})
    colder = Sampler.of(recipe, codec, release.tensors)
    yield "temperature 0.7", lambda seed: endless(colder, seed)
    if own is not None:
        again = Sampler.from_release(releases.load(own))
        yield "self-trained twice", lambda seed: endless(again, seed)


def frozen(sampler: Sampler, table: pa.Table, column: str) -> Stream:
    value = pc.mode(table[column].combine_chunks().dictionary_encode().indices)[0]["mode"].as_py()
    value = table[column].combine_chunks().dictionary_encode().dictionary[value].as_py()

    def stream(seed: int) -> Iterator[tuple[pa.RecordBatch, float]]:
        for batch, took in endless(sampler, seed):
            at = batch.schema.get_field_index(column)
            field = batch.schema.field(at)
            yield batch.set_column(at, field, pa.array([value] * batch.num_rows, field.type)), took

    return stream


def twice(release: Release, options: argparse.Namespace, scratch: str) -> str:
    """The place of a generator that was trained on the rows of one that was trained on this one's."""
    rows, place = pq.read_metadata(options.train).num_rows if options.train else 20_000, str(options.release)
    artesian = str(Path(sys.executable).parent / "artesian")
    target = ["--target", release.schema.target] if release.schema.target else []
    (policy := Path(scratch, "policy.yaml")).write_text("{depth: 2, real: 0}")  # what no policy allows by itself
    for generation in ("1", "2"):
        drawn, out = f"{scratch}/{generation}.parquet", f"{scratch}/release-{generation}"
        subprocess.run([artesian, "sample", place, "-n", str(rows), "--seed", generation, "--out", drawn], check=True)
        subprocess.run(
            [
                artesian, "train", drawn, *target, "--budget", options.budget, "--seed", generation, "--out", out,
                "--policy", str(policy), "--allow-missing-parent",
            ],
            check=True,
        )  # fmt: skip
        place = out
    return place


def table(rows: list[dict[str, Any]]) -> str:
    """The last row of each server, fault and beginning, as Markdown."""
    last = {(r["server"], r["fault"], r.get("after", r.get("seed"))): r for r in rows if "server" in r}
    lines = [
        "| server | fault | healthy rows before | rows to alarm, median | each | share of sampling |",
        "|---" * 6 + "|",
    ]
    for (server, fault, after), row in last.items():
        if fault == "none":
            found = "none" if row["alarm"] is None else f"{row['alarm']:,}"
            lines.append(
                f"| {server} | none, seed {after} | – | {found} in {row['rows']:,} | – | {row['share']:.3f}, as budgeted "
                f"{row['budgeted']:.3f} |"
            )
        else:
            each = ", ".join("–" if r is None else f"{r:,}" for r in row["rows"])
            median = f"{row['median_rows']:,}" if row["median_rows"] is not None else f"over {row['most']:,}"
            lines.append(f"| {server} | {fault} | {after:,} | {median} | {each} | – |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
