from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from synth.data.hashing import mix
from synth.data.schema import Schema
from synth.evaluation import copies
from synth.evaluation.frame import Lens


def test_planted_copies_are_found_exactly_whatever_the_block(
    schema: Schema, people: Callable[..., pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "HASHED_ROWS", 64)
    train, fresh = people(1000, 0), people(500, 2)
    sample = pa.concat_tables([fresh.slice(0, 463), train.slice(300, 37)])
    found, baseline = copies.exact_copies(Lens.fit(schema, {"real": train, "synthetic": sample}), train, sample)
    assert found.value == 37 / 500
    assert found.low < 37 / 500 < found.high
    assert baseline.value == 0
    assert baseline.high > 0


def test_copies_are_equal_at_the_precision_of_the_column(schema: Schema, people: Callable[..., pa.Table]) -> None:
    train = people(50, 0)
    age = train.column_names.index("age")
    unrounded = train.set_column(age, "age", pa.array(train["age"].to_numpy() + 0.2))
    lens = Lens.fit(schema, {"real": train, "synthetic": unrounded})
    assert copies.exact_copies(lens, train, unrounded)[0].value == 1


def test_copies_of_rows_that_the_real_table_lacks_are_found_by_their_keys(
    schema: Schema, people: Callable[..., pa.Table]
) -> None:
    whole = people(400, 0)
    keys = np.concatenate([copies.row_keys(schema, batch) for batch in whole.to_batches(max_chunksize=70)])
    drawn, sample = whole.slice(0, 100), whole.slice(200, 100)
    lens = Lens.fit(schema, {"real": drawn, "synthetic": sample})
    assert copies.exact_copies(lens, drawn, sample)[0].value == 0
    known = copies.Keys(lambda: iter(np.array_split(keys, 3)), len(keys))
    assert copies.exact_copies(lens, drawn, sample, known)[0].value == 1
    assert (copies.row_keys(schema, whole.drop_columns(["who"])) == keys).all()


def test_of_many_keys_some_are_counted_with_all_of_their_twins(
    schema: Schema, people: Callable[..., pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = people(50, 0)
    lens = Lens.fit(schema, {"real": table, "synthetic": table})
    draw = np.random.default_rng(0)
    keys = mix(draw.integers(0, 30_000, 60_000).astype(np.uint64))
    known = copies.Keys(lambda: iter(np.array_split(keys, 7)), len(keys))
    exact = copies.exact_copies(lens, table, table, known)[1]
    monkeypatch.setattr(copies, "COUNTED_KEYS", 20_000)
    thinned = copies.exact_copies(lens, table, table, known)[1]
    assert exact.value == pytest.approx(1 - np.exp(-2), abs=0.01)  # of Poisson counts of mean 2
    assert exact.value != thinned.value == pytest.approx(exact.value, abs=0.01)


def test_the_baseline_is_the_chance_that_a_fresh_row_has_a_twin_in_train() -> None:
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 3001)
    shares /= shares.sum()
    inside, chances = 0, []
    for _ in range(200):
        train = np.bincount(rng.choice(3000, 800, p=shares), minlength=3000)
        estimate = copies._twins(train[train > 0])
        chances.append(shares[train > 0].sum() - estimate.value)
        inside += estimate.low <= shares[train > 0].sum() <= estimate.high
    assert np.mean(chances) == pytest.approx(0, abs=0.005)
    assert inside / 200 == pytest.approx(0.95, abs=0.04)
    assert copies._twins(np.array([4, 4, 2])).value == 1
    assert copies._twins(np.array([1])).value == 0
