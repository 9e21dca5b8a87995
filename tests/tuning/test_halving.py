"""Which trials go on."""

import pytest

from tuning.halving import draw_error, goes_on
from tuning.record import Rung, Scored, Trial


def trial(number: int, *values: float, error: float = 0.0) -> Trial:
    curve = [
        Rung(
            seconds=10.0 * 3**k, step=k + 1, draws=2, error=error,
            score=Scored(utility=v, error=0.0, coverage=1.0, copying=0.0, value=v),
        )
        for k, v in enumerate(values)
    ]  # fmt: skip
    return Trial(number=number, origin="tpe", knobs={"family": "vae"}, curve=curve)


def test_the_first_at_a_rung_goes_on() -> None:
    mine = trial(0, 0.1)
    assert goes_on(mine, [mine, Trial(number=1, origin="tpe", knobs={"family": "gan"})], 3)


def test_the_best_third_goes_on() -> None:
    trials = [trial(k, 0.1 * k) for k in range(9)]
    assert [t.number for t in trials if goes_on(t, trials, 3)] == [6, 7, 8]


def test_a_rung_is_judged_by_those_that_reached_it() -> None:
    early, late = [trial(k, 0.9) for k in range(5)], [trial(5, 0.2, 0.3), trial(6, 0.2, 0.5)]
    assert goes_on(late[1], [*early, *late], 3)
    assert not goes_on(late[0], [*early, *late], 3)


def test_what_may_be_chance_goes_on() -> None:
    sure, unsure = ([trial(k, 0.80 + 0.01 * k, error=e) for k in range(5)] for e in (0.001, 0.02))
    assert not goes_on(sure[2], sure, 3)
    assert goes_on(unsure[2], unsure, 3)
    assert not goes_on(unsure[1], unsure, 3), "of the worse half"


def test_the_error_is_that_of_all_trials_together() -> None:
    trials = [trial(0, 0.5, error=0.03), trial(1, 0.5, error=0.04), trial(2)]
    assert draw_error(trials, 0) == pytest.approx((0.0009 / 2 + 0.0016 / 2) ** 0.5)
