from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from synth.data.schema import Column, Schema
from synth.errors import UserError
from synth.evaluation import features, frame
from synth.evaluation.frame import Lens


def one(name: str, kind: str, dtype: str) -> Schema:
    return Schema(columns=[Column.model_validate({"name": name, "kind": kind, "dtype": dtype})])


def test_codes_go_by_frequency_in_train_and_unseen_categories_get_their_own() -> None:
    train = pa.table({"c": ["b", "a", "b", None, "a", "b"]})
    other = pa.table({"c": ["z", "a", None, "y"]})
    lens = Lens.fit(one("c", "categorical", "string"), {"train": train, "other": other})
    assert lens.read(train, "train")[1][:, 0].tolist() == [1, 2, 1, 0, 2, 1]
    assert lens.read(other, "other")[1][:, 0].tolist() == [4, 2, 0, 3]
    assert (lens.vocabularies[0].known, lens.vocabularies[0].label(4)) == (2, "z")
    assert features.pool(np.array([0, 1, 2, 3, 4], dtype=np.int32), 2).tolist() == [0, 1, 2, 3, 3]


def test_a_category_is_the_same_whatever_type_it_was_stored_as() -> None:
    schema = one("c", "categorical", "int64")
    train = pa.table({"c": [1, 2, 2]})
    for other in (pa.array([2.0, 1.0]), pa.array(["2", "1"]), pa.array([2, 1]).dictionary_encode()):
        table = pa.table({"c": other})
        lens = Lens.fit(schema, {"train": train, "other": table})
        assert lens.read(table, "other")[1][:, 0].tolist() == [1, 2]


def test_dates_are_seconds_also_outside_of_what_nanoseconds_hold() -> None:
    table = pa.table({"d": pa.array(["1600-01-01", "1970-01-02", None, "2500-01-01"]).cast(pa.date32())})
    lens = Lens.fit(one("d", "datetime", "date32[day]"), {"train": table})
    numbers = lens.read(table, "train")[0][:, 0]
    assert numbers[1] == 86_400
    assert np.isnan(numbers[2])
    assert numbers[0] < -1e10
    assert numbers[3] > 1e10
    zoned = pa.table({"d": pa.array([86_400_000_000_000], pa.timestamp("ns", "Europe/Paris"))})
    assert lens.read(zoned, "train")[0][0, 0] == 86_400


def test_infinite_numbers_count_as_missing_and_a_note_says_so() -> None:
    table = pa.table({"x": [1.0, np.inf, -np.inf, np.nan]})
    lens = Lens.fit(one("x", "numerical", "double"), {"the real table": table})
    assert np.isnan(lens.read(table, "")[0][:, 0]).tolist() == [False, True, True, True]
    assert lens.notes == ["the real table: 2 infinite values in 'x' count as missing"]


def test_what_cannot_be_compared_is_named() -> None:
    schema, train = one("x", "numerical", "double"), pa.table({"x": [1.0]})
    with pytest.raises(UserError, match="the synthetic table lacks the column 'x'; it has 'y'"):
        Lens.fit(schema, {"train": train, "the synthetic table": pa.table({"y": [1.0]})})
    with pytest.raises(UserError, match="the synthetic table has no rows"):
        Lens.fit(schema, {"train": train, "the synthetic table": train.slice(0, 0)})
    with pytest.raises(UserError, match=r"column 'x' .string. cannot be read as numerical.*nine"):
        Lens.fit(schema, {"train": train, "the synthetic table": pa.table({"x": ["nine"]})})
    with pytest.raises(UserError, match="no column to compare"):
        Lens.fit(one("i", "id", "int64"), {"train": pa.table({"i": [1]})})


def test_a_large_table_is_drawn_from_and_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "MAX_ROWS", 10)
    table = pa.table({"x": np.arange(30.0)})
    lens = Lens.fit(one("x", "numerical", "double"), {"train": table})
    view, notes = lens.view(table, "train", np.random.default_rng(0))
    assert len(view) == 10
    assert "10 of its 30 rows" in notes[0]


def test_features_stay_narrow_whatever_the_cardinality(schema: Schema, people: Callable[..., pa.Table]) -> None:
    many = pa.table({"c": [f"k{i}" for i in range(5000)]})
    lens = Lens.fit(one("c", "categorical", "string"), {"train": many})
    view, _ = lens.view(many, "train", np.random.default_rng(0))
    assert features.mixed(lens, view).shape == (5000, features.MAX_CATEGORIES + 2)
    assert features.coded(lens, view)[0].max() < 255
    assert "c (5,000)" in features.pooled_note(lens)[0]
    table = people(200, 0)
    lens = Lens.fit(schema, {"train": table})
    matrix = features.mixed(lens, lens.view(table, "train", np.random.default_rng(0))[0], without="bought")
    assert not np.isnan(matrix).any()
    assert matrix.min() == 0
    assert matrix.max() == 1


def test_wide_tables_have_fewer_rows_encoded() -> None:
    names = [f"c{i}" for i in range(8)]
    wide = Schema(columns=[Column(name=n, kind="categorical", dtype="string") for n in names]
                  + [Column(name="x", kind="numerical", dtype="double")])  # fmt: skip
    table = pa.table({**{n: [f"k{i}" for i in range(250)] for n in names}, "x": [None, *range(249)]})
    lens = Lens.fit(wide, {"train": table})
    matrix = features.mixed(lens, lens.view(table, "", np.random.default_rng(0))[0])
    assert matrix.shape[1] == 8 * 252 + 2
    assert (matrix.sum(axis=1) >= 8).all()
    assert features.encodable(lens, 50_000) == features.MAX_CELLS // matrix.shape[1]
    assert features.encodable(lens, 2_000) == 2_000


def test_one_long_category_does_not_make_all_of_them_long() -> None:
    table = pa.table({"c": [*(f"k{i}" for i in range(5000)), "x" * 8000]})
    tracemalloc.start()
    Lens.fit(one("c", "categorical", "string"), {"train": table})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # padded: 4 × 8,000 × 5,001 bytes
