"""How a budget is spent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.errors import UserError
from tuning.plan import FACTOR, plan


@given(st.floats(300, 1e6), st.integers(1, 256), st.integers(0, 64), st.integers(1, 4))
def test_all_fits_into_the_budget(budget: float, cpus: int, gpus: int, workers: int) -> None:
    found = plan(budget, cpus=max(cpus, workers), gpus=gpus, workers=workers)
    assert found.search_s + found.training_s < budget
    assert found.rungs[-1] <= found.search_s
    assert all(b / a == pytest.approx(FACTOR, rel=0.02) for a, b in zip(found.rungs, found.rungs[1:], strict=False))
    assert found.slots * workers * found.cpus <= max(cpus, workers) or found.cpus == 1


def test_a_longer_budget_buys_more_trials_and_longer_ones() -> None:
    short, long = plan(600, cpus=2), plan(36_000, cpus=2)
    assert long.trials > 2 * short.trials
    assert long.rungs[-1] > 2 * short.rungs[-1]


def test_trials_never_ask_for_more_than_there_is() -> None:
    found = plan(1800, cpus=16, gpus=4, workers=2)
    assert (found.slots, found.cpus, found.gpus) == (2, 4.0, 1.0)


def test_fewer_trials_are_longer() -> None:
    assert plan(1800, cpus=2, trials=4).rungs[0] > plan(1800, cpus=2, trials=20).rungs[0]


def test_a_budget_too_small_says_which_would_do() -> None:
    with pytest.raises(UserError, match=r"--budget 30s: is too small .* give (\d)m or more") as error:
        plan(30, cpus=2)
    enough = int(str(error.value).partition("give ")[2].partition("m")[0]) * 60
    assert plan(enough, cpus=2).trials >= 1
