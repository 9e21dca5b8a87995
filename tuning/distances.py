"""How far data sets are from each other by their meta-features, and recipes by their knobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tuning import space
from tuning.features import NAMES

NEAREST = 8  # data sets that count as like the new one
UNIFORM = 0.25  # share of the weight that all data sets have alike
LENGTH = 0.35  # of the kernel, in root mean square distance between knobs, each on its unit interval

Floats = NDArray[np.float64]


def weights(pasts: Sequence[Mapping[str, float]], features: Mapping[str, float]) -> Floats:
    """float64 (data sets,), which sum to 1: a Gaussian kernel over the nearest by standardised meta-features, of the width
    of the farthest of those, shrunk towards equal weights, which are hard to beat (Płudowski et al.,
    arXiv 2403.04720)."""
    if not pasts:
        return np.empty(0)
    theirs = np.array([[past[name] for name in NAMES] for past in pasts])
    ours = np.array([features[name] for name in NAMES])
    spread = theirs.std(axis=0)
    varied = spread > 0
    away = np.sqrt(np.square((theirs - ours)[:, varied] / spread[varied]).sum(axis=1))
    width = max(np.sort(away)[min(NEAREST, len(away)) - 1], 1e-9)
    near = np.where(away <= width, np.exp(-2 * np.square(away / width)), 0.0)
    return (1 - UNIFORM) * near / near.sum() + UNIFORM / len(pasts)


def kernel(knobs: Sequence[space.Knobs]) -> Floats:
    """float64 (n, n): how much of what is learnt of one recipe holds for another, 1 for itself."""
    return np.exp(-np.square(apart(knobs, knobs)) / (2 * LENGTH**2))


def apart(ours: Sequence[space.Knobs], theirs: Sequence[space.Knobs]) -> Floats:
    """float64 (n, m): root mean square distance on the unit intervals of the knobs that both have; of different families, 1
    more in square."""
    a, b = (np.array([space.vector(k) for k in knobs]) for knobs in (ours, theirs))
    families = len(space.TABLES)
    has_a, has_b = (~np.isnan(v[:, families:]) * 1.0 for v in (a, b))
    at_a, at_b = (np.nan_to_num(v[:, families:]) for v in (a, b))
    squares = at_a**2 @ has_b.T - 2 * at_a @ at_b.T + has_a @ (at_b**2).T
    other = 1 - a[:, :families] @ b[:, :families].T
    return np.sqrt(np.maximum(squares, 0) / np.maximum(has_a @ has_b.T, 1) + other)
