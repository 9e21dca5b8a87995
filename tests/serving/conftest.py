"""A table that is quickly drawn, and its schema: what a service serves, as far as its monitor can tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from serving.monitor.view import View
from synth.data.schema import Column, Schema


@pytest.fixture(scope="session")
def draw() -> Callable[..., pa.Table]:
    """``draw(rows, seed, width=1, towns=10)``: people of ten towns; a ``width`` below 1 draws numbers from their middle."""

    def draw(rows: int, seed: int, width: float = 1.0, towns: int = 10) -> pa.Table:
        rng = np.random.default_rng(seed)
        shares = np.array([40, 20, 10, 10, 8, 6, 3, 2, 0.6, 0.4])[:towns]
        town = rng.choice(towns, rows, p=shares / shares.sum())
        age = np.round(50 + 15 * width * rng.normal(size=rows))
        income = np.round(np.exp(2 + age / 60 + town / 10 + 0.5 * width * rng.normal(size=rows)), 2)
        bought = rng.random(rows) < 1 / (1 + np.exp(-(age - 50) / 8))
        return pa.table({
            "age": age, "income": pa.array(np.where(rng.random(rows) < 0.1, np.nan, income), from_pandas=True),
            "town": pa.array([f"town {t}" for t in town]), "bought": bought,
        })  # fmt: skip

    return draw


@pytest.fixture(scope="session")
def schema() -> Schema:
    return Schema(
        columns=[
            Column(name="age", kind="numerical", dtype="double", decimals=0),
            Column(name="income", kind="numerical", dtype="double", nullable=True, decimals=2),
            Column(name="town", kind="categorical", dtype="string"),
            Column(name="bought", kind="boolean", dtype="bool"),
        ],
        target="bought",
    )


@pytest.fixture(scope="session")
def view(schema: Schema, draw: Callable[..., pa.Table]) -> View:
    return View(schema, draw(8_192, 0))
