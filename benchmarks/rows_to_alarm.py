"""How many rows leave before the monitor raises an alarm, by what has gone wrong; and whether a healthy stream raises none.

    python benchmarks/rows_to_alarm.py RELEASE [--train TRAIN] [--healthy 100000] [--seeds 3] [--budget 2m]

RELEASE is a release of a table, which is watched as the service watches it: against the rows that it was certified with, or
as many that it draws, and against fresh rows, within the monitor's budget. The faults are made from its own rows (the
sparsest 11 % lost, half of twenty clusters lost, a column frozen at its commonest category), by its sampler (temperatures
and noise of 0.7), and by training on its own rows, twice, for ``--budget`` each (left out without it). Where TRAIN is given,
as many rows are drawn to train on as it has.

The same without a neural network: a Gaussian mixture of handwritten digits (scikit-learn's, 16 principal components, 30
components, 1,200 rows), the server of which earlier figures are known. Lines go to results/rows_to_alarm.jsonl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from published_protocol import circumstances
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from serving.monitor.monitor import Monitor
from serving.monitor.view import View
from serving.monitor.watch import Watch
from synth import release as releases
from synth.data.codec import Codec
from synth.data.schema import Column, Schema
from synth.recipe import Recipe
from synth.release import Release
from synth.sampling import BLOCK, Sampler

RESULTS = Path(__file__).parent / "results" / "rows_to_alarm.jsonl"
MOST = 20_000  # rows of a faulty stream
TAIL, CLUSTERS, COLD = 0.11, 20, 0.7
Stream = Callable[[int], Iterator[pa.RecordBatch]]
"""By seed, batches without end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", nargs="?")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--healthy", type=int, default=100_000, help="rows of each healthy stream")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7, help="streams of each fault")
    parser.add_argument("--budget", help="of each training on own rows")
    parser.add_argument("--faults", nargs="+", help="only these")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)

    def told(row: dict[str, Any]) -> None:
        with options.results.open("a") as file:
            file.write(json.dumps(row | circumstances()) + "\n")
        print(json.dumps(row), flush=True)

    for row in digits(options.repeats):
        told(row)
    if options.release is not None:
        release = releases.load(options.release)
        for row in of_release(release, options):
            told(row)


def of_release(release: Release, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    sampler, name = Sampler.from_release(release), release.manifest.name
    wanted = [
        fault for fault in faults(release, sampler, options) if options.faults is None or fault[0] in options.faults
    ]
    for fault, stream in wanted:
        found = [watched(release, sampler, stream(100 + k), MOST) for k in range(options.repeats)]
        yield {"server": name, "fault": fault, **summed([f["rows"] for f in found], [f["detector"] for f in found])}
    if options.faults is None or "none" in options.faults:
        for seed in range(options.seeds):
            stream = endless(sampler, 10 + seed)
            found = watched(release, sampler, stream, options.healthy)
            yield {"server": name, "fault": "none", "seed": seed, "rows": options.healthy, **found}


def endless(sampler: Sampler, seed: int) -> Iterator[pa.RecordBatch]:
    return sampler.batches(1 << 40, seed=seed)


def watched(release: Release, sampler: Sampler, stream: Iterator[pa.RecordBatch], most: int) -> dict[str, Any]:
    """A stream before a monitor that has seen nothing yet: rows to the alarm, None where there is none, and its cost."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor(sampler, release.manifest.id, Path(folder), release.reference)
        sent, sampling_s, before = 0, 0.0, 0.0
        while sent < most:
            began = time.thread_time()
            batch = next(stream)
            sampling_s += (took := time.thread_time() - began)
            alarm = monitor.see(batch, "", took)
            if alarm is not None:
                return {"rows": sent + alarm.rows - before, "detector": alarm.detector}
            sent, before = sent + batch.num_rows, monitor.watch.rows
    share = round(monitor.budget.spent / sampling_s, 4)
    return {"rows": None, "detector": None, "log_e": round(monitor.watch.log_value, 2), "share_of_sampling": share}


def summed(rows: Sequence[int | None], detectors: Sequence[str | None]) -> dict[str, Any]:
    """The median, in which an alarm that did not come counts as later than any."""
    ordered = sorted(rows, key=lambda r: float("inf") if r is None else r)
    return {"median_rows": ordered[len(ordered) // 2], "rows": list(rows), "detectors": list(detectors)}


def faults(release: Release, sampler: Sampler, options: argparse.Namespace) -> Iterator[tuple[str, Stream]]:
    view, table = View(sampler.schema, sampler.table(8 * BLOCK, seed=1)), sampler.table(8 * BLOCK, seed=2)

    def points_of(rows: pa.Table) -> np.ndarray:
        frame = view._frame(rows)
        return view._points(view._flat(view._ranks(frame), view._codes(frame)))

    some, others = np.split(points_of(table), 2)
    near = NearestNeighbors(n_neighbors=10).fit(some)
    sparse = np.quantile(near.kneighbors(others)[0][:, -1], 1 - TAIL)
    clusters = KMeans(CLUSTERS, n_init=3, random_state=1).fit(some)

    def filtered(keep: Callable[[np.ndarray], np.ndarray]) -> Stream:
        def kept(batch: pa.RecordBatch) -> pa.RecordBatch:
            return batch.filter(pa.array(keep(points_of(pa.Table.from_batches([batch])))))

        return lambda seed: map(kept, endless(sampler, seed))

    yield "sparsest 11 % lost", filtered(lambda p: near.kneighbors(p)[0][:, -1] < sparse)
    yield "half of the modes lost", filtered(lambda p: clusters.predict(p) % 2 == 0)
    for column in [c.name for c in sampler.schema.columns if c.kind == "categorical"][:3]:
        yield f"{column} frozen", frozen(sampler, table, column)
    cold = {"temperature": COLD, "target_temperature": COLD, "noise": COLD}
    recipe = Recipe.check(release.recipe | {"diffusion": (release.recipe.get("diffusion") or {}) | cold})
    codec = Codec.model_validate(release.codec | {"table": release.schema})
    colder = Sampler.of(recipe, codec, release.tensors)
    yield "temperature 0.7", lambda seed: endless(colder, seed)
    if options.budget:
        own = twice(release, sampler, options)
        yield "self-trained twice", lambda seed: endless(own, seed)


def frozen(sampler: Sampler, table: pa.Table, column: str) -> Stream:
    value = pc.mode(table[column].combine_chunks().dictionary_encode().indices)[0]["mode"].as_py()
    value = table[column].combine_chunks().dictionary_encode().dictionary[value].as_py()

    def same(batch: pa.RecordBatch) -> pa.RecordBatch:
        at = batch.schema.get_field_index(column)
        field = batch.schema.field(at)
        return batch.set_column(at, field, pa.array([value] * batch.num_rows, field.type))

    return lambda seed: map(same, endless(sampler, seed))


def twice(release: Release, sampler: Sampler, options: argparse.Namespace) -> Sampler:
    """A generator that was trained on the rows of one that was trained on this one's."""
    rows = pq.read_metadata(options.train).num_rows if options.train else 20_000
    with tempfile.TemporaryDirectory() as scratch:
        for generation in (1, 2):
            table, out = f"{scratch}/{generation}.parquet", f"{scratch}/release-{generation}"
            pq.write_table(sampler.table(rows, seed=generation), table)
            command = [
                str(Path(sys.executable).parent / "artesian"),
                "train",
                table,
                "--budget",
                options.budget,
                "--out",
                out,
            ]
            command += ["--target", release.schema.target] if release.schema.target else []
            subprocess.run([*command, "--seed", str(generation)], check=True)
            sampler = Sampler.from_release(releases.load(out))
    return sampler


def digits(repeats: int) -> Iterator[dict[str, Any]]:
    """The same of a Gaussian mixture, whose fresh rows cost nothing."""
    points = PCA(16, random_state=0).fit_transform(load_digits().data)
    schema = Schema(columns=[Column(name=f"p{k}", kind="numerical", dtype="double") for k in range(16)])

    def fitted(rows: np.ndarray) -> GaussianMixture:
        return GaussianMixture(30, covariance_type="full", reg_covar=1e-3, random_state=0).fit(rows)

    def drawn(model: GaussianMixture, rows: int, seed: int) -> pa.Table:
        model.random_state = seed
        sample = np.random.default_rng(seed).permutation(model.sample(rows)[0])
        return pa.table({f"p{k}": sample[:, k] for k in range(16)})

    server = fitted(points[:1_200])
    own = server
    for generation in (1, 2):
        own = fitted(np.column_stack(drawn(own, 1_200, generation).columns))
    heavy = np.argsort(-server.weights_)
    lost = {"tail lost": heavy[np.cumsum(server.weights_[heavy]) > 1 - TAIL], "half of the modes lost": heavy[::2]}
    view = View(schema, drawn(server, 8 * BLOCK, 1))
    models = {"self-trained twice": own} | {fault: without(server, parts) for fault, parts in lost.items()}
    models["none"] = server
    for fault, model in models.items():
        found, by = list[int | None](), list[str | None]()
        for k in range(repeats if fault != "none" else 3):
            most = MOST if fault != "none" else 100_000
            alarm = Watch(view).look(
                view(drawn(model, most, 10 + k)), view(drawn(server, most, 50 + k)).features, plain=True
            )
            found.append(alarm and alarm.rows)
            by.append(alarm and alarm.detector)
        yield {"server": "mixture of digits", "fault": fault, **summed(found, by)}


def without(model: GaussianMixture, parts: Sequence[int]) -> GaussianMixture:
    """A mixture that has lost these components."""
    kept = np.setdiff1d(np.arange(len(model.weights_)), parts)
    other = GaussianMixture(len(kept), covariance_type="full")
    other.weights_ = model.weights_[kept] / model.weights_[kept].sum()
    other.means_, other.covariances_ = model.means_[kept], model.covariances_[kept]
    other.precisions_cholesky_ = model.precisions_cholesky_[kept]
    return other


if __name__ == "__main__":
    main()
