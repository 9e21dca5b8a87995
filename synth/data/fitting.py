"""What one pass over training rows keeps of one column, and the coder that follows from it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from synth.data.categories import Categories, as_text
from synth.data.columns import Coder, Numbers
from synth.data.conform import without_nan
from synth.data.numbers import Lattice, LatticeFit, ticks
from synth.data.schema import Column, arrow_type
from synth.data.sketch import Counter, QuantileSketch
from synth.data.ties import SHARE, Tie

SUPPORT = 4096  # distinct numbers up to which samples repeat observed ones instead of any number on the lattice
KNOTS = 1000
EDGE = 3e-5  # quantiles are kept off 0 and 1: ±4 standard deviations


class ColumnFit:
    """What one pass keeps of one column."""

    def __init__(self, column: Column, whole: bool) -> None:
        self.column, self.name, self.whole = column, column.name, whole
        self.continuous = column.kind in ("numerical", "datetime")
        self.counter = Counter(column.name)
        self.lattice = LatticeFit(column)
        self.sketch = QuantileSketch()
        self.missing = 0
        self.few: tuple[np.ndarray, np.ndarray] | None = (np.empty(0), np.empty(0, np.int64))

    def update(self, array: pa.Array) -> None:
        if not self.continuous:
            self.counter.update(without_nan(array))
            self.missing = self.counter.missing
            return
        k = self.lattice.update(array)
        present = k[~np.isnan(k)]
        self.missing += len(k) - len(present)
        self.sketch.update(present)
        if self.few is not None:
            self._count(*np.unique(present, return_counts=True))

    def merge(self, later: ColumnFit) -> None:
        if not self.continuous:
            self.counter.merge(later.counter)
            self.missing = self.counter.missing
            return
        apart = self.lattice.merge(later.lattice)
        self.missing += later.missing
        later.sketch.shift(apart)
        self.sketch.merge(later.sketch)
        if later.few is None:
            self.few = None
        elif self.few is not None:
            self._count(later.few[0] + apart, later.few[1])

    def _count(self, present: np.ndarray, times: np.ndarray) -> None:
        """Add distinct numbers, each so many times, to ``few`` while they are few."""
        assert self.few is not None
        values, index = np.unique(np.append(self.few[0], present), return_inverse=True)
        counts = np.bincount(index, np.append(self.few[1], times), len(values)).astype(np.int64)
        self.few = (values, counts) if len(values) <= SUPPORT else None

    def finish(self, ordered_up_to: int, atom_share: float, bins: int, tie: Tie | None = None) -> Coder:
        if not self.continuous:
            values, counts = self.counter.counts()
            return self._categories(values, counts, ordered=False)
        lattice = self.lattice.finish()
        if self.few is not None:
            k, counts = self._on(lattice, self.few[0]), self.few[1]
            if len(k) <= max(1, min(ordered_up_to, counts.sum() // 10)):
                return self._categories(lattice.to_arrow(k), counts, ordered=True)
            return self._numbers(lattice, k, counts / counts.sum(), k, atom_share, bins, tie)
        levels = (np.arange(KNOTS) + 0.5) / KNOTS
        grid = self._on(lattice, self.sketch.quantiles(np.concatenate([[0.0], levels, [1.0]])))
        knots, repeats = np.unique(grid, return_counts=True)
        return self._numbers(lattice, knots, repeats / repeats.sum(), np.empty(0), atom_share, bins, tie)

    @staticmethod
    def _on(lattice: Lattice, distance: np.ndarray) -> np.ndarray:
        """Distances to the origin in steps of the lattice."""
        return distance if lattice.decimals is None else np.rint(distance / lattice.step)

    def _categories(self, values: pa.Array, counts: np.ndarray, *, ordered: bool) -> Categories:
        if as_text(arrow_type(self.column.dtype)):
            values = values.cast(pa.string())
        elif pa.types.is_temporal(values.type):
            values = ticks(values)
        return Categories(
            name=self.name,
            dtype=self.column.dtype,
            values=values.to_pylist(),
            ordered=ordered,
            whole=self.whole,
            missing=self.missing > 0,
            counts=[*counts.tolist(), *([self.missing] if self.missing else [])],
        )

    def _numbers(
        self, lattice: Lattice, knots: np.ndarray, shares: np.ndarray, support: np.ndarray, atom_share: float, bins: int,
        tie: Tie | None,
    ) -> Numbers:  # fmt: skip
        """``shares`` of the rows lie at or near each knot; a knot goes to the normal quantile of the middle of its share.

        Point masses, which cells stand for, take no part in the quantiles: the numbers between them fill the scale. Nor do
        rows that are tied, unless all are.
        """
        atom, there = shares >= atom_share, 1 - self.missing / self._rows
        tied = np.zeros_like(shares)
        if tie is not None:
            tied = _tied(tie.on(lattice), tie.shares / there, knots, np.where(atom, 0.0, shares))
            if tied.sum() * there < SHARE:
                tie, tied = None, np.zeros_like(shares)
        between = np.where(atom, 0.0, shares - tied if (shares - tied)[~atom].any() else shares)
        between = between / between.sum() if between.any() else shares
        shares = shares - tied
        middle = between.cumsum() - between / 2
        normal = ndtri(middle.clip(EDGE, 1 - EDGE))
        normal += np.arange(len(normal)) * 1e-9  # strictly increasing where clipping made ties
        mean = np.average(normal, weights=between)
        deviation = np.sqrt(np.average((normal - mean) ** 2, weights=between))

        # A smooth column is a value and no more: its joint with others is learnt better without bins to cross.
        # Otherwise a bin holds about the same share of all rows whatever the point masses take: finer ones are learnt by
        # heart, and what depends on them (a target, say) with them.
        cut = max(1, round(bins * shares[~atom].sum())) if atom.any() else 1
        group = np.floor(middle * cut).clip(max=cut - 1)
        starts = np.append(True, (group[1:] != group[:-1]) | atom[1:] | atom[:-1])
        last = np.append(np.flatnonzero(starts)[1:] - 1, len(knots) - 1)
        # The bin before a point mass ends just below it: all between the two knots is the bin's, and not the mass's.
        before = np.append(atom[1:], False)[last] & ~atom[last]
        upper = np.where(before, lattice.neighbour(np.append(knots[1:], np.inf)[last], -1), knots[last])
        states = np.add.reduceat(shares, np.flatnonzero(starts)) * there
        if not len(support):
            # Numbers too rare for a knot may lie between two point masses: a state of theirs keeps the masses points.
            lone = np.flatnonzero(atom[1:] & atom[:-1] & (lattice.neighbour(knots[1:], -1) > knots[:-1])) + 1
            at = np.searchsorted(last, lone)
            upper = np.insert(upper, at, lattice.neighbour(knots[lone], -1))
            states = np.insert(states, at, 0.0)
        return Numbers(
            name=self.name,
            lattice=lattice,
            knots=knots.tolist(),
            normal=((normal - mean) / max(deviation, 1e-6)).tolist(),
            support=support.tolist(),
            upper=upper.tolist(),
            missing=self.missing > 0,
            tied=None if tie is None else tie.other,
            shares=[
                *states.tolist(),
                *([] if tie is None else [float(tied.sum() * there)]),
                *([self.missing / self._rows] if self.missing else []),
            ],
        )

    @property
    def _rows(self) -> int:
        return self.sketch.count + self.missing


def _tied(k: np.ndarray, weights: np.ndarray, knots: np.ndarray, room: np.ndarray) -> np.ndarray:
    """(knots) the share of rows that are tied at or near each, from a sample of their numbers ``k`` with ``weights``. A knot
    takes no more than its ``room``, point masses having none, and leaves the rest to the next."""
    smooth = np.flatnonzero(room)
    apart = ~np.isin(k, knots[room == 0])  # a row at a point mass is that, and not tied
    if not apart.any() or not len(smooth):
        return np.zeros(len(knots))
    near = smooth[np.searchsorted(knots[smooth], k[apart]).clip(max=len(smooth) - 1)]
    there, wanted = room.cumsum(), np.bincount(near, weights[apart], len(knots)).cumsum()
    taken = there + np.minimum.accumulate(np.minimum(wanted - there, 0.0))
    return np.diff(taken, prepend=0.0).clip(0.0, room)
