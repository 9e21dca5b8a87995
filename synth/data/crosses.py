"""Cells that say together what they do not say one by one: the day that a year, a month and a day of the month make.

A sum of what each cell says a network learns at once, and what only a combination says the slower the more combinations
there are; boosted trees, which split by one after the other, do not mind. So such a combination gets a vector of its own
(``synth.generators.crossed``), as in Cheng et al. 2016, "Wide & Deep Learning for Recommender Systems", arXiv 1606.07792.

Which ones, rows say. Every other cell and value is first explained by the cells one by one, by additive effects (backfitting,
Hastie and Tibshirani 1990). If what is left differs between combinations, it does so in two halves of the rows alike: the
product of a combination's means in both, averaged over the rows, is the share of the variance that it explains, without bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from synth.generators.layout import Encoded, Layout

ROWS = 2**14  # that are looked at, at most
PARTS = 32  # cells that may be part of a combination, those with the most states first
STATES = 64  # that such a cell has at most
EXPLAINED = 256  # variables that are to be explained, at most
EACH = 8  # rows to each combination, on average, or more: what is learnt of one is no single row's
PAIRS = 6  # from which triples are built
SWEEPS = 6  # of backfitting
WORTH = 0.2  # of the variance of some variable, which a combination explains or more
MORE = 1.2  # times what its pairs explain, that a triple does
CLEAR = 5.0  # and so many standard errors

Rows = NDArray[np.float32]


def find_crosses(layout: Layout, rows: Encoded, seen: int, most: int) -> tuple[tuple[int, ...], ...]:
    """The pairs and triples of cells, ``most`` of them at most, that explain the most beyond the cells one by one and the
    combinations before them; ``rows`` (rows, C) and (rows, V) are a sample of ``seen`` training rows."""
    cells, values = rows.cells[:ROWS], rows.values[:ROWS].astype(np.float32)
    small = [k for k, size in enumerate(layout.sizes) if 2 < size <= STATES and k != layout.target]
    parts = sorted(sorted(small, key=lambda k: -layout.sizes[k])[:PARTS])
    if len(parts) < 2 or len(cells) < 2:
        return ()
    left, whose = _variables(layout, cells, values)
    halves = [_Half(cells[half::2], left[half::2], whose) for half in (0, 1)]
    for half in halves:
        for part in parts * SWEEPS:
            half.explain((part,), layout.sizes, shrunk=1)
    found: list[tuple[int, ...]] = []
    limit = max(seen, len(cells)) / EACH

    def fits(cross: tuple[int, ...]) -> bool:
        return math.prod(layout.sizes[k] for k in cross) <= limit

    while len(found) < most:
        pairs: dict[tuple[int, ...], tuple[float, bool]] = {
            pair: _gain(halves, pair, layout.sizes) for pair in combinations(parts, 2) if fits(pair)
        }
        best = sorted(pairs, key=lambda pair: -pairs[pair][0])[:PAIRS]
        wider = sorted({tuple(sorted((*pair, k))) for pair in best for k in parts if k not in pair})
        threes = {three: _gain(halves, three, layout.sizes) for three in wider if fits(three)}
        every = pairs | {t: (gain, worth and gain >= MORE * _best(pairs, t)) for t, (gain, worth) in threes.items()}
        cross = max((c for c, (_, worth) in every.items() if worth), key=lambda c: every[c][0], default=None)
        if cross is None:
            break
        found.append(cross)
        for half in halves:
            half.explain(cross, layout.sizes, shrunk=EACH / 2)
    return tuple(found)


def _best(pairs: Mapping[tuple[int, ...], tuple[float, bool]], cross: tuple[int, ...]) -> float:
    """What the best pair of a cross explains."""
    return max(pairs[pair][0] for pair in combinations(cross, 2))


def _variables(layout: Layout, cells: NDArray[np.int_], values: Rows) -> tuple[Rows, NDArray[np.int_]]:
    """(rows, n) what is to be explained, of mean 0 and variance 1, and (n) whose cell it is, −1: a value. Of cells with an
    order, the rank; of others, whether it is each of the three most frequent states."""
    found, whose = [*values.T], [-1] * values.shape[1]
    for cell, (size, shown) in enumerate(zip(layout.sizes, layout.cells, strict=True)):
        shares = np.bincount(cells[:, cell], minlength=size) / len(cells)
        if shown.ordered > 2:
            features = [(shares.cumsum() - shares / 2)[cells[:, cell]]]
        else:
            features = [
                cells[:, cell] == state for state in np.argsort(-shares, kind="stable")[:3] if shares[state] < 1
            ]
        found.extend(features)
        whose.extend([cell] * len(features))
    every = np.linspace(0, len(found) - 1, min(len(found), EXPLAINED)).astype(int)
    chosen = np.stack([found[k] for k in every], 1).astype(np.float32)
    chosen = chosen - chosen.mean(0)
    return chosen / np.maximum(chosen.std(0), 1e-6), np.array(whose)[every]


class _Half:
    """Half of the rows: what is ``left`` (rows, n) to be explained of the variables ``whose`` (n) cells they are."""

    def __init__(self, cells: NDArray[np.int_], left: Rows, whose: NDArray[np.int_]) -> None:
        self.cells, self.left, self.whose = cells, left.copy(), whose

    def sums(self, cross: Sequence[int], sizes: Sequence[int]) -> tuple[Rows, Rows, NDArray[np.intp]]:
        """(combinations, n) sums of what is left, 0 of the cross's own cells; (combinations, 1) rows; (rows) whose they are."""
        index = np.ravel_multi_index(tuple(self.cells[:, k] for k in cross), [sizes[k] for k in cross])
        count = math.prod(sizes[k] for k in cross)
        ones = np.ones(len(index), np.float32)
        sums = csr_array((ones, index, np.arange(len(index) + 1)), shape=(len(index), count)).T @ self.left
        sums[:, np.isin(self.whose, cross)] = 0
        return sums, np.bincount(index, minlength=count)[:, None].astype(np.float32), index

    def explain(self, cross: Sequence[int], sizes: Sequence[int], *, shrunk: float) -> None:
        """Take away each combination's mean, as if it had ``shrunk`` rows more, of mean 0."""
        sums, counts, index = self.sums(cross, sizes)
        self.left -= (sums / (counts + shrunk))[index]


def _gain(halves: Sequence[_Half], cross: Sequence[int], sizes: Sequence[int]) -> tuple[float, bool]:
    """The variance that a combination explains, over all variables, and whether of one of them it is worth it."""
    (a, rows_a, _), (b, rows_b, _) = (half.sums(cross, sizes) for half in halves)
    both = rows_a * rows_b
    weight = np.divide(rows_a + rows_b, both, where=both > 0, out=np.zeros_like(both)) / (rows_a + rows_b).sum()
    explained = (weight * a * b).sum(0)
    # By chance, the product of two means of so many rows has the product of their variances for its own.
    error = np.sqrt((weight**2 * both).sum() * np.prod([(half.left**2).mean(0) for half in halves], 0))
    return float(explained.sum()), bool(((explained >= WORTH) & (explained >= CLEAR * error)).any())
