"""Which numbers of a continuous column are asked for: closed intervals on its lattice, and how much of a bin they take."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from synth.data.conditions import Range
from synth.data.numbers import Lattice

NEAR = 0.005  # of the mass on each side of a number, from which a density is taken: ten knots or so


@dataclass(frozen=True)
class Scale:
    """A column's numbers in units of its lattice and their normal scores: ``knots`` and ``normal`` ascend, linear in
    between. ``support`` are all numbers that there are, or empty where a sample can be any on the lattice."""

    lattice: Lattice
    knots: np.ndarray
    normal: np.ndarray
    support: np.ndarray

    def spans(self, ranges: Sequence[Range]) -> np.ndarray:
        """(m, 2) float64, ascending: the first and last number in each range; ranges without any are left out."""
        ends = [
            (
                -np.inf if r.low == -np.inf else _at_least(r.low, self.lattice, r.low_open),
                np.inf if r.high == np.inf else -_at_least(-r.high, self.lattice, r.high_open, mirrored=True),
            )
            for r in ranges
        ]
        spans = np.asarray(ends, dtype=np.float64).reshape(-1, 2).clip(self.knots[0], self.knots[-1])
        inside = [low <= self.knots[-1] and high >= self.knots[0] and low <= high for low, high in ends]
        spans = spans[np.asarray(inside, dtype=bool)]
        if len(self.support):
            first = np.searchsorted(self.support, spans[:, 0])
            last = np.searchsorted(self.support, spans[:, 1], side="right") - 1
            some = first <= last
            return np.stack([self.support[first[some]], self.support[last[some]]], 1)
        return spans

    def score(self, k: np.ndarray | float) -> np.ndarray:
        return np.interp(k, self.knots, self.normal)

    def density(self, k: np.ndarray) -> np.ndarray:
        """(rows) the normal mass at each, per unit of the numbers: that of the range around it which has twice NEAR of it."""
        end, unit = ndtr(self.normal[[0, -1]]), self.lattice.step / 10.0 ** (self.lattice.decimals or 0)
        level = ndtr(self.score(k))
        low, high = ((level + side * NEAR).clip(*end) for side in (-1, 1))
        width = np.interp(ndtri(high), self.normal, self.knots) - np.interp(ndtri(low), self.normal, self.knots)
        return np.asarray((high - low) / np.maximum(width * unit, 1e-300))

    def edge(self, k: np.ndarray | float, side: Literal[-1, 1]) -> np.ndarray:
        """Normal scores half-way from each number to the next one on a side; infinite beyond the last."""
        k = np.asarray(k, dtype=np.float64)
        if len(self.support):
            at = np.searchsorted(self.support, k) - 1 if side < 0 else np.searchsorted(self.support, k, side="right")
            beyond = self.support[at.clip(0, len(self.support) - 1)]
        else:
            beyond = self.lattice.neighbour(k, side)
        last = k <= self.knots[0] if side < 0 else k >= self.knots[-1]
        return np.where(last, side * np.inf, (self.score(k) + self.score(beyond)) / 2)

    def shares(self, lower: np.ndarray, upper: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """(bins) which share of the normal mass of each, from ``lower`` to ``upper``, lies in the spans."""
        first, last, met = _overlaps(lower, upper, spans)
        mass = np.where(met, ndtr(self.edge(last, 1)) - ndtr(self.edge(first, -1)), 0.0).sum(1)
        whole = (met & (first == lower[:, None]) & (last == upper[:, None])).any(1)
        of = ndtr(self.edge(upper, 1)) - ndtr(self.edge(lower, -1))
        # A single number of full precision has no mass: its bin then stands for it.
        share = np.where(mass > 0, mass / np.maximum(of, 1e-300), 1.0).clip(max=1.0)
        return np.where(met.any(1), np.where(whole, 1.0, share), 0.0)

    def squeezed(
        self, scores: np.ndarray, of: np.ndarray, lower: np.ndarray, upper: np.ndarray, spans: np.ndarray
    ) -> np.ndarray:
        """Scores (rows) in the bins ``of`` (rows), moved into the part of each bin that spans take, from its first number
        to its last, quantile by quantile; bins that are taken whole, or not at all, keep theirs."""
        first, last, met = _overlaps(lower, upper, spans)
        first, last = np.where(met, first, np.inf).min(1), np.where(met, last, -np.inf).max(1)
        cut = met.any(1) & ((first > lower) | (last < upper))
        first, last = np.where(cut, first, lower), np.where(cut, last, upper)
        start, end = ndtr(self.edge(lower, -1))[of], ndtr(self.edge(upper, 1))[of]
        left, right = ndtr(self.edge(first, -1))[of], ndtr(self.edge(last, 1))[of]
        share = ((ndtr(scores) - start) / np.maximum(end - start, 1e-300)).clip(0, 1)
        return np.where(cut[of], ndtri((left + share * (right - left)).clip(1e-9, 1 - 1e-9)), scores)


def snap(k: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Each number, or the nearest one that lies in one of the spans."""
    before = (np.searchsorted(spans[:, 0], k, side="right") - 1).clip(min=0)
    after = (before + 1).clip(max=len(spans) - 1)
    left, right = k.clip(*spans[before].T), k.clip(*spans[after].T)
    return np.where(abs(right - k) < abs(left - k), right, left)


def _overlaps(lower: np.ndarray, upper: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(bins, m) the first and last number of each span in each bin, and boolean, whether there are any."""
    first, last = np.maximum(lower[:, None], spans[:, 0]), np.minimum(upper[:, None], spans[:, 1])
    return first, last, first <= last


def _at_least(bound: Fraction | float, lattice: Lattice, is_open: bool, *, mirrored: bool = False) -> float:
    """The least number of the lattice from ``bound`` on, or above it; of the ``mirrored`` lattice, whose numbers are
    the negative ones."""
    if lattice.decimals is None:
        at = _double(Fraction(bound))  # the number that is read from the same digits
        return math.nextafter(at, math.inf) if is_open else at
    origin = lattice.origin % 2**64 if lattice.dtype == "uint64" else lattice.origin  # which is kept as an int64
    origin = -origin if mirrored else origin
    steps = (Fraction(bound) * 10**lattice.decimals - origin) / lattice.step
    return _double(steps.__floor__() + 1 if is_open else steps.__ceil__())


def _double(x: Fraction | int) -> float:
    """The nearest finite double, beyond which no column has a number."""
    largest = Fraction(sys.float_info.max)
    return float(max(min(Fraction(x), largest), -largest))
