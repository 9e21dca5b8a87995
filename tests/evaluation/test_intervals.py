from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from synth.evaluation.intervals import auc, bootstrap, jackknife, leave_one_out, multiplicities, share


def test_auc_is_the_area_under_the_roc_curve_with_ties_and_weights() -> None:
    rng = np.random.default_rng(0)
    score, positive = np.round(rng.normal(size=500), 1), rng.random(500) < 0.3
    weights = multiplicities(500, rng)
    expected = [roc_auc_score(positive, score, sample_weight=w) for w in weights[:5]]
    assert auc(score, positive, weights[:5]) == pytest.approx(expected)
    assert auc(score, np.ones(500, dtype=bool), weights[:1]) == [0.5]


def test_the_bootstrap_error_of_a_mean_is_the_known_one() -> None:
    x = np.random.default_rng(1).normal(5, 2, (4000, 1))
    estimate = bootstrap(x, np.random.default_rng(2))
    assert estimate.value == pytest.approx(x.mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * 2 / np.sqrt(4000), rel=0.2)


def test_the_jackknife_error_of_a_mean_is_the_known_one() -> None:
    rng = np.random.default_rng(3)
    halves = []
    for _ in range(50):
        x, group = rng.normal(5, 2, 1000), rng.permutation(1000) % 10
        sums = leave_one_out(np.stack([np.bincount(group, x), np.bincount(group)], axis=1))
        estimate = jackknife(sums[:, 0] / sums[:, 1])
        halves.append((estimate.high - estimate.low) / 2)
    assert np.mean(halves) == pytest.approx(2.262 * 2 / np.sqrt(1000), rel=0.15)


def test_a_share_of_nothing_is_not_certain() -> None:
    nothing, all_ = share(0, 100), share(100, 100)
    assert (nothing.value, nothing.low) == (0, 0)
    assert nothing.high == pytest.approx(0.037, abs=0.001)
    assert (all_.value, all_.high) == (1, 1)
    assert all_.low < 1
