"""What a sample is worth."""

import numpy as np
import pyarrow as pa
import pytest

from synth.data.infer import infer
from synth.data.schema import Schema
from synth.data.source import open_source
from synth.errors import UserError
from tuning.objective import COPYING, COVERAGE, Objective, draw_error, excess, mean
from tuning.objective import Estimate as Interval


def rows(count: int, seed: int, *, signal: float = 3.0) -> pa.Table:
    """A class that follows from two of three numbers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3))
    up = rng.random(count) < 1 / (1 + np.exp(-signal * (x[:, 0] + x[:, 1])))
    columns = {f"x{k}": x[:, k] for k in range(3)}
    return pa.table(columns | {"y": pa.array(np.where(up, "up", "down"))})


@pytest.fixture(scope="module")
def schema() -> Schema:
    return infer(open_source(rows(500, 9)), target="y")


@pytest.fixture(scope="module")
def objective(schema: Schema) -> Objective:
    return Objective(schema, rows(1500, 0), rows(800, 1), part="select", seed=0)


def test_rows_of_the_same_distribution_are_worth_as_much_as_real_ones(objective: Objective) -> None:
    scores = [objective(rows(1500, seed), seed) for seed in (2, 3, 4)]
    assert mean(scores).value == pytest.approx(1.0, abs=0.02)
    assert 0 < draw_error(scores) < 0.02
    assert 0.8 < objective.real["auc"] < 1


def test_a_sample_whose_class_says_less_is_worth_less(objective: Objective) -> None:
    values = [objective(rows(1500, 5, signal=signal), 0).value for signal in (3.0, 0.3, 0.0)]
    assert values[0] > values[1] > values[2]
    assert values[2] < 0.8


def test_the_same_sample_and_seed_score_the_same(objective: Objective) -> None:
    sample = rows(1000, 6)
    assert objective(sample, 3) == objective(sample, 3)


def test_rows_of_a_corner_pay_for_what_they_leave_uncovered(objective: Objective) -> None:
    sample = rows(8000, 7)
    corner = sample.filter(pa.compute.greater(sample["x2"], 0.8))
    score = objective(corner, 0)
    assert score.coverage < 0.7
    assert score.value == pytest.approx(score.utility - COVERAGE * (1 - score.coverage) - COPYING * score.copying)


def test_copies_with_a_little_noise_pay_for_it(objective: Objective) -> None:
    real = rows(1500, 0)
    near = real.set_column(0, "x0", pa.array(real["x0"].to_numpy() + 1e-4))
    score = objective(near, 0)
    assert score.copying > 0.2
    assert score.value == pytest.approx(score.utility - COPYING * score.copying - COVERAGE * max(0, 1 - score.coverage))
    assert score.privacy < 0.8


def test_an_excess_within_the_interval_is_none() -> None:
    assert excess(Interval(0.52, 0.50, 0.54), Interval(0.50, 0.48, 0.52)) == 0
    assert excess(Interval(0.60, 0.58, 0.62), Interval(0.50, 0.50, 0.50)) == pytest.approx(0.08)


def test_a_sample_of_one_class_teaches_nothing(objective: Objective) -> None:
    sample = rows(1000, 8)
    one = sample.filter(pa.compute.equal(sample["y"], "up"))
    assert objective(one, 0).utility < 0.7


def test_a_part_with_one_class_cannot_judge(schema: Schema) -> None:
    held = rows(300, 1)
    one = held.filter(pa.compute.equal(held["y"], "up"))
    with pytest.raises(UserError, match=r"the \d+ rows of select: .*'y' is constant .* --target.*--split"):
        Objective(schema, rows(500, 0), one, part="select", seed=0)


def test_without_a_target_recipes_cannot_be_told_apart() -> None:
    schema = infer(open_source(rows(500, 9)))
    with pytest.raises(UserError, match="no target is named"):
        Objective(schema, rows(500, 0), rows(300, 1), part="select", seed=0)
