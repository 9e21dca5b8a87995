"""What theory says of generations that learn from each other holds in the laboratory's own loop, within chance.

n rows a generation, t the fits so far, the first of them to real rows; a variance is that of maximum likelihood, 1 in truth.
Each figure is compared within four standard errors over independent chains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import digamma

from synth.collapse.chain import Family, Model, chain
from synth.collapse.exact import Categorical, Frequencies, Kernel, Kernels, Mixed, Mixture
from synth.collapse.policies import Policy
from synth.collapse.rows import Rows

GAUSSIAN = Mixture(1)
SURE = 4.0


def normal(count: int, rng: np.random.Generator) -> Rows:
    return Rows.of_numbers(rng.normal(size=(count, 1)))


def moments(model: Model[Rows]) -> tuple[float, float]:
    """The mean and the variance of a normal distribution."""
    assert isinstance(model, Mixed)
    return float(model.means[0, 0]), float(model.roots[0, 0, 0] ** 2)


def generations(
    family: Family[Rows], policy: str, real: Rows, count: int, rng: np.random.Generator
) -> Iterator[tuple[Model[Rows], Rows]]:
    """Of so many generations after the first, which all may have the same real rows."""
    return chain(family, Policy.parse(policy), lambda _: real, count, lambda _: rng)


def last(
    family: Family[Rows], policy: str, size: int, fits: int, chains: int, read: Callable[[Model[Rows]], float]
) -> NDArray[np.float64]:
    """A figure of the last model of each chain that began with normal rows."""
    found = np.empty(chains)
    for k in range(chains):
        rng = np.random.default_rng([k, size, fits])
        *_, (model, _) = generations(family, policy, normal(size, rng), fits - 1, rng)
        found[k] = read(model)
    return found


def near(values: NDArray[np.float64], expected: float) -> None:
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - expected) < SURE * error, f"{values.mean():.4f} ± {error:.4f}, and not {expected:.4f}"


@pytest.mark.parametrize(("size", "fits", "chains"), [(100, 100, 300), (10, 100, 300)])
def test_who_learns_from_the_last_generation_alone_loses_its_variance(size: int, fits: int, chains: int) -> None:
    """ln v_t = Σ ln(χ²/n): its mean is t (ψ((n − 1)/2) − ln(n/2)), while the mean of v_t itself, (1 − 1/n)^t, is that of a
    few chains; and what is lost in variance has gone into the mean, E µ² = 1 − (1 − 1/n)^t."""
    logs = last(GAUSSIAN, "replace", size, fits, chains, lambda m: float(np.log(moments(m)[1])))
    near(logs, fits * (digamma((size - 1) / 2) - np.log(size / 2)))
    assert np.exp(np.median(logs)) < (1 - 1 / size) ** fits / 2
    means = last(GAUSSIAN, "replace", size, fits, chains, lambda m: moments(m)[0] ** 2)
    near(means, 1 - (1 - 1 / size) ** fits)


@pytest.mark.parametrize("size", [10, 100])
def test_who_keeps_all_rows_keeps_nearly_all_variance(size: int) -> None:
    """E v_t = Π (1 − 1/(n j²)), which ends at sin(π/√n) / (π/√n)."""
    fits = 40
    expected = float(np.prod(1 - 1 / (size * np.arange(1, fits + 1) ** 2.0)))
    limit = np.sin(np.pi / np.sqrt(size)) / (np.pi / np.sqrt(size))
    assert expected == pytest.approx(limit, abs=0.03 / size)
    near(last(GAUSSIAN, "accumulate", size, fits, 400, lambda m: moments(m)[1]), expected)


def test_who_keeps_a_sample_of_all_rows_is_between() -> None:
    """The second moment stays what it was, on average, E v + E µ² = 1; and the mean strays about 1.7 times as far as of who
    keeps all rows, π²/6n."""
    both = last(GAUSSIAN, "accumulate-subsample", 100, 100, 300, lambda m: moments(m)[1] + moments(m)[0] ** 2)
    near(both, 1.0)
    means = last(GAUSSIAN, "accumulate-subsample", 100, 100, 300, lambda m: moments(m)[0] ** 2)
    near(means, 1.7 * np.pi**2 / 600)
    assert means.mean() > 1.2 * np.pi**2 / 600, "farther than of who keeps all rows"


@pytest.mark.parametrize(
    ("policy", "ratio"), [("fresh:golden", 1), ("fresh:0.5", 1), ("fresh:golden", 9), ("fresh:0.1", 9)]
)
def test_of_new_rows_and_drawn_ones_the_golden_weight_is_best(policy: str, ratio: int) -> None:
    """With w for real rows and k of them to one that was drawn, n Var µ is (w² + k (1 − w)²) / (2w − w²) in the end: of equal
    numbers .618 instead of .667 for all rows alike; of nine drawn rows to a real one .282 instead of .526."""
    size, fits, settled, k = 50, 60, 20, 1 / ratio
    given = Policy.parse(policy)
    weight = given.share or (np.sqrt(k * k + 4 * k) - k) / 2
    found = np.empty(250)
    for c in range(len(found)):
        rng = np.random.default_rng([c, ratio])
        models = chain(GAUSSIAN, given, lambda _: normal(size, rng), fits, lambda _: rng, draws=ratio * size)  # noqa: B023
        found[c] = size * np.mean([moments(m)[0] ** 2 for m, _ in list(models)[settled:]])
    expected = (weight**2 + k * (1 - weight) ** 2) / (2 * weight - weight**2)
    near(found, expected)
    if given.share is None:
        assert expected == pytest.approx(weight)


def test_categories_drift_until_one_is_left() -> None:
    """Wright-Fisher: the chance that two rows differ, E 1 − Σp², is (1 − 1/n)^t (1 − 1/K)."""
    size, kinds, fits = 200, 50, 60

    def apart(model: Model[Rows]) -> float:
        assert isinstance(model, Frequencies)
        return float(1 - (model.common[0] ** 2).sum())

    found, alive = np.empty(200), np.empty(200)
    for k in range(len(found)):
        rng = np.random.default_rng(k)
        real = Rows.of_codes(rng.integers(0, kinds, (size, 1)).astype(np.int32))
        *_, (model, _) = generations(Categorical([kinds]), "replace", real, fits - 1, rng)
        found[k], alive[k] = apart(model), np.count_nonzero(model.common[0])  # type: ignore[attr-defined]
    near(found, (1 - 1 / size) ** fits * (1 - 1 / kinds))
    assert alive.mean() < kinds / 2, "rare ones go first, long before the figure above says so"


def test_kernels_spread() -> None:
    """E v_t = (1 − 1/n) E v_{t−1} + h²: to collapse may also mean to grow."""
    size, width, fits = 50, 0.4, 60
    expected = (1 - 1 / size) + width**2
    for _ in range(fits - 1):
        expected = (1 - 1 / size) * expected + width**2
    assert expected > 4

    def variance(model: Model[Rows]) -> float:
        assert isinstance(model, Kernels)
        return float(model.rows.numbers.var() + width**2)

    near(last(Kernel(np.array([width])), "replace", size, fits, 300, variance), expected)
