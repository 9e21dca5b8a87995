from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from synth.evaluation.image_distances import frechet, kernel
from synth.evaluation.intervals import STUDENT_95


def clouds(rows: int = 60, columns: int = 5) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + rng.normal() for _ in range(2)]


def by_definition(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    a, b = np.cov(x.T), np.cov(y.T)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real))


def mmd(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    within = [(k(z, z).sum() - np.trace(k(z, z))) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return float(sum(within) - 2 * k(x, y).sum() / (n * m))


@pytest.mark.parametrize(("distance", "defined"), [(frechet, by_definition), (kernel, mmd)])
def test_distances_and_their_intervals_are_those_of_the_definition(distance, defined) -> None:  # type: ignore[no-untyped-def]
    x, y = clouds()
    found = distance(x, [y], np.random.default_rng(3))[0]
    assert found.value == pytest.approx(defined(x, y), rel=1e-9)
    rng = np.random.default_rng(3)
    groups = [rng.permutation(len(z)) % 10 for z in (x, y)]
    rest = np.array([defined(x[groups[0] != g], y[groups[1] != g]) for g in range(10)])
    error = STUDENT_95 * np.sqrt(9 / 10 * ((rest - rest.mean()) ** 2).sum())
    assert found.high - found.value == pytest.approx(error, rel=1e-6)


def test_a_shift_is_its_square_to_frechet_and_copies_are_at_nothing() -> None:
    x, _ = clouds()
    x += 1e4  # sums of squares would cancel
    shifted, same = frechet(x, [x + np.array([3, 4, 0, 0, 0]), x], np.random.default_rng(0))
    assert shifted.value == pytest.approx(25)
    assert same.value == pytest.approx(0, abs=1e-6)


def test_the_kernel_distance_of_one_distribution_is_nothing_on_average_and_fewer_rows_do_not_raise_it() -> None:
    rng = np.random.default_rng(0)
    for rows in (40, 200):
        pairs = rng.normal(size=(60, 2, rows, 4))
        values = [kernel(x, [y], rng)[0].value for x, y in pairs]
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)
        assert min(values) < 0
