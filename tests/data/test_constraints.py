from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from synth.data.codec import Fit
from synth.data.consistency import check_consistent
from synth.data.constraints import stated
from synth.data.reduction import Reduction
from synth.data.schema import Column, Schema
from synth.errors import UserError

RNG = np.random.default_rng(0)
N = 400
A, B = RNG.integers(0, 50, N), RNG.integers(1, 9, N)
CITY = RNG.integers(0, 6, N)
START = dt.date(2020, 1, 1)


def table(*constraints: str) -> tuple[Schema, pa.RecordBatch]:
    start = [START + dt.timedelta(days=int(a)) for a in A]
    price = np.round(RNG.random(N) * 20, 2)
    columns = {
        "low": pa.array(A),
        "high": pa.array(A + B),
        "higher": pa.array(np.maximum(A + B, 30) + 1),
        "price": pa.array(price),
        "count": pa.array(B),
        "total": pa.array(np.round(price * B + 1.5, 2)),
        "start": pa.array(start),
        "end": pa.array([s + dt.timedelta(days=int(b)) for s, b in zip(start, B, strict=True)]),
        "city": pa.array([f"city {c}" for c in CITY]),
        "country": pa.array([None if c == 5 else f"country {c // 2}" for c in CITY]),
        "car": pa.array(CITY % 3 == 0),
        "bus": pa.array(CITY % 3 == 1),
        "train": pa.array(CITY % 3 == 2),
        "hours-per-week": pa.array(B * 5),
        "account": pa.array([f"AB{i:06}" for i in range(N)]),
    }
    kinds = {
        "start": "datetime",
        "end": "datetime",
        "account": "id",
        "car": "boolean",
        "bus": "boolean",
        "train": "boolean",
    }
    kinds |= {"city": "categorical", "country": "categorical"}
    decimals = {"price": 2, "total": 2}
    schema = Schema(
        columns=[
            Column(
                name=name, kind=kinds.get(name, "numerical"), dtype=str(array.type), nullable=name == "country",
                decimals=decimals.get(name, None if name in kinds else 0),
            )
            for name, array in columns.items()
        ],
        constraints=list(constraints),
    )  # fmt: skip
    return schema, pa.record_batch(columns)


ALL = (
    "low <= high", "high < higher", "start < end", "total = price * count + 1.5", "combination(city, country)",
    "onehot(car, bus, train)", "unique(account)", r"account ~ [A-Z]{2}\d{6}", "0 <= hours-per-week <= 40",
    "start >= '2020-01-01'",
)  # fmt: skip


def broken(schema: Schema, batch: pa.RecordBatch) -> dict[str, int]:
    return {text: int(rows.sum()) for text, rows in Reduction(schema).broken(batch).items()}


def test_whole_rows_come_back_from_reduced_ones() -> None:
    schema, batch = table(*ALL)
    reduction = Reduction(schema)
    assert broken(schema, batch) == dict.fromkeys(ALL, 0)
    reduced = reduction.reduce(batch)
    assert list(reduced) == [c.name for c in reduction.columns]
    assert not {"high", "higher", "end", "total", "city", "country", "car"} & reduced.keys()
    for column in reduction.columns:
        assert str(reduced[column.name].type) == column.dtype
    restored = reduction.restore(reduced)
    for name in batch.schema.names:
        if name != "account":
            assert restored[name].equals(batch.column(name)), name


def test_whatever_is_drawn_satisfies_what_holds_by_construction() -> None:
    schema, batch = table(*ALL)
    fit = Fit(schema)
    fit.update(batch)
    codec = fit.finish(ordered_up_to=256, atom_share=0.0025, bins=32)
    assert codec.decode(codec.encode(batch)).drop_columns("account").equals(batch.drop_columns("account"))
    noise = codec.encode(batch)
    for column in (noise.cells, noise.values):
        for j in range(column.shape[1]):
            RNG.shuffle(column[:, j])
    drawn = codec.decode(noise)
    # The gap of "higher" is drawn apart from the columns that it stands upon, and so it can only be above them.
    assert broken(schema, drawn) == dict.fromkeys(ALL, 0)
    assert not drawn.column("total").equals(batch.column("total"))
    pairs = {tuple(row.values()) for row in drawn.select(["city", "country"]).to_pylist()}
    assert pairs == {tuple(row.values()) for row in batch.select(["city", "country"]).to_pylist()}


@pytest.mark.parametrize(
    ("constraint", "rows"),
    [
        ("low <= 30", int((A > 30).sum())),
        ("low < 30", int((A >= 30).sum())),
        ("high - low >= 4", int((B < 4).sum())),
        ("count = high - low", 0),
        ("count = high - low + 1", N),
        ("end <= '2020-02-01'", sum((START + dt.timedelta(days=int(d))) > dt.date(2020, 2, 1) for d in A + B)),
        ("onehot(car, bus)", int((CITY % 3 == 2).sum())),
        (r"account ~ AB\d{5}", N),
        ("`hours-per-week` = count * 5", 0),
    ],
)
def test_rows_that_break_a_constraint_are_counted(constraint: str, rows: int) -> None:
    assert broken(*table(constraint)) == {constraint: rows}


def test_a_repeated_id_is_not_unique() -> None:
    schema, batch = table("unique(account)")
    ids = batch.column("account").to_pylist()
    twice = batch.set_column(batch.schema.get_field_index("account"), "account", pa.array([ids[1], *ids[1:]]))
    assert broken(schema, twice) == {"unique(account)": 1}


def test_a_key_of_several_columns_is_unique_as_a_whole() -> None:
    schema, batch = table("unique(account, city)")
    twice = {"account": pa.array(["a", "a", "a", "b", None, None]), "city": pa.array(["x", "y", "x", "x", "x", "x"])}
    rest = {name: batch.column(name)[:6] for name in batch.schema.names if name not in twice}
    assert broken(schema, pa.record_batch(rest | twice)) == {"unique(account, city)": 1}
    assert broken(schema, batch) == {"unique(account, city)": 0}


def test_a_quotient_is_missing_where_its_divisor_is_zero() -> None:
    schema, batch = table("price = total / low")
    whole = Reduction(schema).restore({name: batch.column(name) for name in batch.schema.names if name != "price"})
    assert 0 < (A == 0).sum() == whole["price"].null_count
    always, batch = table("price = total / 0")
    assert broken(always, batch) == {"price = total / 0": N}


def test_whole_numbers_beyond_64_bits_are_named() -> None:
    schema, batch = table("low * 9223372036854775807 <= high")
    with pytest.raises(UserError, match="computes with low beyond 64 bits"):
        broken(schema, batch)
    schema, batch = table("low * 9223372036854775807.0 <= high")
    assert broken(schema, batch) == {"low * 9223372036854775807.0 <= high": int((A > 0).sum())}


def test_a_column_that_may_be_missing_is_no_ground_to_stand_on() -> None:
    schema, batch = table("low <= high")
    schema.columns[0].nullable = True
    assert [c.name for c in Reduction(schema).columns] == [c.name for c in schema.learnt]
    gaps = pa.array([None, *batch.column("low").to_pylist()[1:]], pa.int64())
    assert broken(schema, batch.set_column(0, "low", gaps)) == {"low <= high": 0}


@pytest.mark.parametrize(
    ("constraints", "named"),
    [
        (["low >= 10", "low <= 5"], ["low >= 10", "low <= 5"]),
        (["low < high", "high < low", "count <= 3"], ["low < high", "high < low"]),
        (["low >= 40", "high <= 30", "low <= high", "price >= 0"], ["low >= 40", "high <= 30", "low <= high"]),
        (
            ["total = price + count", "total < price", "count >= 0"],
            ["total = price + count", "total < price", "count >= 0"],
        ),
        (["start >= '2021-01-01'", "end <= '2020-06-01'", "start <= end"], ["start >= ", "end <= ", "start <= end"]),
    ],
)
def test_contradictions_are_found_and_named(constraints: list[str], named: list[str]) -> None:
    with pytest.raises(UserError, match="no row can satisfy") as found:
        check_consistent(stated(table(*constraints)[0]))
    assert all(part in str(found.value) for part in named)
    assert all(c in named or c in str(found.value) or c in ("count <= 3", "price >= 0") for c in constraints)
    assert "price >= 0" not in str(found.value) and "count <= 3" not in str(found.value)


def test_what_can_hold_is_not_contradictory() -> None:
    check_consistent(stated(table(*ALL)[0]))
    check_consistent(stated(table("low <= high", "high <= low", "low * count <= 3", "low * count >= 4")[0]))
    check_consistent(stated(table("low * 4611686018427387904 <= high", "low <= 1e308 * 1e308")[0]))


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        ("low <= hihg", "no column 'hihg'. Did you mean 'high'"),
        ("low <> high", "compare with|cannot be read"),
        ("low <=", "cannot be read"),
        ("low ** 2 <= high", "compute with"),
        ("len(low) <= 3", "neither a column"),
        ("3 <= 4", "compares no column"),
        ("3 = low", "begins with the column"),
        ("low = low + 1", "both sides"),
        ("low = high <= 3", "two constraints"),
        ("city <= country", "for numbers.*categorical"),
        ("start + 1 <= end", "for numbers"),
        ("start >= 'soon'", "cannot be tested"),
        ("low <= account", "for numbers.*id"),
        ("combination(city)", "two columns or more"),
        ("combination(low, city)", "for categories"),
        ("onehot(car, city)", "booleans"),
        ("unique(city)", "--id city"),
        ("unique(city, country)", r"keys of which one column is an id, and column 'city' is categorical.*--id city"),
        ("low", "states nothing"),
        ("low = 5", "no formula of other columns"),
        ("low <= 1e400", "beyond what a column can hold"),
        ("low <= 9223372036854775808", "beyond what a column can hold"),
        ("`no such` <= low", "no column 'no such'"),
        ("_3 <= low", "no column '_3'"),
        ("total = round(price, 2)", r"'round\(price, 2\)' is neither"),
        ("account ~ [A-", "no regular expression"),
        ("low ~ 3", "for text"),
        ("low <= 'x' + 1", "cannot be computed"),
    ],
)
def test_what_is_no_constraint_is_refused(constraint: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        stated(table(constraint)[0])


@pytest.mark.parametrize(
    "pair", [("total = price + 1", "total = count * 2"), ("combination(city, country)", "total = low")]
)
def test_a_column_is_made_once(pair: tuple[str, str]) -> None:
    both = [*pair, "combination(country, city)"] if pair[0].startswith("comb") else list(pair)
    with pytest.raises(UserError, match="is made by"):
        check_consistent(stated(table(*both)[0]))


def test_formulas_that_need_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="need each other"):
        Reduction(table("low = high - count", "high = low + count")[0])
