"""Values with their 95 % intervals over the draw of rows: jackknife, bootstrap, and the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 200
NORMAL_95 = 1.96
STUDENT_95 = 2.262
"""Student's t with nine degrees of freedom: ten groups."""


@dataclass(frozen=True)
class Estimate:
    """A measured value and the 95 % interval of it over the draw of rows."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, error: float, bounds: tuple[float, float]) -> Estimate:
        """``value`` ± ``error``, cut to what the figure can be."""
        return cls(value, float(max(value - error, bounds[0])), float(min(value + error, bounds[1])))

    def scaled(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def leave_one_out(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G, ...) sums over groups of rows to (G + 1, ...): all rows, then all rows but those of each group."""
    total = parts.sum(axis=0, keepdims=True)
    return np.concatenate([total, total - parts])


def jackknife(values: NDArray[np.float64], bounds: tuple[float, float] = (0, np.inf)) -> Estimate:
    """Delete-a-group jackknife (Tukey 1958) of the values (G + 1,) on all rows and without each group.

    Chosen over the bootstrap for distances between distributions: drawing rows with replacement adds noise to them and
    shifts the whole interval upwards, leaving a tenth of the rows out hardly does.
    """
    rest = values[1:]
    variance = (len(rest) - 1) / len(rest) * ((rest - rest.mean()) ** 2).sum()
    return Estimate.around(float(values[0]), STUDENT_95 * float(np.sqrt(variance)), bounds)


def multiplicities(rows: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """How often each row occurs in each bootstrap resample (Efron 1979): uint8 (RESAMPLES, rows)."""
    return np.stack([np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(RESAMPLES)]).astype(
        np.uint8
    )


def bootstrap(
    contributions: NDArray[np.float64],
    rng: np.random.Generator,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda means: means[:, 0],
    bounds: tuple[float, float] = (0, np.inf),
) -> Estimate:
    """A function of column means, (B, k) -> (B,), with the normal interval of its bootstrap standard error.

    ``contributions``: (n, k), what each row adds.
    """
    value = statistic(contributions.mean(axis=0, keepdims=True))[0]
    means = multiplicities(len(contributions), rng).astype(np.float64) @ contributions / len(contributions)
    return Estimate.around(float(value), NORMAL_95 * float(statistic(means).std(ddof=1)), bounds)


def share(hits: float, rows: float) -> Estimate:
    """A share of rows with Wilson's score interval (1927), which is not [0, 0] where nothing was seen."""
    p, z2 = hits / rows, NORMAL_95**2
    middle = (p + z2 / (2 * rows)) / (1 + z2 / rows)
    half = NORMAL_95 / (1 + z2 / rows) * np.sqrt(p * (1 - p) / rows + z2 / (4 * rows**2))
    return Estimate(p, float(min(p, max(0.0, middle - half))), float(max(p, min(1.0, middle + half))))


def auc(score: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Area under the ROC curve, ties half (the Mann-Whitney statistic), for each row of ``weights`` (B, n): (B,).

    0.5 where a resample holds one class only.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    is_positive = positive[order]
    areas = np.empty(len(weights))
    for b, weight in enumerate(weights):
        w = weight[order].astype(np.float64)
        up, down = np.add.reduceat(w * is_positive, starts), np.add.reduceat(w * ~is_positive, starts)
        pairs = up.sum() * down.sum()
        areas[b] = (up * (np.cumsum(down) - down / 2)).sum() / pairs if pairs else 0.5
    return areas
