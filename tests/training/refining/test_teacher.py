"""What a model of real rows says of others, and the targets that it would expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synth.errors import UserError
from synth.recipe import Recipe
from synth.training import prepare
from synth.training.prepare import Prepared
from synth.training.refining.teacher import Teacher


def prepared(table: pa.Table, target: str | None) -> Prepared:
    recipe = Recipe.check({} if target is None else {"target": target}).resolved(test_apart=False)
    sources, schema = prepare.open_sources(table, None, recipe)
    return prepare.prepare(sources, schema, recipe)


def classes(count: int = 3000) -> pa.Table:
    """y is 'yes' with probability Φ-like in x alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=count)
    return pa.table({"x": x, "y": np.where(rng.random(count) < 1 / (1 + np.exp(-2 * x)), "yes", "no")})


def numbers(count: int = 3000) -> pa.Table:
    """y = 3 x, with an error that is ten times as wide where x is above 0; whole hundredths."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=count)
    return pa.table({"x": x, "y": (3 * x + np.where(x > 0, 1.0, 0.1) * rng.normal(size=count)).round(2)})


def test_classes_are_drawn_by_their_chances_and_more_surely_to_a_power() -> None:
    table = prepared(classes(), "y")
    teacher, rng = Teacher(table, None, 0), np.random.default_rng(1)
    rows = pa.table({"x": [-2.0] * 500 + [0.5] * 500 + [2.0] * 500, "y": ["yes", "no"] * 750})
    said = teacher(rows)
    assert said.chances is not None and said.entropy[600] > said.entropy[0]
    assert said.loss[0] > said.loss[1], "'yes' is the less likely at -2"
    even = np.full((1500, 2), 0.5)  # of a release that knows nothing
    plain, sure = (np.array(teacher.targets(said, even, power, rng).to_pylist()) for power in (1.0, 3.0))
    shares = [[float((part == "yes").mean()) for part in np.split(one, 3)] for one in (plain, sure)]
    assert shares[0] == pytest.approx([0.02, 0.73, 0.98], abs=0.12)
    assert shares[1][1] > shares[0][1], "with more conviction"


def test_a_penalty_without_end_leaves_the_release_as_it_is() -> None:
    table = prepared(classes(), "y")
    teacher, rng = Teacher(table, None, 0), np.random.default_rng(1)
    own = pa.table({"x": np.linspace(-2, 2, 1000), "y": ["yes"] * 990 + ["no"] * 10})
    prior = teacher.prior(own)
    assert prior.shape == (1000, 2) and prior.sum(1) == pytest.approx(np.ones(1000), abs=0.01)
    drawn = np.array(teacher.targets(teacher(own), prior, 1e-9, rng).to_pylist())
    assert (drawn == "yes").mean() > 0.97, "though the model would have half of them otherwise"


def test_rows_that_miss_their_target_are_not_judged() -> None:
    teacher = Teacher(prepared(classes(), "y"), None, 0)
    own = pa.table({"x": [0.0, 1.0, 2.0], "y": pa.array(["yes", None, "maybe"])})
    assert teacher.judges(own).tolist() == [0]
    of_numbers = Teacher(prepared(numbers(), "y"), None, 0)
    assert of_numbers.judges(pa.table({"x": [0.0, 1.0], "y": pa.array([1.0, None])})).tolist() == [0]


def test_points_in_time_are_drawn_as_such() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    seconds = pa.array((1.7e9 + 1e6 * x + 1e4 * rng.normal(size=2000)).astype(np.int64))
    table = prepared(pa.table({"x": x, "y": seconds.cast(pa.timestamp("s"))}), "y")
    teacher = Teacher(table, None, 0)
    rows = table.real.slice(0, 500)
    drawn = teacher.targets(teacher(rows), teacher.prior(rows), 1.0, rng)
    assert drawn.type == table.real.schema.field("y").type
    apart = np.array(drawn.cast(pa.int64())) - np.array(rows["y"].combine_chunks().cast(pa.int64()))
    unit = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[drawn.type.unit]
    assert np.median(np.abs(apart)) / unit < 2e5


def test_numbers_are_drawn_with_the_error_that_their_neighbours_have() -> None:
    table = prepared(numbers(), "y")
    teacher, rng = Teacher(table, None, 0), np.random.default_rng(1)
    x = np.concatenate([np.linspace(-1.5, -0.5, 1000), np.linspace(0.5, 1.5, 1000)])
    rows = pa.table({"x": x, "y": np.zeros(2000)})
    said = teacher(rows)
    drawn = np.array(teacher.targets(said, 3 * x, 1.0, rng).to_pylist())  # of a release that is right
    assert np.array_equal(drawn, drawn.round(2)), "at the column's decimals"
    errors = drawn - 3 * x
    assert errors[:1000].mean() == pytest.approx(0, abs=0.1) and errors[1000:].mean() == pytest.approx(0, abs=0.2)
    assert errors[1000:].std() > 3 * errors[:1000].std()
    assert said.chances is None and said.loss.shape == (2000,)


class Rule:
    """Whose say is known: 'no' below nought."""

    classes_ = ("no", "yes")

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        assert list(frame.columns) == ["x"], "without the target"
        sure = np.where(frame["x"] > 0, 0.9, 0.1)
        return np.stack([1 - sure, sure], 1)


def test_a_model_of_somebody_else_is_asked_by_the_names_of_its_classes() -> None:
    table = prepared(classes(), "y")
    said = Teacher(table, Rule(), 0)(pa.table({"x": [1.0, -1.0], "y": ["yes", "yes"]}))
    assert np.exp(-said.loss) == pytest.approx([0.9, 0.1])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (object(), r"the feedback's model \(object\) has no predict_proba"),
        (type("Other", (Rule,), {"classes_": ("no", "maybe")})(), "knows the classes no, maybe, and not yes of 'y'"),
    ],
)
def test_a_model_that_does_not_answer_is_refused(model: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Teacher(prepared(classes(), "y"), model, 0)


def test_without_a_target_there_is_nothing_to_ask(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"predicts a target, and the release has none: train one with --target"):
        Teacher(prepared(classes(), None), None, 0)
