"""Sequential tests whose false alarms are rare by construction: mixtures of Shiryaev-Roberts e-detectors.

Shin, Ramdas and Rinaldo 2023, "E-detectors: a nonparametric framework for sequential change detection" (arXiv 2203.03532).
An increment L_t ≥ 0 whose expectation given the past is at most 1 while all is well makes

    M_t = (M_{t−1} + 1) · L_t

a process of which M_t − t has no upward drift. So an alarm at M_t ≥ A comes, while all is well, on average after A steps or
more, whatever the distribution of the rows (Theorem 2.4 there). A step in which nothing is seen leaves M as it is. A weighted
average of such processes is one again: bets of several sizes, and detectors that look for different things, are averaged
instead of being allowed a part of the false alarms each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Mixture:
    """Shiryaev-Roberts processes side by side, and their weighted average.

    ``weights``: float64 (k,), which sum to 1. Processes are kept as logarithms: after a change they grow without bound.
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        assert np.isclose(weights.sum(), 1) and (weights > 0).all()
        self.log_weights = np.log(weights)
        self.logs = np.full(len(weights), -np.inf)

    def update(self, log_increments: NDArray[np.float64]) -> None:
        """One step: the logarithm of each process's L_t, float64 (k,)."""
        self.logs = np.logaddexp(self.logs, 0.0) + log_increments

    @property
    def log_value(self) -> float:
        """ln of the average of all M_t; −∞ before the first step."""
        return float(np.logaddexp.reduce(self.logs + self.log_weights))

    @property
    def shares(self) -> NDArray[np.float64]:
        """What each process contributes to the average, float64 (k,), which sum to 1; nothing before the first step."""
        value = self.log_value
        if not np.isfinite(value):
            return np.zeros(len(self.logs))
        return np.asarray(np.exp(self.logs + self.log_weights - value))

    def reset(self) -> None:
        self.logs.fill(-np.inf)


def fewer(
    hits: NDArray[np.integer], rows: int, least: NDArray[np.float64], bets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """ln L of the hypotheses that something happens to at least so many rows: that a row is of a certain kind with
    probability ``least`` (k,) or more, of which ``rows`` rows had ``hits`` (k,). float64 (b, k), a row each bet.

    L = Π (1 + λ (least − 1[hit])), λ = bet / (1 − least), so that no factor is negative; E L ≤ 1 under the hypothesis.
    """
    size = bets[:, None] / (1 - least)[None]
    return np.asarray(hits * np.log1p(size * (least - 1)) + (rows - hits) * np.log1p(size * least))


def more(mean: float, most: float, bets: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln L of the hypothesis that a number in [0, 1], now ``mean``, has an expectation of ``most`` or less: float64 (b,).

    L = 1 + λ (mean − most), λ = bet / most.
    """
    return np.asarray(np.log1p(bets / most * (mean - most)))


def even(payoffs: NDArray[np.float64], bets: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln L of the hypothesis that ``payoffs`` (n,), each in [−1, 1], have expectation 0: float64 (b,).

    L = Π (1 + λ h), with λ the bet.
    """
    return np.asarray(np.log1p(bets[:, None] * payoffs[None]).sum(axis=1))
