from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synth.recipe import Recipe
from tests.tuning.studies import study
from tuning import insight, space
from tuning.record import Rung, Scored, Trial


def made(number: int, knobs: space.Knobs, value: float, **changes: object) -> Trial:
    score = Scored(utility=value, error=0.01, coverage=1.0, copying=0.0, value=value)
    curve = [Rung(seconds=60, step=100, draws=2, score=score, error=0.002)]
    return Trial(**({"number": number, "origin": "tpe", "knobs": knobs, "curve": curve, "state": "done"} | changes))  # type: ignore[arg-type]


@given(arrays(float, st.tuples(st.integers(0, 12), st.integers(1, 3)), elements=st.integers(0, 4).map(float)))
def test_the_pareto_front_is_what_no_other_point_dominates(points: np.ndarray) -> None:
    def dominates(a: np.ndarray, b: np.ndarray) -> bool:
        return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))

    assert insight.pareto(points).tolist() == [not any(dominates(a, b) for a in points) for b in points]


def test_a_point_that_was_not_measured_is_not_on_the_front_and_dominates_nothing() -> None:
    points = np.array([[9.0, np.nan], [1.0, 2.0], [2.0, 1.0], [1.0, 1.0]])
    assert insight.pareto(points).tolist() == [False, True, True, False]


def random_trials(count: int, value: object) -> list[Trial]:
    rng = np.random.default_rng(1)
    knobs = [space.random_knobs(("diffusion", "vae")[k % 2], rng) for k in range(count)]
    return [made(k, each, value(each, rng)) for k, each in enumerate(knobs)]  # type: ignore[operator]


def test_the_knob_that_the_value_depends_on_is_the_most_important() -> None:
    key = "training.decay"
    trials = random_trials(60, lambda knobs, rng: knobs[key] ** 2 + float(rng.normal(0, 0.01)))
    found = insight.importance(trials)
    assert found is not None
    assert found.explained > 0.5
    (first, most, error), (_, second, _) = found.knobs[:2]
    assert first == key
    assert most > 1 and error < most and second < 0.1 * most
    assert insight.importance(trials) == found  # the same seed, the same picture


def test_a_family_that_decides_is_found_with_its_knobs() -> None:
    found = insight.importance(
        random_trials(40, lambda knobs, rng: float(knobs["family"] == "vae") + rng.normal(0, 0.01))
    )
    assert found is not None
    assert found.knobs[0][0] == insight.WITH_FAMILY
    assert found.knobs[0][1] > 5 * found.knobs[1][1]


def test_importance_claims_nothing_from_too_few_trials_noise_or_one_recipe() -> None:
    noise = random_trials(40, lambda knobs, rng: float(rng.random()))
    assert insight.importance(noise[: insight.FEWEST - 1]) is None
    found = insight.importance(noise)
    assert found is not None and found.explained <= 0.1
    knobs = space.knobs_of(Recipe())
    assert insight.importance([made(k, knobs, k / 10) for k in range(9)]) == insight.Importance(0.0, [], 9)
    scoreless = [trial.model_copy(update={"curve": []}) for trial in noise]
    assert insight.importance(scoreless) is None


def test_training_that_a_parent_had_done_counts_once() -> None:
    s = study("empty")
    knobs, rung = space.knobs_of(Recipe()), made(0, space.knobs_of(Recipe()), 0.9).curve[0]
    at = lambda *seconds: [rung.model_copy(update={"seconds": x}) for x in seconds]  # noqa: E731
    s.trials = [
        made(0, knobs, 0.9, curve=at(10, 20, 30)),
        made(1, knobs, 0.9, curve=at(20, 30), origin="population", parent=0),  # went on after 10 s
        made(2, knobs, 0.9, curve=at(30), origin="sampling", parent=0),
        made(3, knobs, 0.9, curve=at(10), origin="mutation", parent=0),  # trained from the start
        made(4, knobs, 0.9, curve=[], state="failed"),
    ]
    assert insight.trained(s) == [30, 20, 0, 10, 0]


def test_one_that_failed_is_not_the_best_and_the_threshold_is_one_error_below_the_top() -> None:
    s = study("confirming")
    s.trials[7].curve[-1].score.value = 2.0
    best = insight.best(s)
    assert best is not None and best.number != 7
    assert best.number == max((t for t in s.trials if t.curve and t.number != 7), key=insight.value).number
    top = max(s.finalists, key=lambda f: f.value)
    assert insight.threshold(s) == pytest.approx(top.value - top.error)
    assert insight.threshold(study("empty")) is None
    assert insight.default_finalist(study()).trial == 0  # type: ignore[union-attr]
