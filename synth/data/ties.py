"""Numbers that equal those of an earlier column of their row: bills paid in full, visits that end on the day they begin.

A tie is a point mass that moves with the row: no smooth joint distribution has it, so it is found here and becomes a
state of the later column's cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from synth.data.numbers import Lattice, whole_numbers
from synth.data.reduction import Arrays
from synth.data.schema import Column, arrow_type

SHARE = 0.01  # of all rows, from which ties are a state
FEWEST = 20  # rows with a tie: fewer may be chance
PARTNERS = 4  # of a column, those with which most of its ties were met: only these are counted in full
CLEAR = 2.0  # a tie is so many times as frequent as any other difference of the two columns
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


def find(columns: Sequence[Column], rows: Arrays, weights: np.ndarray, mass: float) -> dict[str, Tie]:
    """By the later of two numerical or datetime ``columns``, in table order, the tie with the earlier one that it equals most
    often, if it does in SHARE of all rows or more; at numbers of which none makes up the share ``mass`` of its rows by itself,
    as these are point masses. ``rows`` are a sample, of which each stands for the share ``weights`` (rows) of all.

    Two columns may be tied whose numbers are told in the same unit: numbers of as many decimals, or of full precision and
    one type, and moments of one type. Time: a sort of each row; columns are never compared all with all.
    """
    kin: dict[tuple[object, ...], list[Column]] = {}
    for column in columns:
        if column.kind in ("numerical", "datetime"):
            kin.setdefault(_unit(column), []).append(column)
    found = {}
    for family in kin.values():
        if len(family) < 2 or not len(weights):
            continue
        own = np.stack([_words(rows[column.name], column) for column in family], 1)
        seen = np.stack([_apart_from_masses(words, weights, mass) for words in own.T], 1)
        best: dict[int, tuple[float, int]] = {}
        for later, earlier in _met(seen):
            much = _tied(own[:, later], own[:, earlier], seen[:, later] != NONE, family[later], weights)
            if much > best.get(later, (0.0, 0))[0]:
                best[later] = much, earlier
        for later, (_, earlier) in best.items():
            equal = (own[:, later] == own[:, earlier]) & (own[:, later] != NONE)
            found[family[later].name] = Tie(family[earlier].name, own[equal, later], weights[equal])
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
