"""E-detectors: an average of Shiryaev-Roberts processes keeps its promise, and grows where it should."""

import numpy as np
import pytest

from serving.monitor.processes import Mixture, even, fewer, more

BETS = np.array([0.1, 0.5, 0.9])


def test_a_process_is_the_recursion() -> None:
    rng = np.random.default_rng(0)
    weights, factors = np.array([0.2, 0.8]), rng.uniform(0.5, 1.6, (30, 2))
    mixture, direct = Mixture(weights), np.zeros(2)
    for factor in factors:
        mixture.update(np.log(factor))
        direct = (direct + 1) * factor
    assert np.exp(mixture.log_value) == pytest.approx(weights @ direct)
    assert mixture.shares == pytest.approx(weights * direct / (weights @ direct))
    mixture.reset()
    assert mixture.log_value == -np.inf and not mixture.shares.any()


def test_it_does_not_overflow() -> None:
    mixture = Mixture(np.array([1.0]))
    for _ in range(2_000):
        mixture.update(np.array([5.0]))
    assert mixture.log_value == pytest.approx(10_000, rel=1e-3)


@pytest.mark.parametrize("what", ["fewer", "more", "even"])
def test_while_all_is_well_an_increment_is_one_on_average(what: str) -> None:
    """E L = 1 at the edge of each hypothesis, and less inside it."""
    rng, many, rows = np.random.default_rng(1), 400_000, 4
    share = np.array([0.05, 0.3])
    for inside in (0.0, 0.1):
        if what == "fewer":
            hits = rng.binomial(rows, share + inside, (many, 2))
            found = np.exp([fewer(h, rows, share, BETS[:2]).ravel() for h in hits[:40_000]])
        elif what == "more":
            found = np.exp([more(m, 0.5, BETS) for m in rng.beta(2, 2, 40_000) * (1 - inside)])
        else:
            payoffs = np.clip(rng.normal(0, 0.4, (40_000, rows)), -1, 1)  # even inside there is no other side
            found = np.exp([even(p, BETS) for p in payoffs])
        spread = found.std(axis=0) / np.sqrt(len(found))
        assert (found.mean(axis=0) <= 1 + 4 * spread).all()
        if not inside:
            assert found.mean(axis=0) == pytest.approx(1, abs=0.02)


def test_false_alarms_are_as_rare_as_promised() -> None:
    """The mean time to an alarm is at least the threshold, of a mixture as of one process."""
    rng, threshold, runs, most = np.random.default_rng(2), 50.0, 300, 2_000
    times = []
    for _ in range(runs):
        mixture = Mixture(np.full(3, 1 / 3))
        steps = 0
        while steps < most and mixture.log_value < np.log(threshold):
            steps += 1
            mixture.update(even(np.array([rng.choice([-1.0, 1.0])]), BETS))
        times.append(steps)
    assert np.mean(times) - 3 * np.std(times) / np.sqrt(runs) > threshold


def test_what_vanishes_is_found_in_the_time_that_theory_gives() -> None:
    """Rows of a kind with share p vanish: each other row is evidence of −ln(1 − p) at most, of 0.75 p here."""
    share, threshold = np.array([0.1]), 1e5
    mixture, rows = Mixture(np.full(3, 1 / 3)), 0
    while mixture.log_value < np.log(threshold):
        rows += 32
        mixture.update(fewer(np.zeros(1, int), 32, 0.75 * share, BETS).ravel())
    best = np.log(threshold) / np.log1p(0.9 * 0.075 / 0.925)
    assert 0.5 * best < rows < best + 64
