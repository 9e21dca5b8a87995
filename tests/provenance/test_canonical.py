"""A cell's hash is the same however a file spells it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from synth.data.schema import Column
from synth.errors import UserError
from synth.provenance.canonical import cells, combined


def one(kind: str, dtype: str, array: pa.Array, decimals: int | None = None) -> list[int]:
    column = Column.model_validate({"name": "x", "kind": kind, "dtype": dtype, "decimals": decimals})
    return [int(word) for word in cells(column, array)]


def test_numbers_hash_by_value_at_their_decimals() -> None:
    wanted = one("numerical", "double", pa.array([1.25, 3.0, -0.0, None]), 2)
    for same in (
        pa.array([1.25, 3.0, 0.0, float("nan")]), pa.array(["1.25", " 3", "0", None]), pa.array([1.2500001, 2.999, 0.0, None]),
        pa.array([Decimal("1.25"), Decimal("3.00"), Decimal("0.00"), None]), pa.array([1.25, 3, 0, None], pa.float32()),
    ):  # fmt: skip
        assert one("numerical", "double", same, 2) == wanted, same
    assert one("numerical", "int64", pa.array([1, 3]), 0) == one("numerical", "int64", pa.array([1.0, 3.0]), 0)
    assert len(set(wanted)) == 4


def test_numbers_of_single_precision_hash_as_their_text() -> None:
    single = pa.array([0.1, 2.7], pa.float32())
    assert one("numerical", "float", single) == one("numerical", "float", single.cast(pa.string()).cast(pa.float64()))


def test_moments_hash_by_the_microsecond() -> None:
    moment = datetime(2024, 5, 17, 8, 30)
    wanted = one("datetime", "timestamp[us]", pa.array([moment, datetime(2024, 1, 1)]))
    for same in (
        pa.array([moment, datetime(2024, 1, 1)], pa.timestamp("ns")),
        pa.array([moment, datetime(2024, 1, 1)], pa.timestamp("s")),
        pa.array(["2024-05-17 08:30:00", "2024-01-01"]),
        pa.array([moment.replace(tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
    ):  # fmt: skip
        assert one("datetime", "timestamp[us]", same) == wanted, same.type
    assert one("datetime", "date32[day]", pa.array([date(2024, 1, 1)])) == wanted[1:]


def test_categories_hash_as_what_a_reader_of_text_takes_them_for() -> None:
    assert one("categorical", "int64", pa.array([1, 2, None])) == one(
        "categorical", "int64", pa.array(["1", "2.0", ""])
    )
    assert one("categorical", "string", pa.array(["01", "Rome "])) == one(
        "categorical", "string", pa.array(["1", "Rome"])
    )
    truth = one("boolean", "bool", pa.array([True, False, None]))
    for same in (pa.array(["true", "False", None]), pa.array([1, 0, None]), pa.array(["1", "0", "nan"])):
        assert one("boolean", "bool", same) == truth
    coded = pa.array(["a", "b", "a"]).dictionary_encode()
    assert one("categorical", "string", coded) == one("categorical", "string", pa.array(["a", "b", "a"]))


def test_what_a_column_cannot_be_is_an_error() -> None:
    for kind, dtype, array in (
        ("numerical", "int64", pa.array(["Rome"])), ("datetime", "timestamp[us]", pa.array(["soon"])),
        ("datetime", "timestamp[us]", pa.array([1], pa.time64("us"))), ("categorical", "string", pa.array([[1]])),
        ("categorical", "string", pa.array([b"\xff"])), ("numerical", "double", pa.array([b"\xff"])),
        ("datetime", "timestamp[us]", pa.array([b"\xff"])), ("categorical", "string", pa.array([{"a": 1}])),
        ("numerical", "double", pa.array([{"a": 1}])), ("datetime", "timestamp[us]", pa.array([[1]])),
    ):  # fmt: skip
        with pytest.raises(UserError, match="column 'x'"):
            one(kind, dtype, array)


def test_the_order_of_columns_does_not_matter_and_their_names_do() -> None:
    a, b = np.array([1, 2], np.uint64), np.array([3, 4], np.uint64)
    assert np.array_equal(combined([a, b]), combined([b, a]))
    named = [cells(Column(name=name, kind="numerical", dtype="int64"), pa.array([1])) for name in "xy"]
    assert named[0] != named[1]
