"""A small table with every kind of column and one of images, and the schemas that say so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from synth.data.image_columns import column_of
from synth.data.schema import Column, Schema


@pytest.fixture(scope="session")
def schema() -> Schema:
    return Schema(
        columns=[
            Column(name="who", kind="id", dtype="int64"),
            Column(name="age", kind="numerical", dtype="int64", decimals=0),
            Column(name="income", kind="numerical", dtype="double", nullable=True, decimals=2),
            Column(name="since", kind="datetime", dtype="timestamp[us]"),
            Column(name="town", kind="categorical", dtype="string", nullable=True),
            Column(name="bought", kind="boolean", dtype="bool"),
        ],
        target="bought",
    )


@pytest.fixture(scope="session")
def people() -> Callable[..., pa.Table]:
    """``people(rows, seed)``: rows of one distribution; ``towns`` keeps only the first so many of its ten towns."""

    def draw(rows: int, seed: int, towns: int = 10) -> pa.Table:
        rng = np.random.default_rng(seed)
        shares = np.array([40, 20, 10, 10, 8, 6, 3, 2, 0.6, 0.4])[:towns]
        town = rng.choice(towns, rows, p=shares / shares.sum())
        age = rng.integers(18, 90, rows)
        income = np.round(np.exp(rng.normal(2 + age / 60 + town / 10, 0.5, rows)), 2)
        bought = rng.random(rows) < 1 / (1 + np.exp(-(age - 50) / 8))
        return pa.table({
            "who": np.arange(rows),
            "age": age,
            "income": pa.array(np.where(rng.random(rows) < 0.1, np.nan, income), from_pandas=True),
            "since": np.datetime64("2020-01-01", "us") + (rng.gamma(2, 30, rows) * 8.64e10).astype("timedelta64[us]"),
            "town": pa.array([None if x < 0.02 else f"town {t}" for t, x in zip(town, rng.random(rows), strict=True)]),
            "bought": bought,
        })  # fmt: skip

    return draw


@pytest.fixture(scope="session")
def digits() -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """uint8 (1797, 8, 8, 1) and their classes, shuffled."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    return np.round(found.images[order, ..., None] * (255 / 16)).astype(np.uint8), found.target[order]


@pytest.fixture(scope="session")
def pictures() -> Callable[..., pa.Table]:
    """``pictures(images, classes)``: a table of images, and of their labels where there are any."""

    def table(images: NDArray[np.uint8], classes: NDArray[np.intp] | None = None) -> pa.Table:
        labels = {} if classes is None else {"digit": pa.array([str(c) for c in classes])}
        return pa.table({"image": column_of(images), **labels})

    return table


@pytest.fixture(scope="session")
def picture_schema() -> Schema:
    image = Column(name="image", kind="image", dtype="fixed_size_binary[64]", shape=(8, 8, 1))
    return Schema(columns=[image, Column(name="digit", kind="categorical", dtype="string")])
