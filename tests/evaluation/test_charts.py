"""Pictures of what there is nothing to see in."""

from __future__ import annotations

import numpy as np
import pytest

from synth.evaluation import charts
from synth.evaluation.figures import Figure

CYCLE = 86_400.0 * 146_097  # seconds of the 400 years after which the calendar repeats itself


def test_scores_that_are_all_no_better_than_chance_are_drawn() -> None:
    chance = Figure.model_construct(
        value=0.5, low=0.5, high=0.5, baseline=0.5, baseline_low=0.5, baseline_high=0.5, title="AUC", unit=""
    )
    assert "<svg" in charts.scores([("boosting", chance)], 0.5)


@pytest.mark.parametrize(
    "values",
    [
        np.full(50, 2.0**60),
        np.full(50, 1e17),
        np.full(50, 9e15),
        2.0**60 + np.arange(51),
        2.0**60 + 256.0 * np.arange(51),
        np.array([-1e308, 1e308] * 20),
        np.full(50, np.finfo(float).max),
        np.full(50, -np.finfo(float).max),
        np.array([0.0, 5e-324]),
        np.full(3, 0.1),
    ],
)
def test_numbers_of_any_size_are_drawn(values: np.ndarray) -> None:
    edges = charts._edges(values, dates=False)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= values.min()
    picture = charts.marginal("x", values, values[::-1], dates=False)
    assert "nan" not in picture
    assert picture.count('class="real"') >= 1


def test_whole_numbers_have_bins_of_whole_width() -> None:
    assert np.diff(charts._edges(np.arange(100.0), dates=False)).tolist() == [4.0] * 25


@pytest.mark.parametrize(
    ("seconds", "day"),
    [(0.0, "1970-01-01"), (-0.5, "1969-12-31"), (30 * CYCLE, "13970-01-01"), (-6 * CYCLE, "-430-01-01")],
)
def test_days_of_any_year_are_named(seconds: float, day: str) -> None:
    assert charts.date(seconds) == day
    assert "<svg" in charts.marginal("since", np.full(4, seconds), np.full(4, seconds), dates=True)
