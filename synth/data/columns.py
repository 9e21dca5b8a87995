"""How one column is shown to a generator: as cells (discrete), as a value (continuous), or as both.

This is where quality comes from. A column with few distinct values is drawn exactly when each value is a state; a smooth
one wants to stay a number; one that is mostly zero, or piles up on round amounts, wants both: a cell that says which
point mass or "in between", and a value for the rest.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from synth.data.categories import Asked, Categories, Shown
from synth.data.conditions import ALL, Conditions, Wanted
from synth.data.conform import show
from synth.data.numbers import Lattice
from synth.data.pixels import Pixels
from synth.data.spans import Scale, snap
from synth.errors import UserError
from synth.generators.layout import Cell


class Numbers(Shown):
    """A continuous value through its quantiles to a standard normal, and a cell that says roughly where it is.

    ``knots`` and ``normal`` are the map, strictly increasing both, piecewise linear in between. ``support`` holds all
    observed numbers where they are few (samples then take one of them), and is empty otherwise. State s of the cell
    reaches from just above ``upper[s - 1]`` to ``upper[s]``: a bin of numbers, or a point mass, whose bin has no width;
    with ``tied``, one more state follows, of rows whose number is that of an earlier column of this name and no point mass,
    and with ``missing`` another. Cells are drawn before values, so the cell carries the exact shares of bins, point masses
    and ties, and the value what is left. All numbers are in units of the lattice.
    """

    how: Literal["numbers"] = "numbers"
    lattice: Lattice
    knots: list[float]
    normal: list[float]
    support: list[float]
    upper: list[float]
    missing: bool
    shares: list[float]
    tied: str | None = None

    @property
    def width(self) -> int:
        """Number of values."""
        return 1

    @cached_property
    def cells(self) -> list[Cell]:
        return [Cell(shares=tuple(self.shares), ordered=len(self.upper))] if len(self.shares) > 1 else []

    @property
    def smooth(self) -> tuple[int, ...]:
        """The states of the cell in which the value says more: the bins that have a width."""
        return tuple(np.flatnonzero(self._least() < self.upper).tolist()) if self.cells else ()

    @property
    def _tie(self) -> int:
        """The state of rows that are tied."""
        return len(self.upper)

    @property
    def _gone(self) -> int:
        """The state of missing numbers."""
        return len(self.upper) + (self.tied is not None)

    @cached_property
    def _lower(self) -> np.ndarray:
        return self._least()

    def _least(self) -> np.ndarray:
        """(states) the least number of each state; equal to ``upper`` for a point mass."""
        above = np.asarray(self.upper[:-1])
        if self.support:  # nothing lies between two observed numbers
            return np.append(
                self.knots[0], np.asarray(self.support)[np.searchsorted(self.support, above, side="right")]
            )
        return np.append(self.knots[0], self.lattice.neighbour(above, 1))

    def encodable(self, array: pa.Array) -> np.ndarray:
        """(rows) boolean: which numbers ``encode`` takes, as they lie within the range of the training rows."""
        k = self.lattice.to_float(array)
        return np.where(np.isnan(k), self.missing, (k >= self.knots[0]) & (k <= self.knots[-1]))

    def encode(self, array: pa.Array, other: pa.Array | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(rows, 0 or 1) int32 and (rows, 1) float64; ``other`` is the column that this one is tied to. UserError for a
        number outside the range of the training rows."""
        k = self.lattice.to_float(array)
        gone = np.isnan(k)
        if gone.any() and not self.missing:
            raise UserError(f"column {self.name!r}: missing values do not occur in the training rows")
        outside = ~gone & ((k < self.knots[0]) | (k > self.knots[-1]))
        if outside.any():
            value = show(array[int(outside.argmax())])
            raise UserError(f"column {self.name!r}: {value} lies outside the range of the training rows")
        score = self._scale.score(k)
        if not self.cells:
            return np.empty((len(k), 0), np.int32), score[:, None]
        cell = np.searchsorted(self._upper, k)
        told = (self._lower == self._upper)[np.where(gone, 0, cell)]
        if other is not None:
            tied = ~told & (self.lattice.to_float(other) == k)
            cell, told = np.where(tied, self._tie, cell), told | tied
        cell = np.where(gone, self._gone, cell)
        # Where the cell says all, the value is the mean of the others.
        score[gone | told] = 0.0
        return cell.astype(np.int32)[:, None], score[:, None]

    def asked(self, wanted: Wanted) -> Asked:
        """Of a column with bins, its share of each; ``decode`` then sees to the numbers in those that a range cuts. Of one
        without, bounds of its value. Whether a tied number lies in a range is not known before the other is drawn: where
        not all are asked for, none is tied, unless ``ways`` says so. UserError where no number of the training rows' range is
        asked for."""
        spans = self._scale.spans(wanted.ranges)
        tied = [] if self.tied is None else [float(self._all(spans) if wanted.tied is None else wanted.tied)]
        missing = [float(wanted.missing)] if self.missing else []
        if not len(spans) and not any(missing):
            low, high = (show(end) for end in self.lattice.to_arrow(np.array([self.knots[0], self.knots[-1]])))
            raise self.impossible(
                wanted, f"goes from {low} to {high}{'' if self.missing else ', and is never missing'}"
            )
        if wanted.tied:
            return Asked(np.array([*np.zeros(len(self.upper)), 1.0, *np.zeros(len(missing))], np.float32))
        if len(self.upper) > 1:
            shares = self._scale.shares(self._lower, self._last, spans)
            return Asked(np.concatenate([shares, tied, missing]).astype(np.float32))
        present = np.array([float(len(spans) > 0), *tied, *missing] if self.cells else [], np.float32)
        if not len(spans):
            return Asked(present)
        first, last = spans[0, 0], spans[-1, 1]
        if first == last:
            return Asked(present, *[float(self._scale.score(first))] * 2)
        return Asked(present, float(self._scale.edge(first, -1)), float(self._scale.edge(last, 1)))

    def ways(self, asked: Conditions) -> list[Conditions]:
        """In which two ways the number of a row that is ``asked`` for may lie in its range: as its own, or as the tied one's
        of the other column. The condition itself where there is one way: it holds all numbers, or point masses alone."""
        wanted = asked.get(self.name)
        if self.tied is None or wanted is None:
            return [asked]
        spans = self._scale.spans(wanted.ranges)
        free = self._scale.shares(self._lower, self._last, spans)[list(self.smooth)]
        if self._all(spans) or not free.any():
            return [asked]
        other = asked.get(self.tied, Wanted()) & Wanted(ranges=wanted.ranges, missing=False, text=wanted.text)
        own, equal = (replace(wanted, tied=tied) for tied in (False, True))
        return [asked | {self.name: own}, asked | {self.name: equal, self.tied: other}]

    def told_by(self, array: pa.Array, other: Numbers) -> tuple[pa.Array, np.ndarray]:
        """What the numbers of ``array``, this column's, say of those of the ``other`` that it is tied to, of which nothing is
        known: these numbers in the type of the other, missing where it cannot have them; and (rows) how likely they are it.

        By Bayes' rule, with a tied number distributed as the other column is, and one that is not as this column's others are.
        """
        own, equal = self.lattice.to_float(array), other.lattice.to_float(array)
        gone = np.isnan(own) | ~((own >= self.knots[0]) & (own <= self.knots[-1]))
        free = np.isin(np.searchsorted(self._upper, own).clip(max=len(self.upper) - 1), self.smooth)
        whole = other.lattice.decimals is None or (equal == np.rint(equal))
        can = ~gone & free & whole & (equal >= other.knots[0]) & (equal <= other.knots[-1])
        own, equal = np.where(can, own, self.knots[0]), np.where(can, equal, other.knots[0])
        tied = self.shares[self._tie] * other._scale.density(equal)
        apart = sum(self.shares[state] for state in self.smooth) * self._scale.density(own)
        return other.lattice.to_arrow(equal, ~can), np.where(can, tied / np.maximum(tied + apart, 1e-300), 0.0)

    def _all(self, spans: np.ndarray) -> bool:
        """Whether they hold all numbers."""
        return len(spans) == 1 and bool((spans[0] == (self.knots[0], self.knots[-1])).all())

    def meets(self, array: pa.Array, wanted: Wanted) -> np.ndarray:
        """(rows) boolean: which numbers are as wanted."""
        k, spans = self.lattice.to_float(array), self._scale.spans(wanted.ranges)
        within = ((k[:, None] >= spans[:, 0]) & (k[:, None] <= spans[:, 1])).any(1)
        return np.where(np.isnan(k), wanted.missing, within)

    @cached_property
    def _scale(self) -> Scale:
        return Scale(self.lattice, *(np.asarray(x, np.float64) for x in (self.knots, self.normal, self.support)))

    @cached_property
    def _upper(self) -> np.ndarray:
        return np.asarray(self.upper)

    @cached_property
    def _last(self) -> np.ndarray:
        """(states) the greatest number of each state that a sample can be."""
        support = self._scale.support
        return support[np.searchsorted(support, self._upper, side="right") - 1] if len(support) else self._upper

    @cached_property
    def _reach(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(states) the least number of each, its end, and the greatest that a sample can be; a tied one may be any."""
        ends = self._lower, self._upper, self._last
        if self.tied is None:
            return ends
        return np.append(ends[0], self.knots[0]), np.append(ends[1], self.knots[-1]), np.append(ends[2], self.knots[-1])

    def decode(
        self, cells: np.ndarray, values: np.ndarray, wanted: Wanted | None = None, other: pa.Array | None = None
    ) -> pa.Array:
        """Arrow array of the lattice's type, each number within the bin that its cell says, and as ``wanted``. Rows that are
        tied take the number of the ``other`` column, or the nearest in this one's range; where the other is missing, the one
        that the value says.

        A value beyond an edge of its bin is folded back at that edge: cutting it off would pile numbers up there. Of a bin
        that is wanted in part, the whole is squeezed into that part, quantile by quantile.
        """
        scale = self._scale  # arrays, as lists of thousands of knots would be made such again for each batch
        least, ends, greatest = self._reach
        cell = np.minimum(cells[:, 0], len(ends) - 1) if self.cells else np.zeros(len(values), np.int32)
        lower, upper = least[cell], ends[cell]
        floor, ceiling = scale.score(lower), scale.score(upper)
        width = ceiling - floor
        beyond = np.mod(values[:, 0] - floor, 2 * np.maximum(width, 1e-12))
        inside = floor + np.minimum(beyond, 2 * width - beyond).clip(min=0)
        spans = None if wanted is None or wanted.ranges == ALL else scale.spans(wanted.ranges)
        if spans is not None and len(spans) and len(self.upper) > 1:
            inside = scale.squeezed(inside, cell, least, greatest, spans)
        k = np.interp(inside, scale.normal, scale.knots).clip(lower, upper)
        support = scale.support
        if len(support):
            nearest = np.searchsorted((support[1:] + support[:-1]) / 2, k)
            last = np.searchsorted(support, upper, side="right") - 1
            k = support[nearest.clip(np.searchsorted(support, lower), last)]
        if other is not None:
            equal = self.lattice.to_float(other).clip(self.knots[0], self.knots[-1])
            k = np.where((cells[:, 0] == self._tie) & ~np.isnan(equal), equal, k)
        if spans is not None and len(spans):
            k = snap(k, spans)
        return self.lattice.to_arrow(k, cells[:, 0] == self._gone if self.missing else None)


Coder = Annotated[Categories | Numbers | Pixels, Field(discriminator="how")]
