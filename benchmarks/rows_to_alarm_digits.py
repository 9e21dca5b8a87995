"""How many rows leave before the tests raise an alarm that know the mixture which they watch, without a budget.

    python benchmarks/rows_to_alarm_digits.py [--repeats 7]

A Gaussian mixture of handwritten digits (scikit-learn's, 16 principal components, 30 components, 1,200 rows), the server of
which earlier figures are known, has lost components, or was fitted to its own rows twice. Fresh rows of it cost nothing: each
row that is served has one of its own. Each stream is watched against another reference. Lines go to
results/rows_to_alarm.jsonl.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from published_protocol import circumstances
from rows_to_alarm import MOST, RESULTS, TAIL, Found, summed
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from serving.monitor.view import View
from serving.monitor.watch import Watch
from synth.data.schema import Column, Schema
from synth.sampling import BLOCK

HEALTHY, HEALTHY_ROWS = 3, 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="streams of each fault")
    for row in digits(parser.parse_args().repeats):
        with RESULTS.open("a") as file:
            file.write(json.dumps(row | circumstances()) + "\n")
        print(json.dumps(row), flush=True)


def digits(repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each fault, and one for healthy streams."""
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
    models = (
        {"self-trained twice": own}
        | {fault: without(server, parts) for fault, parts in lost.items()}
        | {"none": server}
    )
    for fault, model in models.items():
        healthy, found = fault == "none", list[Found]()
        most = HEALTHY_ROWS if healthy else MOST
        for k in range(HEALTHY if healthy else repeats):
            view = View(schema, drawn(server, 8 * BLOCK, 1_000 + k))
            watch = Watch(view)
            alarm = watch.look(
                view(drawn(model, most, 10 + k)), view(drawn(server, most, 50 + k)).features, plain=True
            )  # fmt: skip
            found.append(Found(alarm and alarm.rows, alarm and alarm.detector, round(watch.log_value, 2), 0.0, 0.0))
        name = {"server": "mixture of digits", "fault": "none, fresh rows free" if healthy else fault, "after": 0}
        yield name | summed(found) | {"most": most}


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
