"""The length of a run and its learning rate."""

from __future__ import annotations

import pytest

from synth.recipe import TrainingRecipe
from synth.training.schedule import Schedule


def test_rate_rises_stays_and_falls_to_zero() -> None:
    schedule = Schedule.of(TrainingRecipe(steps=1000, warmup=10, decay=0.5, learning_rate=1.0))
    assert schedule.rate(0) == pytest.approx(0.1)
    assert schedule.rate(9) == schedule.rate(499) == 1.0
    assert schedule.rate(750) == pytest.approx(0.5)
    assert schedule.rate(999) == pytest.approx(0.002)
    assert schedule.finished(1000) and not schedule.finished(999)


@pytest.mark.parametrize("decay", [0.3, 0.6, 0.95])
def test_a_budget_becomes_a_number_of_steps_that_repeats_the_run(decay: float) -> None:
    timed = Schedule.of(TrainingRecipe(budget_s=100, decay=decay))
    rates, step = [], 0
    while not timed.finished(step):
        rates.append(timed.rate(step))
        step += 1
        timed.observe(step, elapsed=step * 0.03)
    assert step == pytest.approx(100 / 0.03, rel=0.01)
    counted = Schedule.of(TrainingRecipe(steps=step, decay=decay))
    assert rates == [counted.rate(s) for s in range(step)]


def test_progress_is_measured_in_time_until_the_steps_are_known() -> None:
    schedule = Schedule.of(TrainingRecipe(budget_s=100, decay=0.5))
    assert schedule.fraction(10, 20.0) == pytest.approx(0.2)
    schedule.observe(100, 50.0)
    assert schedule.total == 200 and schedule.fraction(150, 60.0) == pytest.approx(0.75)
