"""Generators with a known likelihood: what they fit, what they draw, what they say of rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.mixture import GaussianMixture

from synth.collapse.chain import Family
from synth.collapse.exact import UNSEEN, Categorical, Kernel, Mixture
from synth.collapse.rows import Rows


def even(rows: Rows) -> np.ndarray:
    return np.full(len(rows), 1 / len(rows))


def clouds(count: int, seed: int) -> Rows:
    """Three clouds, each with a category of its own in nine rows of ten, and a second column that says nothing."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, 3, count)
    numbers = rng.normal(size=(count, 2)) @ np.array([[1.0, 0.5], [0.0, 0.7]]) + 6.0 * np.eye(3)[of][:, :2]
    codes = np.where(rng.random(count) < 0.9, of, rng.integers(0, 3, count))
    return Rows(numbers, np.stack([codes, rng.integers(0, 2, count)], axis=1).astype(np.int32))


FAMILIES: dict[str, Family[Rows]] = {
    "mixture": Mixture(3, (3, 2), 1e-6),
    "kernel": Kernel(np.array([0.3, 0.3]), (3, 2)),
    "categorical": Categorical((3, 2), [np.linspace(-5, 12, 60)] * 2),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_drawn_is_like_what_was_fitted(name: str) -> None:
    rows, rng = clouds(6_000, 0), np.random.default_rng(1)
    model = FAMILIES[name].fit(rows, even(rows), rng)
    drawn = model.sample(20_000, rng)
    assert drawn.numbers.shape == (20_000, 2) and drawn.codes.dtype == np.int32
    assert np.abs(drawn.numbers.mean(axis=0) - rows.numbers.mean(axis=0)).max() < 0.15
    assert np.abs(drawn.numbers.std(axis=0) / rows.numbers.std(axis=0) - 1).max() < 0.05
    for j, size in enumerate((3, 2)):
        shares = [np.bincount(r.codes[:, j], minlength=size) / len(r) for r in (drawn, rows)]
        assert np.abs(shares[0] - shares[1]).max() < 0.03
    if name != "categorical":  # whose columns know nothing of each other
        assert np.corrcoef(drawn.numbers.T)[0, 1] == pytest.approx(np.corrcoef(rows.numbers.T)[0, 1], abs=0.03)


def test_rows_that_weigh_nothing_are_not_there() -> None:
    """Even one with a category that no other row has."""
    rows = clouds(500, 0)
    odd = Rows.joined([rows, Rows(np.array([[90.0, 90.0]]), np.array([[2, 1]], np.int32))])
    family = Mixture(3, (4, 2), 1e-6)
    odd.codes[-1] = (3, 1)
    with_it = family.fit(odd, np.append(even(rows), 0.0), np.random.default_rng(0))
    without = family.fit(rows, even(rows), np.random.default_rng(0))
    assert np.array_equal(with_it.means, without.means) and np.array_equal(with_it.chances[0], without.chances[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_density_is_one_over_all_rows(name: str) -> None:
    """Summed over the categories and a fine grid of numbers."""
    rows = clouds(500, 0)
    model = FAMILIES[name].fit(rows, even(rows), np.random.default_rng(0))
    step = 0.05 if name == "categorical" else 0.1  # whose density has edges
    axis = np.arange(-5, 12, step) + step / 2
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = 0.0
    for code in np.ndindex(3, 2):
        codes = np.tile(np.array(code, np.int32), (len(grid), 1))
        total += np.exp(model.log_density(Rows(grid, codes))).sum() * step**2
    assert total == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_weight_is_as_many_rows(name: str) -> None:
    """Of a mixture with one component, since others begin somewhere."""
    family = Mixture(1, (3, 2)) if name == "mixture" else FAMILIES[name]
    rows, times = clouds(200, 0), np.random.default_rng(0).integers(0, 4, 200)
    repeated = rows.take(np.repeat(np.arange(200), times))
    rng = np.random.default_rng(0)
    weighed, plain = family.fit(rows, times / times.sum(), rng), family.fit(repeated, even(repeated), rng)
    others = clouds(300, 1)
    assert weighed.log_density(others) == pytest.approx(plain.log_density(others))


def test_a_mixture_is_as_likely_as_scikit_learn_s() -> None:
    rows, others = clouds(3_000, 0), clouds(2_000, 1)
    plain = Rows.of_numbers(rows.numbers)
    ours = Mixture(3, floor=1e-6).fit(plain, even(plain), np.random.default_rng(0))
    theirs = GaussianMixture(3, random_state=0, reg_covar=1e-6, tol=1e-3).fit(rows.numbers)
    found = ours.log_density(Rows.of_numbers(others.numbers))
    assert found.mean() == pytest.approx(theirs.score(others.numbers), abs=0.01)
    one = Mixture(1).fit(plain, even(plain), np.random.default_rng(0))
    exact = multivariate_normal(rows.numbers.mean(axis=0), np.cov(rows.numbers.T, bias=True))
    assert one.log_density(Rows.of_numbers(others.numbers)) == pytest.approx(exact.logpdf(others.numbers))


def test_kernels_are_the_mean_of_normal_densities() -> None:
    rows = Rows.of_numbers(np.array([[0.0], [2.0]]))
    model = Kernel(np.array([0.5])).fit(rows, np.array([0.25, 0.75]), np.random.default_rng(0))
    at = np.linspace(-3, 5, 50)
    expected = 0.25 * norm(0, 0.5).pdf(at) + 0.75 * norm(2, 0.5).pdf(at)
    assert np.exp(model.log_density(Rows.of_numbers(at[:, None]))) == pytest.approx(expected)


def test_a_lost_category_is_unlikely_and_not_impossible() -> None:
    rows = Rows.of_codes(np.zeros((10, 1), np.int32))
    model = Categorical([4]).fit(rows, even(rows), np.random.default_rng(0))
    found = np.exp(model.log_density(Rows.of_codes(np.array([[0], [3]], np.int32))))
    assert found == pytest.approx([1 - UNSEEN + UNSEEN / 4, UNSEEN / 4])
    assert set(model.sample(1_000, np.random.default_rng(0)).codes[:, 0]) == {0}
