"""Rows as the monitor sees them."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from serving.monitor import view as viewing
from serving.monitor.view import BINS, CELLS, View
from synth.data.schema import Column, Schema

Draw = Callable[..., pa.Table]


def test_kinds_say_what_rows_are(view: View, draw: Draw) -> None:
    table = draw(2_000, 1)
    kinds, names = view(table).kinds, view.names
    assert kinds.shape == (2_000, len(names)) and len(set(names)) == len(names)
    towns = np.array(table["town"].to_pylist())
    for town in ("town 0", "town 9"):
        assert (kinds[:, names.index(f"town = {town}")] == (towns == town)).all()
    missing = np.array([v is None for v in table["income"].to_pylist()])
    assert (kinds[:, names.index("income missing")] == missing).all()
    assert (kinds[:, view.places.cells].sum(axis=1) == 1).all() and len(view.places.cells) == CELLS
    town, bought, age, income = view.places.columns
    assert (kinds[:, age].sum(axis=1) == 1).all() and len(age) == BINS
    assert (kinds[:, town].sum(axis=1) == 1).all() and (kinds[:, bought].sum(axis=1) == 1).all()
    assert (kinds[:, income].sum(axis=1) == ~missing).all()
    assert 0.08 < kinds[:, 0].mean() < 0.12, "a tenth of the rows lie apart"
    ages = np.array(table["age"].to_pylist())
    assert ages[kinds[:, names.index("age among the lowest")]].max() < np.quantile(ages, 0.02)


def test_a_category_that_certified_rows_lack_is_not_a_missing_one(view: View, draw: Draw) -> None:
    table = draw(10, 1)
    strange = table.set_column(2, "town", pa.array(["Atlantis"] * 10))
    unknown = view.names.index("town = one that certified rows lack")
    assert view(strange).kinds[:, unknown].all() and not view(table).kinds[:, unknown].any()
    nothing = table.set_column(2, "town", pa.nulls(10, pa.string()))
    assert (
        not view(nothing).kinds[:, unknown].any() and view(nothing).kinds[:, view.names.index("town = missing")].all()
    )


def test_rows_that_break_the_schema_or_a_constraint_are_not_valid(schema: Schema, draw: Draw) -> None:
    def old(batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        return {"age < 60": batch["age"].to_numpy() >= 60}

    view, table = View(schema, draw(1_000, 0), old), draw(100, 1)
    assert (view(table).valid == (table["age"].to_numpy() < 60)).all()
    gap = table.set_column(2, "town", pa.array([None, *table["town"].to_pylist()[1:]]))
    assert not view(gap).valid[0]


def test_equal_rows_have_equal_keys(view: View, draw: Draw) -> None:
    rows = view(pa.concat_tables([draw(50, 1), draw(50, 1), draw(50, 2)]))
    assert (rows.keys[:50] == rows.keys[50:100]).all() and (rows.keys[:50] != rows.keys[100:]).any()


def test_a_wide_table_has_few_features() -> None:
    rng = np.random.default_rng(0)
    columns = {f"c{k}": rng.integers(0, 50, 600).astype(str) for k in range(300)}
    schema = Schema(columns=[Column(name=name, kind="categorical", dtype="string") for name in columns])
    view = View(schema, pa.table(columns))
    assert view.width < 300 * 5 + 300


@pytest.mark.parametrize("kept", ["age", "town"])
def test_one_kind_of_column_is_enough(schema: Schema, draw: Draw, kept: str) -> None:
    narrow = Schema(columns=[schema[kept]])
    view = View(narrow, draw(1_000, 0).select([kept]))
    assert len(view(draw(100, 1).select([kept]))) == 100


def test_principal_components_of_many_columns_are_nearly_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 30)) @ rng.normal(size=(30, 1_100)) + 0.1 * rng.normal(size=(500, 1_100))
    rows -= rows.mean(axis=0)
    found = viewing._axes(rows)
    assert found.shape == (1_100, viewing.PARTS) and (found == viewing._axes(rows)).all()
    monkeypatch.setattr(viewing, "EXACT", 1_100)
    exact = viewing._axes(rows)
    assert np.linalg.norm(rows @ found) > 0.999 * np.linalg.norm(rows @ exact)
