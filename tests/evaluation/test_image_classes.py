from __future__ import annotations

import numpy as np
import pytest

from synth.evaluation.image_classes import accuracy, agreement, modes


def test_classes_count_from_a_tenth_of_their_share_and_the_divergence_is_that_of_kullback_and_leibler() -> None:
    real = np.array([0.5, 0.3, 0.2, 0.0])
    found = modes(real, np.repeat([0, 1, 2], [700, 290, 10]), np.random.default_rng(0))
    assert found.covered.value == pytest.approx(2 / 3)  # 1 % of 20 % is no more than a classifier's error
    p = np.array([0.7, 0.29, 0.01])
    assert found.divergence.value == pytest.approx((p * np.log(p / real[:3])).sum())
    assert found.shares.tolist() == [0.7, 0.29, 0.01, 0]
    lost = modes(real, np.zeros(50, np.intp), np.random.default_rng(0))
    assert (lost.covered.value, lost.divergence.value) == (pytest.approx(1 / 3), pytest.approx(np.log(2)))
    same = modes(real, np.repeat([0, 1, 2], [50, 30, 20]), np.random.default_rng(0))
    assert (same.covered.value, same.divergence.value) == (1, pytest.approx(0))


def test_accuracies_are_compared_on_the_same_images() -> None:
    wanted = np.arange(100) % 4
    worse = np.where(np.arange(100) < 80, wanted, (wanted + 1) % 4)
    found = accuracy(worse, wanted, wanted, np.random.default_rng(0))
    assert (found.synthetic.value, found.real.value, found.relative.value) == (0.8, 1, 0.8)
    assert found.relative.low < 0.75 < 0.85 < found.relative.high
    both = accuracy(worse, worse, wanted, np.random.default_rng(0)).relative
    assert (both.low, both.value, both.high) == (1, 1, 1)
    assert agreement(worse, wanted).value == 0.8
    nobody = accuracy(worse, (wanted + 1) % 4, (wanted + 2) % 4, np.random.default_rng(0)).relative
    assert nobody.value == 0
