"""When more training buys nothing, on series of losses that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.training.early import FLAT, RISEN, WAIT, Early, difference

BLOCKS, EVERY = 20, 100
ROWS = np.random.default_rng(0).normal(size=BLOCKS)  # what the rows of a block do to its loss, at every look alike


def looks(course: Callable[[int], float], number: int, noise: float = 0.001, seed: int = 1) -> list[list[float]]:
    """The losses by block at so many looks; ``noise`` is what differs from look to look."""
    draw = np.random.default_rng(seed)
    return [(course(k) + ROWS + noise * draw.normal(size=BLOCKS)).tolist() for k in range(1, number + 1)]


def first(series: list[list[float]], *, falling: bool = False, early: Early | None = None) -> int | None:
    """Which look says that it is enough, from 1."""
    early = early or Early()
    for k, losses in enumerate(series, 1):
        early.seen(k * EVERY, losses)
        if early.enough(k * EVERY, falling=falling):
            return k
    return None


def test_a_loss_that_falls_is_let_fall_however_rows_differ() -> None:
    assert first(looks(lambda k: 1 / k, 40)) is None
    assert first(looks(lambda k: 1 - 0.002 * k, 40, noise=0.002)) is None  # by less than a look's error, each time


def test_one_that_stays_is_enough_once_it_has_stayed_for_long() -> None:
    early = Early()
    [*_, last] = series = looks(lambda k: 1 / min(k, 6), 30)
    found = first(series, early=early)
    assert found == (1 + WAIT) * 6 and early.step == 6 * EVERY
    assert early.describe(last).startswith("falls no longer: ")
    assert first(looks(lambda k: 1.0, 30, noise=0.0)) == 1 + FLAT


def test_one_that_rises_is_enough_after_a_few_looks() -> None:
    early, series = Early(), looks(lambda k: abs(k - 12) / 10, 30)
    assert first(series, early=early) == 12 + RISEN and early.step == 1200
    assert early.describe(series[14]).startswith("has risen: ")
    assert "at step 1200" in early.describe(series[14])


def test_where_the_rate_falls_only_a_rise_is_enough() -> None:
    assert first(looks(lambda k: 1.0, 40, noise=0.0), falling=True) is None
    assert first(looks(lambda k: abs(k - 4) / 10, 40), falling=True) == 4 + RISEN
    wavering = looks(lambda k: 1.0 if k % RISEN else 0.0, 40)  # never so often in a row
    assert first(wavering[RISEN - 1 :], falling=True) is None


def test_looks_that_see_nothing_decide_nothing() -> None:
    assert first(looks(lambda k: 1 / min(k, 6), 60, noise=1.0)) is None
    assert first(looks(lambda k: 1.0, 60, noise=0.001)) is None  # it never fell, so what a fall were is not known


@pytest.mark.parametrize("noise", [0.001, 0.1, 10.0])
def test_chance_alone_is_no_rise(noise: float) -> None:
    wrong = [first(looks(lambda k: 1.0, 20, noise, seed), falling=True) for seed in range(200)]
    assert sum(found is not None for found in wrong) < 10


def test_what_rose_before_the_fall_is_forgiven() -> None:
    early = Early()
    assert first(looks(lambda k: abs(k - 4), 20), early=early) == 4 + RISEN
    early.forgive()
    assert not early.enough(10**6, falling=True) and (early.step, early.acted) == (400, 1)
    early.seen(800, (ROWS + 3.5).tolist())
    assert early.risen == 1
    early.seen(900, (ROWS - 1).tolist())
    assert (early.risen, early.step) == (0, 900)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=30), st.booleans(), st.integers(0, 29))
def test_a_run_that_goes_on_from_its_state_decides_the_same(course: list[float], falling: bool, cut: int) -> None:
    series = looks(lambda k: course[k - 1], len(course))
    whole, parts = Early(), Early()
    said = list[tuple[bool, bool]]()
    for k, losses in enumerate(series):
        if k == cut:
            parts = Early(**json.loads(json.dumps(asdict(parts))))
        for early in (whole, parts):
            early.seen(k + 1, losses)
        said.append((whole.enough(k + 1, falling=falling), parts.enough(k + 1, falling=falling)))
    assert whole == parts and all(a == b for a, b in said)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20), st.floats(-5, 5), st.floats(0.1, 100))
def test_a_difference_is_of_blocks_and_errs_as_they_do(noise: list[float], shift: float, scale: float) -> None:
    before = [100.0 * k for k in range(len(noise))]
    now = [b + shift + n for b, n in zip(before, noise, strict=True)]
    more, error = difference(before, now)
    assert more == pytest.approx(shift + np.mean(noise), abs=1e-9)
    assert error == pytest.approx(np.std(noise, ddof=1) / len(noise) ** 0.5, abs=1e-9)
    twice = difference([scale * b for b in before], [scale * n for n in now])
    assert twice == pytest.approx((scale * more, scale * error), rel=1e-6, abs=1e-6)
