"""What the certificate is handed of a table with more rows than it looks at."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pyarrow as pa
import pytest

from synth.errors import UserError
from synth.evaluation.certificate import evaluate
from synth.recipe import Recipe
from synth.training import prepare


def test_more_workers_than_rows_are_refused() -> None:
    table = pa.table({"x": np.arange(40) * 1.5, "c": ["a", "b"] * 20})
    recipe = Recipe.read(None, {"training.workers": 200, "split": [0.5, 0, 0, 0.5]})
    sources, schema = prepare.open_sources(table, None, recipe)
    with pytest.raises(UserError, match=r"--workers 200: there are \d\d training rows"):
        prepare.prepare(sources, schema, recipe)


@pytest.mark.parametrize("hold", [0, 1, 1024])
def test_the_choice_between_holding_and_streaming_is_by_size(hold: int) -> None:
    table = pa.table({"x": np.arange(200_000), "c": ["a", "b"] * 100_000, "spare": pa.nulls(200_000, pa.string())})
    recipe = Recipe.read(None, {"training.hold_mib": hold, "exclude": ["spare"]}).resolved(test_apart=False)
    held, told = prepare.is_held(prepare.open_train(table, None, recipe), recipe)
    assert held is (hold == 1024)  # 1.5 MiB
    assert told.startswith("200,000 rows × 2 columns, 2 MiB when encoded") and ("held" in told) is held
    assert held or f"training.hold_mib={hold}" in told


def test_encoded_rows_that_are_given_away_are_let_go() -> None:
    table = pa.table({"x": np.random.default_rng(0).normal(size=400), "c": ["a", "b"] * 200})
    recipe = Recipe(split=(0.7, 0.1, 0.1, 0.1))
    found = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
    assert isinstance(found.encoded, list)
    rows = weakref.ref(found.encoded[0].values)
    found.encoded.clear()
    gc.collect()
    assert rows() is None and found.keys.rows == sum(map(len, found.keys.blocks()))


def test_of_a_large_train_part_rows_are_drawn_and_copies_of_all_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MOST_EVALUATED", 60)
    rng = np.random.default_rng(0)
    table = pa.table({"x": np.round(rng.normal(size=600), 6), "c": rng.choice(["a", "b", "c"], 600)})
    recipe = Recipe(split=(0.7, 0.1, 0.1, 0.1), seed=3)
    sources, schema = prepare.open_sources(table, None, recipe)
    found = prepare.prepare(sources, schema, recipe)
    assert found.real.num_rows < 120
    assert found.keys.rows == sum(map(len, found.keys.blocks())) == found.rows["train"] > 350
    assert any(f"on {found.real.num_rows} of the {found.rows['train']} train rows" in note for note in found.notes)
    assert found.test.num_rows == found.rows["test"] or any("test rows" in note for note in found.notes)
    certificate = evaluate(found.real, table, found.test, schema, train_keys=found.keys)
    assert certificate.rows["train"] == found.rows["train"]
    assert certificate.figures["exact_copies"].value == pytest.approx(found.rows["train"] / 600)


def watched(rows: int, split: tuple[float, ...], **settings: object) -> tuple[prepare.Prepared, np.ndarray]:
    rng = np.random.default_rng(0)
    table = pa.table(
        {"x": rng.normal(size=rows).round(6), "c": [str(i) if i < 80 else "c" for i in rng.permutation(rows)]}
    )
    recipe = Recipe.model_validate({"split": split, "seed": 5, **settings})
    found = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
    return found, np.concatenate([part.values for part in found.watched.rows])


def test_training_is_watched_on_rows_of_select_that_can_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    found, values = watched(2000, (0.4, 0.5, 0, 0.1))
    assert found.watched.part == "select" and values.dtype == np.float32
    # Of 80 categories that one row has each, about 40 are in select, where no training row has their like.
    assert 20 < found.watched.left_out < 60
    assert len(values) + found.watched.left_out == found.rows["select"]
    trained = {float(x) for part in found.encoded for x in part.values[:, 0]}  # type: ignore[union-attr]
    assert not trained & {float(x) for x in values[:, 0]}
    monkeypatch.setattr(prepare, "MOST_WATCHED", 100)
    drawn, fewer = watched(2000, (0.4, 0.5, 0, 0.1))
    assert 60 < len(fewer) + drawn.watched.left_out < 140
    assert np.array_equal(fewer, watched(2000, (0.4, 0.5, 0, 0.1))[1])
    assert {float(x) for x in fewer[:, 0]} < {float(x) for x in values[:, 0]}
    # Both are bounded: their number, and what they take.
    monkeypatch.setattr(prepare, "WATCHED_BYTES", 8 * 30)
    assert 10 < sum(map(len, watched(2000, (0.4, 0.5, 0, 0.1))[1:])) < 60


@pytest.mark.parametrize("split", [(0.9, 0, 0, 0.1), (0.8, 0.1, 0, 0.1)])
def test_where_select_has_few_rows_training_is_watched_on_rows_of_train(split: tuple[float, ...]) -> None:
    found, values = watched(1000, split)
    assert found.watched.part == "train" and found.watched.left_out == 0 and len(values) == found.rows["train"]
