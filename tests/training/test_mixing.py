"""Which synthetic rows are given, and how much each kind counts."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from synth.data.infer import infer
from synth.data.source import open_source
from synth.errors import UserError
from synth.training.mixing import Given, golden, listed, opened, shares


@pytest.mark.parametrize(
    ("text", "data", "weight"),
    [
        ("rows.parquet", "rows.parquet", None), ("rows.parquet@2", "rows.parquet", 2.0), ("rows@0.5", "rows", 0.5),
        ("s3://me@host/rows", "s3://me@host/rows", None), ("ana@home.csv", "ana@home.csv", None),
    ],
)  # fmt: skip
def test_a_table_and_its_weight(text: str, data: str, weight: float | None) -> None:
    assert Given.parse(text) == Given(data, weight)


@pytest.mark.parametrize("weight", ["0", "-1", "inf", "nan"])
def test_what_is_no_weight_is_told(weight: str) -> None:
    with pytest.raises(UserError, match=f"--synthetic rows.csv@{weight}: the weight is above 0, as in rows.csv@2"):
        Given.parse(f"rows.csv@{weight}")


def test_tables_of_a_caller() -> None:
    table = pa.table({"x": [1]})
    assert listed(None) == [] and listed("rows.csv") == [Given("rows.csv")] and listed(table) == [Given(table)]
    assert listed(("rows.csv", 2)) == [Given("rows.csv", 2)]
    assert listed([table, ("b.csv", 0.5)]) == [Given(table), Given("b.csv", 0.5)]
    for weight in (0, -1.0, math.inf, math.nan, "2"):
        with pytest.raises(UserError, match=r"synthetic: the weight .* is no number above 0"):
            listed([("rows.csv", weight)])


def test_the_golden_weight() -> None:
    assert golden(1) == pytest.approx(2 / (1 + math.sqrt(5))) and golden(1 / 9) == pytest.approx(0.2824, abs=1e-4)
    assert golden(1e6) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("weights", "mix", "expected"),
    [
        ([None, None], 0.4, (0.4, [0.15, 0.45])), ([None, 3.0], 0.4, (0.4, [0.15, 0.45])), ([1.0, 1.0], 0.4, (0.4, [0.3, 0.3])),
        ([None, None], "golden", (golden(0.25), [(1 - golden(0.25)) / 4, (1 - golden(0.25)) * 3 / 4])),
    ],
)  # fmt: skip
def test_shares_add_up(weights: list[float | None], mix: float, expected: tuple[float, list[float]]) -> None:
    real, others = shares(100, [100, 300], weights, mix)
    assert real == pytest.approx(expected[0]) and others == pytest.approx(expected[1])
    assert real + sum(others) == pytest.approx(1)


def test_a_table_of_other_columns_is_told_which() -> None:
    real = pa.table({"age": [1.5, 2.5, 3.5, 4.5] * 10, "city": ["a", "b"] * 20})
    schema = infer(open_source(real))
    with pytest.raises(
        UserError, match=r"lacks 'age' of the real rows, and has 'agee', which the real rows do not.*'agee'"
    ):
        opened([Given(real.rename_columns(["agee", "city"]))], schema, [])


def test_a_share_that_is_next_to_nothing_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"a share of 1e-06 of every batch is too little to learn from: give 0.0001 or more"
    ):
        shares(100, [100], [None], 1e-6)


def test_what_a_key_opens_is_not_said() -> None:
    with pytest.raises(UserError) as told:
        Given.parse("s3://me:secret@bucket/rows@0")
    assert "secret" not in str(told.value) and "s3://bucket/rows" in str(told.value)
