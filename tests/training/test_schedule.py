"""The length of a run and its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from synth.recipe import Recipe, TrainingRecipe
from synth.training.schedule import MOST, Schedule, ended


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


def trained(
    schedule: Schedule, pace: Callable[[float], float], step: int = 0, clock: float = 0.0
) -> tuple[list[float], float]:
    """The rates of a run from ``step`` on that is looked at every tenth step, each of which takes ``pace`` seconds at a
    time, and when it ended."""
    rates = []
    while not schedule.finished(step):
        rates.append(schedule.rate(step))
        step, clock = step + 1, clock + pace(clock)
        if step % 10 == 0 or schedule.finished(step):
            schedule.observe(step, clock)
            schedule.hold(step, clock)
    return rates, clock


PACES: dict[str, Callable[[float], float]] = {
    "as before": lambda clock: 0.02,
    "ever slower": lambda clock: 0.02 * (1 + clock / 100),
    "half as fast": lambda clock: 0.02 if clock < 45 else 0.04,
    "slow for a while": lambda clock: 0.06 if 50 < clock < 70 else 0.02,
    "slow at the end": lambda clock: 0.02 if clock < 85 else 0.1,
}


@pytest.mark.parametrize("decay", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("pace", PACES.values(), ids=PACES)
def test_a_budget_is_held_where_steps_become_slower(pace: Callable[[float], float], decay: float) -> None:
    schedule = Schedule.of(TrainingRecipe(budget_s=100, decay=decay))
    rates, clock = trained(schedule, pace)
    assert clock < 101
    if pace is PACES["as before"]:
        assert clock > 99 and (
            decay == 0.95 or not schedule.shortened
        )  # that is fixed after 250 steps, of looks by tens
    elif pace is not PACES["slow for a while"]:  # what was cut off then is not given back
        assert clock > 98
    if pace is PACES["half as fast"]:
        planned = schedule.shortened[0][1]
        told = f"{len(rates):,} of {planned:,} planned steps fit into the budget, as they took longer later on"
        assert schedule.describe() == told
    risen = rates[99:]
    assert all(later <= earlier for earlier, later in pairwise(risen))  # the rate falls, without a jump, to nothing
    assert max(earlier - later for earlier, later in pairwise(risen)) < 0.1 * risen[0]
    assert risen[-1] < 0.1 * risen[0]
    repeated = Schedule.of(TrainingRecipe(steps=len(rates), decay=decay, shortened=schedule.shortened))
    assert rates == [repeated.rate(step) for step in range(len(rates))] and repeated.finished(len(rates))


def test_time_that_is_lost_at_once_ends_a_run_in_order() -> None:
    schedule = Schedule.of(TrainingRecipe(budget_s=100, decay=0.6))
    rates, clock = trained(schedule, lambda clock: 500.0 if 60 < clock < 100 else 0.02)
    assert clock < 565
    assert rates[-1] < 0.05 * rates[2000] and max(a - b for a, b in pairwise(rates[100:])) < 0.1 * rates[2000]


def test_a_run_that_goes_on_elsewhere_holds_what_is_left_of_its_budget() -> None:
    recipe = TrainingRecipe(budget_s=100, decay=0.5)
    first, second = Schedule.of(recipe), Schedule.of(recipe)
    rates = []
    for step in range(3000):
        rates.append(first.rate(step))
        first.observe(step + 1, 0.02 * (step + 1))
        first.hold(step + 1, 0.02 * (step + 1))
    second.restore(first.total, [list(pair) for pair in first.shortened])  # as JSON has it
    later, clock = trained(second, lambda clock: 0.05, 3000, 60.0)
    assert 99 < clock < 101 and not first.shortened and second.shortened[0][1] == first.total == 5000
    repeated = Schedule.of(TrainingRecipe(steps=second.total, decay=0.5, shortened=second.shortened))
    assert rates + later == [repeated.rate(step) for step in range(len(rates + later))]


def test_a_number_of_steps_is_kept_whatever_it_takes() -> None:
    schedule = Schedule.of(TrainingRecipe(steps=500))
    trained(schedule, lambda clock: 100.0)
    assert schedule.total == 500 and schedule.shortened == [] and schedule.describe() is None


@pytest.mark.parametrize(
    ("steps", "shortened"),
    [(None, [(5, 20)]), (10, [(5, 20), (4, 15)]), (10, [(4, 15), (5, 20)]), (10, [(4, 9)]), (10, [(11, 20)])],
)
def test_a_shortened_run_that_cannot_have_been_is_refused(steps: int | None, shortened: list[tuple[int, int]]) -> None:
    with pytest.raises(ValidationError, match="rising steps and falling plans"):
        TrainingRecipe(steps=steps, shortened=shortened)
    assert TrainingRecipe(steps=10, shortened=[(4, 20), (5, 15), (10, 12)]).shortened[0] == (4, 20)


def test_another_length_forgets_what_became_of_the_one_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("training: {steps: 10, shortened: [[4, 20]]}")
    assert Recipe.read(tmp_path / "recipe.yaml", {}).training.shortened == [(4, 20)]
    for length in ({"training.steps": 500}, {"training.budget_s": 9.0}):
        assert Recipe.read(tmp_path / "recipe.yaml", length).training.shortened == []


def test_the_last_steps_are_known_once_their_number_is() -> None:
    schedule = Schedule.of(TrainingRecipe(steps=100))
    assert [schedule.last(step, 0.25) for step in (0, 74, 75, 99)] == [False, False, True, True]
    assert not schedule.last(0, 0.0) and not schedule.last(99, 0.0)
    assert not Schedule.of(TrainingRecipe(budget_s=10)).last(10**6, 0.25)


def test_a_fall_that_begins_sooner_is_as_long_as_the_steps_before_it_ask_for() -> None:
    schedule = Schedule.of(TrainingRecipe(budget_s=100, decay=0.6, warmup=1))
    schedule.observe(200, 10.0)
    schedule.sooner(200)
    assert schedule.total == 500 and schedule.rate(199) == schedule.rate(200) > schedule.rate(201)
    schedule.observe(400, 80.0)  # when it would have begun
    assert schedule.total == 500 and schedule.shortened == []


@pytest.mark.parametrize("at", [(200,), (200, 300), (200, 300, 380), (200, 499), (200, 499, 500)])
def test_what_is_left_of_a_fall_is_halved_and_its_recipe_repeats_it(at: tuple[int, ...]) -> None:
    schedule, rates, step = Schedule.of(TrainingRecipe(budget_s=100, decay=0.6, warmup=1)), list[float](), 0
    while not schedule.finished(step):
        if step in at:
            schedule.sooner(step)
        rates.append(schedule.rate(step))
        step += 1
    ends = [*schedule.shortened, (step, step)]
    for (when, planned), (_, then) in pairwise(ends):
        assert then - when == max(int((1 - MOST) * (planned - when)), 1)
    assert all(later <= earlier for earlier, later in pairwise(rates)) and rates[-1] < 0.1 * rates[0]
    repeated = Schedule.of(TrainingRecipe(steps=step, decay=0.6, warmup=1, shortened=schedule.shortened))
    assert rates == [repeated.rate(s) for s in range(step)] and repeated.finished(step)


@pytest.mark.parametrize("step", [1, 7, 100, 333, 499])
@pytest.mark.parametrize("begins", [50, 150, 1000])
def test_a_run_that_was_ended_on_the_way_is_repeated_by_its_recipe(step: int, begins: int) -> None:
    schedule, rates, alone = Schedule.of(TrainingRecipe(budget_s=100, decay=0.6, warmup=1)), list[float](), list[bool]()
    for now in range(step):
        if now == begins:
            schedule.sooner(now)
        if now == begins + 30:
            schedule.sooner(now)
        if schedule.finished(now):
            return
        rates.append(schedule.rate(now))
        alone.append(schedule.last(now, 0.4))
    shortened = ended(step, schedule.total, schedule.shortened, 0.6)
    repeated = Schedule.of(TrainingRecipe(steps=step, decay=0.6, warmup=1, shortened=shortened))
    assert rates == [repeated.rate(now) for now in range(step)] and repeated.finished(step)
    assert alone == [repeated.last(now, 0.4) for now in range(step)]
    assert ended(step, step, [], 0.6) == []
