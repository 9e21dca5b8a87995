"""A table of every kind of column, in an order of their own, with gaps."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa

from synth.data.infer import infer
from synth.data.schema import Schema
from synth.data.source import open_source

CLOUDS = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [9.0, 9.0]])


def mixed(rows: int, seed: int) -> pa.Table:
    """Four clouds of numbers, whose class follows them; a rare category; money, moments, truth values, and gaps."""
    rng = np.random.default_rng(seed)
    of = rng.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])
    x, y = (CLOUDS[of] + rng.normal(size=(rows, 2))).T
    moments = [datetime(2024, 1, 1) + timedelta(minutes=int(m)) for m in rng.integers(0, 500_000, rows)]
    return pa.table(
        {
            "town": pa.array(np.where(rng.random(rows) < 0.005, "hamlet", rng.choice(["city", "port"], rows))),
            "x": pa.array(x.round(3), mask=rng.random(rows) < 0.1),
            "y": y,
            "count": rng.poisson(40, rows),
            "price": pa.array(
                [Decimal(int(cents)) / 100 for cents in rng.integers(100, 100_000, rows)], pa.decimal128(9, 2)
            ),
            "at": pa.array(moments, pa.timestamp("s")),
            "open": pa.array(rng.random(rows) < 0.3, mask=rng.random(rows) < 0.05),
            "class": pa.array(np.array(["a", "b", "a", "b"])[of]),
        }
    )


def schema_of(table: pa.Table) -> Schema:
    return infer(open_source(table), target="class")
