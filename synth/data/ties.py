"""Numbers that equal those of an earlier column of their row: bills paid in full, visits that end on the day they begin.

A tie is a point mass that moves with the row: no smooth joint distribution has it, so it is found here and becomes a
state of the later column's cell. What is kept of the rows is a sample that depends on their contents alone, not on how
they were batched or in which parts they were looked at: the distinct rows with the smallest hashes, each with its count.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from synth.data.hashing import mix
from synth.data.numbers import Lattice, whole_numbers
from synth.data.reduction import Arrays
from synth.data.schema import Column, arrow_type

ROWS = 2**15  # distinct rows that are kept at most
VALUES = 2**22  # and their numbers, 32 MiB: with 1,000 columns, 4,194 rows
SHARE = 0.01  # of all rows, from which ties are a state
FEWEST = 20  # rows with a tie: fewer may be chance
PARTNERS = 4  # of a column, those with which most of its ties were met: only these are counted in full
CLEAR = 2.0  # a tie is so many times as frequent as any other difference of the two columns
LAST = np.uint64(2**64 - 1)
NONE = np.iinfo(np.int64).min  # a missing number


class Tie(NamedTuple):
    """With which column a column is tied, the numbers that they share, those of point masses among them, and which share of
    all rows has each. Numbers are as ``whole_numbers`` has them, or the bits of doubles where there is no lattice."""

    other: str
    words: np.ndarray
    shares: np.ndarray

    def on(self, lattice: Lattice) -> np.ndarray:
        """(ties) float64: the numbers in units of a lattice."""
        if lattice.decimals is None:
            return self.words.view(np.float64)
        return lattice.steps(self.words, arrow_type(lattice.dtype))


class Ties:
    """What a pass keeps of the numerical and datetime ``columns``, in table order, to find their ties.

    Two columns may be tied whose numbers are told in the same unit: numbers of as many decimals, or of full precision and
    one type, and moments of one type. Memory: VALUES numbers at most, twice while rows are added. Time: a hash of each row,
    and in the end a sort of each row that was kept; columns are never compared all with all.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        kin: dict[tuple[object, ...], list[Column]] = {}
        for column in columns:
            if column.kind in ("numerical", "datetime"):
                kin.setdefault(_unit(column), []).append(column)
        families = [family for family in kin.values() if len(family) > 1]
        self.columns = [column for family in families for column in family]
        ends = np.cumsum([0, *map(len, families)])
        self._families = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        self._keys = mix(np.arange(len(self.columns))) | np.uint64(1)
        self._capacity = min(ROWS, VALUES // max(1, len(self.columns)))
        self._rows = 0
        self._highest = LAST  # rows with a greater hash are no longer kept
        self._held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # hashes, words, counts

    def update(self, arrays: Arrays) -> None:
        if not self.columns:
            return
        words = [_words(arrays[c.name], c) for c in self.columns]
        total = np.zeros(len(words[0]), np.uint64)
        for word, key in zip(words, self._keys, strict=True):
            bits = word.view(np.uint64)
            total += (bits ^ (bits >> np.uint64(32))) * key  # folded: doubles may differ in their upper half alone
        total = mix(total)
        self._rows += len(total)
        keep = np.flatnonzero(total <= self._highest)
        self._add(total[keep], np.stack([word[keep] for word in words], 1), np.ones(len(keep), np.int64))

    def merge(self, later: Ties) -> None:
        """Add what ``later``, of the same columns, has seen."""
        self._rows, self._highest = self._rows + later._rows, min(self._highest, later._highest)
        for held in later._held:
            self._add(*held)

    def _add(self, hashes: np.ndarray, words: np.ndarray, counts: np.ndarray) -> None:
        self._held.append((hashes, words, counts))
        if sum(len(held[0]) for held in self._held) > 2 * self._capacity:
            self._condense()

    def _condense(self) -> tuple[np.ndarray, np.ndarray]:
        """Words (rows, columns) and counts (rows) of the distinct rows that are kept, by their hash."""
        hashes, words, counts = (np.concatenate(parts) for parts in zip(*self._held, strict=True))
        hashes, first, index = np.unique(hashes, return_index=True, return_inverse=True)
        counts = np.bincount(index, counts).astype(np.int64)
        if len(hashes) > self._capacity:
            hashes, first, counts = (a[: self._capacity] for a in (hashes, first, counts))
            self._highest = min(self._highest, hashes[-1])
        words = words[first]
        self._held = [(hashes, words, counts)]
        return words, counts

    def find(self, mass: float) -> dict[str, Tie]:
        """By the later column, the tie with the earlier one that it equals most often, if it does in SHARE of all rows or
        more; at numbers of which none makes up the share ``mass`` of its rows by itself, as these are point masses."""
        if not self._rows or not self.columns:
            return {}
        words, counts = self._condense()
        # Each kept row stands for those that were not: it was kept with the probability that its hash is low enough.
        weights = counts / self._rows
        if self._highest < LAST:
            weights /= (float(self._highest) + 1) / 2.0**64
        found = {}
        for family in self._families:
            columns, own = self.columns[family], words[:, family]
            seen = np.stack([_apart_from_masses(column, weights, mass) for column in own.T], 1)
            best: dict[int, tuple[float, int]] = {}
            for later, earlier in _met(seen):
                much = _tied(own[:, later], own[:, earlier], seen[:, later] != NONE, columns[later], weights)
                if much > best.get(later, (0.0, 0))[0]:
                    best[later] = much, earlier
            for later, (_, earlier) in best.items():
                equal = (own[:, later] == own[:, earlier]) & (own[:, later] != NONE)
                found[columns[later].name] = Tie(columns[earlier].name, own[equal, later], weights[equal])
        return found


def _unit(column: Column) -> tuple[object, ...]:
    if column.kind == "datetime" or _real(column) or column.dtype == "uint64":  # which wraps around
        return column.kind, column.dtype, column.decimals
    return column.kind, column.decimals


def _real(column: Column) -> bool:
    return column.kind == "numerical" and column.decimals is None


def _words(array: pa.Array, column: Column) -> np.ndarray:
    """(rows) int64, equal where the numbers are; NONE where missing."""
    if _real(column):
        numbers = Lattice(dtype=column.dtype, decimals=None).to_float(array)
        return np.where(np.isnan(numbers), NONE, (numbers + 0.0).view(np.int64))  # NONE are the bits of -0.0
    whole, missing = whole_numbers(array, 0 if column.decimals is None else column.decimals)
    return np.where(missing, NONE, whole)


def _apart_from_masses(words: np.ndarray, weights: np.ndarray, mass: float) -> np.ndarray:
    """The words, NONE in the place of those that are point masses of the column."""
    values, index = np.unique(words, return_inverse=True)
    return np.where((np.bincount(index, weights, len(values)) >= mass)[index], NONE, words)


def _met(seen: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of columns (later, earlier) that were met side by side among the equal numbers of rows, at most PARTNERS to a
    later one."""
    order = np.argsort(seen, axis=1, kind="stable")  # of equal numbers, the columns in order
    ranked = np.take_along_axis(seen, order, 1)
    row, at = np.nonzero((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] != NONE))
    pairs, times = np.unique(order[row, at + 1] * seen.shape[1] + order[row, at], return_counts=True)
    pairs, times = pairs[times >= FEWEST // 4], times[times >= FEWEST // 4]
    partners: dict[int, list[int]] = {}
    for pair in pairs[np.argsort(-times, kind="stable")].tolist():
        later, earlier = divmod(pair, seen.shape[1])
        partners.setdefault(later, []).append(earlier)
    return [(later, earlier) for later, some in partners.items() for earlier in some[:PARTNERS]]


def _tied(own: np.ndarray, other: np.ndarray, free: np.ndarray, column: Column, weights: np.ndarray) -> float:
    """The share of all rows that are ``free`` to be tied and are; 0 if that is little, or may be chance."""
    tied = free & (own == other)
    share = float(weights[tied].sum())
    if tied.sum() < FEWEST or share < SHARE:
        return 0.0
    apart = free & (other != NONE) & ~tied
    a, b = (x[apart].view(np.float64) if _real(column) else x[apart] for x in (own, other))
    # Two columns that are merely close, or have few numbers, differ by 1 as often as by 0.
    _, index = np.unique(a - b, return_inverse=True)
    return share if share >= CLEAR * np.bincount(index, weights[apart], 1).max() else 0.0
