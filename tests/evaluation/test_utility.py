from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synth.data.schema import Schema
from synth.evaluation.frame import Lens
from synth.evaluation.utility import LEARNERS, Utility, utility


def measure(schema: Schema, *tables: pa.Table) -> tuple[Utility | None, list[str]]:
    lens = Lens.fit(schema, {f"table {i}": t for i, t in enumerate(tables)})
    frames = [lens.view(t, "", np.random.default_rng(i))[0] for i, t in enumerate(tables)]
    return utility(lens, *frames, np.random.default_rng(0))


def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def test_rows_with_a_shuffled_target_are_worse_than_real_ones(schema: Schema, people: Callable[..., pa.Table]) -> None:
    real, test = people(800, 0), people(800, 1)
    same, _ = measure(schema, real, people(800, 2), test)
    bought = people(800, 2)["bought"].to_numpy()
    noise, _ = measure(
        schema, real, replaced(people(800, 2), "bought", pa.array(np.random.default_rng(0).permutation(bought))), test
    )
    assert same is not None
    assert noise is not None
    for learner in LEARNERS:
        assert same.real["auc"][learner].value > 0.85
        assert same.synthetic["auc"][learner].value > 0.85
        assert noise.synthetic["auc"][learner].value < 0.65
    assert same.relative.value == pytest.approx(1, abs=0.03)
    assert noise.relative.value < 0.75
    # The ratio is of two models on the same rows: it is known better than either model's score.
    assert same.relative.high - same.relative.low < same.real["auc"]["mean"].high - same.real["auc"]["mean"].low


def test_regression_is_scored_in_the_units_of_the_target(schema: Schema, people: Callable[..., pa.Table]) -> None:
    aim = schema.model_copy(update={"target": "income"})
    found, notes = measure(aim, people(600, 0), people(600, 1), people(600, 2))
    assert found is not None
    assert found.real["rmse"]["boosting"].value > 1
    assert found.real["r2"]["mean"].value > 0
    assert found.relative.value == pytest.approx(1, abs=0.25)
    assert any("synthetic rows whose 'income' is missing" in note for note in notes)


def test_a_constant_or_absent_target_is_no_utility_and_said(schema: Schema, people: Callable[..., pa.Table]) -> None:
    real, test = people(300, 0), people(300, 1)
    never = replaced(people(300, 2), "bought", pa.array([False] * 300))
    found, notes = measure(schema, real, never, test)
    assert found is not None
    assert {s.value for s in found.synthetic["auc"].values()} == {0.5}
    assert any("constant in the synthetic rows" in note for note in notes)
    gone = replaced(people(300, 2), "bought", pa.nulls(300, pa.bool_()))
    found, notes = measure(schema, real, gone, test)
    assert found is None
    assert "no synthetic row has the target 'bought'" in notes[-1]
    assert measure(schema, real, real, never)[0] is None
    found, notes = measure(schema.model_copy(update={"target": None}), real, real, test)
    assert found is None
    assert notes == ["no target is named: utility was not measured"]


def test_a_class_that_the_synthetic_rows_lack_scores_a_half(schema: Schema, people: Callable[..., pa.Table]) -> None:
    aim = schema.model_copy(update={"target": "town"})
    real, test = people(600, 0), people(600, 1)
    poor = people(900, 2)
    poor = poor.filter(pc.is_in(poor["town"], value_set=pa.array(["town 0", "town 1"])))
    found, notes = measure(aim, real, poor, test)
    assert found is not None
    assert 0.4 < found.synthetic["auc"]["mean"].value < found.real["auc"]["mean"].value + 0.05
    assert any("is missing" in note for note in notes)


def test_a_handful_of_test_rows_leaves_no_infinite_figure(schema: Schema, people: Callable[..., pa.Table]) -> None:
    real, sample, pool = people(120, 0), people(120, 1), people(400, 2)
    pool = pool.take(pc.sort_indices(pool, [("age", "ascending")]))
    # The youngest and the oldest bought, the one between did not: without the oldest every model's AUC is 0.
    found, notes = measure(schema, real, sample, replaced(pool, "bought", pa.array([True] + [False] * 398 + [True]))
                           .take(pa.array([0, 200, 399])))  # fmt: skip
    assert found is not None
    assert found.relative.value == 1
    assert np.isfinite([found.relative.low, found.relative.high]).all()
    wrong = replaced(pool, "bought", pc.less(pool["age"], 50))
    found, notes = measure(schema, real, sample, wrong.take(pa.array([0, 399])))
    assert found is None
    assert notes[-1] == "utility was not measured: too few test rows"


def test_r_squared_of_a_resample_without_variance_is_finite(schema: Schema, people: Callable[..., pa.Table]) -> None:
    aim = schema.model_copy(update={"target": "age"})
    rest = people(3, 2)
    nearly = replaced(rest, "age", pa.array([40, 40, 41]))  # of three rows, many resamples have one age
    found, _ = measure(aim, people(120, 0), people(120, 1), nearly)
    assert found is not None
    for estimate in found.real["r2"].values():
        assert np.isfinite([estimate.value, estimate.low, estimate.high]).all()
        assert estimate.high - estimate.low < 1e6
