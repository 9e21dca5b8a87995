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
    plain, sure = (np.array(teacher.targets(said, power, rng).to_pylist()) for power in (1.0, 3.0))
    shares = [[float((part == "yes").mean()) for part in np.split(one, 3)] for one in (plain, sure)]
    assert shares[0] == pytest.approx([0.02, 0.73, 0.98], abs=0.12)
    assert shares[1][1] > shares[0][1], "with more conviction"


def test_numbers_are_drawn_with_the_error_that_their_neighbours_have() -> None:
    table = prepared(numbers(), "y")
    teacher, rng = Teacher(table, None, 0), np.random.default_rng(1)
    x = np.concatenate([np.linspace(-1.5, -0.5, 1000), np.linspace(0.5, 1.5, 1000)])
    rows = pa.table({"x": x, "y": np.zeros(2000)})
    said = teacher(rows)
    drawn = np.array(teacher.targets(said, 1.0, rng).to_pylist())
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
