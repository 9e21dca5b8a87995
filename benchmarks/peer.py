"""One peer, in its own environment: fit it to a table within a limit, draw as many rows as the table has, write them.

    PEER_PYTHON benchmarks/peer.py WHO FOLDER OUT.parquet --seconds 240 --seed 0

Run by ``peers.py``, with the python of the peer's environment; nothing of Artesian is imported. FOLDER holds train.parquet
and schema.json, which says what each column is: each peer is told so in its own words, and is left at its defaults otherwise.
Prints one JSON object: the seconds of ``fit``, which include what the peer does to the table before it trains, those of
drawing, and what there is to tell. The limit is the peer's own where it has one, and else ends a training at the first epoch
after which it is over.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Draw = Callable[[int], pd.DataFrame]
Fitted = tuple[Draw, dict[str, Any]]  # what draws so many rows, and what there is to tell


def tabular_argn(table: pd.DataFrame, categorical: list[str], seconds: float, seed: int) -> Fitted:
    """MOSTLY AI's autoregressive networks. Its own limit, in minutes, is of training alone. It would replace rare categories
    and cut off the ends of numbers to protect them, which no other here does: that is off."""
    from mostlyai.engine import TabularARGN

    kinds = {c: "TABULAR_CATEGORICAL" if c in categorical else "TABULAR_NUMERIC_AUTO" for c in table.columns}
    model = TabularARGN(
        tgt_encoding_types=kinds,
        max_training_time=seconds / 60,
        value_protection=False,
        random_state=seed,
        device="cpu",
    )
    model.fit(table)
    return (lambda rows: model.sample(n_samples=rows)), {}


def ctgan(table: pd.DataFrame, categorical: list[str], seconds: float, seed: int) -> Fitted:
    from ctgan import CTGAN
    from ctgan.synthesizers import ctgan as module

    return by_epochs(CTGAN(enable_gpu=False), module, table, categorical, seconds)


def tvae(table: pd.DataFrame, categorical: list[str], seconds: float, seed: int) -> Fitted:
    from ctgan import TVAE
    from ctgan.synthesizers import tvae as module

    return by_epochs(TVAE(enable_gpu=False), module, table, categorical, seconds)


def by_epochs(model: Any, module: Any, table: pd.DataFrame, categorical: list[str], seconds: float) -> Fitted:
    """With CTGAN's loop over epochs cut short: it has neither limit nor callback, but draws its epochs from ``tqdm``."""
    taken = 0

    def until(epochs: range, **_: Any) -> Iterator[int]:
        nonlocal taken
        end = time.monotonic() + seconds
        for epoch in epochs:
            if time.monotonic() >= end:
                return
            yield epoch
            taken += 1

    module.tqdm = until
    model.fit(table, categorical)
    return model.sample, {"epochs": taken}


def gaussian_copula(table: pd.DataFrame, categorical: list[str], seconds: float, seed: int) -> Fitted:
    """SDV's; it is fitted in moments, so there is nothing to limit."""
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    kinds = {c: {"sdtype": "categorical" if c in categorical else "numerical"} for c in table.columns}
    model = GaussianCopulaSynthesizer(Metadata.load_from_dict({"tables": {"table": {"columns": kinds}}}))
    model.fit({"table": table})
    return (lambda rows: model.sample(num_rows=rows)["table"]), {}


PEERS: dict[str, tuple[str, Callable[[pd.DataFrame, list[str], float, int], Fitted]]] = {
    "TabularARGN": ("mostlyai-engine", tabular_argn),
    "CTGAN": ("ctgan", ctgan),
    "TVAE": ("ctgan", tvae),
    "GaussianCopula": ("sdv", gaussian_copula),
}  # by the package whose version is told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("who", choices=PEERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    package, fit = PEERS[options.who]
    schema = json.loads((options.folder / "schema.json").read_text())
    categorical = [*schema["categorical"], *([schema["target"]] if schema["task"] == "classification" else [])]
    numerical = [*schema["numerical"], *([schema["target"]] if schema["task"] == "regression" else [])]
    table = pd.read_parquet(options.folder / "train.parquet", columns=[*numerical, *categorical])
    for name in categorical:  # a missing category is one of its own, as the yardstick has it
        table[name] = table[name].astype("object").where(table[name].notna(), "nan").map(str)
    seeded(options.seed)
    began = time.monotonic()
    draw, told = fit(table, categorical, options.seconds, options.seed)
    fitted = time.monotonic()
    rows = draw(len(table))
    drawn = time.monotonic()
    rows.to_parquet(options.out, index=False)
    told |= {"version": f"{package} {version(package)}", "fit_s": round(fitted - began, 1)}
    print(json.dumps(told | {"sample_s": round(drawn - fitted, 2), "rows": len(rows)}), file=sys.stdout)


def seeded(seed: int) -> None:
    """All that peers draw from: the global generators."""
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


if __name__ == "__main__":
    main()
