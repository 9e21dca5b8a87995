"""What people look at: figures of the last rows, each beside what as many rows of the certified release would show.

Trends explain and never alarm: on their own, scalars of diversity see a collapse when it has become a catastrophe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.monitor.view import Rows, View

WINDOW = 4_096  # rows
LEAST = 512  # below so many there is little to say
RARE = 0.01  # share of the rows below which a category is rare
FEWEST = 5  # rows of the reference that have it: of those that fewer have, the share is hardly known
KERNEL_ROWS = 2_048  # by which the kernel's figures are measured
DRAWS = 12  # samples of the reference, for the baseline

MEANING = {
    "coverage": "cells of similar rows that were seen, of those that are to be expected",
    "rare_recall": "rare categories that were seen, of those that are to be expected",
    "modes": "Rényi kernel entropy's number of modes (RKE)",
    "vendi": "Vendi score by random features",
    "entropy": "entropy of the columns, the mean over them, in nats",
    "distinct": "share of the rows that no earlier row of the window equals",
    "extremes": "share of the numbers beyond the outermost 1 % of either end",
    "valid": "share of the rows that satisfy the schema and its constraints",
}


@dataclass(frozen=True)
class Trend:
    """A figure of the last rows and its baseline: the mean and standard deviation over samples of the reference."""

    value: float
    baseline: float
    deviation: float

    @property
    def ratio(self) -> float:
        """Of the baseline; 1 where that is 0."""
        return self.value / self.baseline if self.baseline else 1.0


class Trends:
    """The last rows that nothing was asked of, WINDOW at most, and their figures."""

    def __init__(self, view: View) -> None:
        self.view, self.places = view, view.places
        self.parts: deque[Rows] = deque()  # joined when somebody looks, and not with each that comes
        # A half of the reference at most, of which samples are to differ from each other.
        self.most = min(WINDOW, len(view.reference) // 2)
        self.share = view.reference.kinds.mean(axis=0)
        self.rare = [
            k for k in self.places.categories if self.share[k] * len(view.reference) >= FEWEST and self.share[k] < RARE
        ]
        self._baselines: dict[int, dict[str, tuple[float, float]]] = {}

    def add(self, rows: Rows) -> None:
        self.parts.append(rows)
        held = sum(map(len, self.parts))
        while held - len(self.parts[0]) >= self.most:
            held -= len(self.parts.popleft())

    def now(self) -> dict[str, Trend]:
        """Every figure, by name; none before there are LEAST rows."""
        held = min(sum(map(len, self.parts)), self.most)
        if held < LEAST:
            return {}
        size = 1 << (held.bit_length() - 1)  # so that few baselines are needed
        if size not in self._baselines:
            self._baselines[size] = self._baseline(size)
        found = self.figures(Rows.joined(list(self.parts)).take(slice(-size, None)))
        return {name: Trend(value, *self._baselines[size][name]) for name, value in found.items()}

    def figures(self, rows: Rows) -> dict[str, float]:
        """All figures of n rows."""
        places, counts = self.places, rows.kinds.sum(axis=0)
        waves = rows.waves[:KERNEL_ROWS].astype(np.float64)
        spectrum = np.clip(np.linalg.eigvalsh(waves.T @ waves), 1e-12, None)
        spectrum /= spectrum.sum()
        columns = [_entropy(counts[column]) for column in places.columns]
        return {
            "coverage": self._seen(counts, places.cells, len(rows)),
            "rare_recall": self._seen(counts, self.rare, len(rows)),
            "modes": float(1 / np.square(spectrum).sum()),
            "vendi": float(np.exp(-(spectrum * np.log(spectrum)).sum())),
            "entropy": float(np.mean(columns)),
            "distinct": len(np.unique(rows.keys)) / len(rows),
            "extremes": float(rows.kinds[:, places.ends].mean()) if places.ends else 0.0,
            "valid": float(rows.valid.mean()),
        }

    def _seen(self, counts: NDArray[np.int64], kinds: Sequence[int], rows: int) -> float:
        """How many of these kinds there are, over how many are to be expected among so many rows; 1 where none is."""
        expected = (1 - (1 - self.share[kinds]) ** rows).sum() if len(kinds) else 0.0
        return float((counts[kinds] > 0).sum() / expected) if expected else 1.0

    def _baseline(self, size: int) -> dict[str, tuple[float, float]]:
        """Of each figure its mean and deviation over samples of the reference."""
        rng, reference = np.random.default_rng(0), self.view.reference
        found = [self.figures(reference.take(rng.permutation(len(reference))[:size])) for _ in range(DRAWS)]
        return {n: (float(np.mean(v)), float(np.std(v))) for n in found[0] for v in [[f[n] for f in found]]}


def _entropy(counts: NDArray[np.int64]) -> float:
    """In nats, with Miller and Madow's correction for the number of rows; 0 where nothing was counted."""
    total, share = counts.sum(), counts[counts > 0]
    if not total:
        return 0.0
    share = share / total
    return float(-(share * np.log(share)).sum() + (len(share) - 1) / (2 * total))
