"""How one column is shown to a generator: as cells (discrete), as a value (continuous), or as both.

This is where quality comes from. A column with few distinct values is drawn exactly when each value is a state; a smooth
one wants to stay a number; one that is mostly zero, or piles up on round amounts, wants both: a cell that says which
point mass or "in between", and a value for the rest.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from synth.data.conditions import ALL, Wanted, number
from synth.data.conform import show, without_nan
from synth.data.numbers import Lattice
from synth.data.pixels import Pixels
from synth.data.schema import arrow_type, nearest
from synth.data.spans import Scale, snap
from synth.errors import UserError
from synth.generators.layout import Cell

DIGIT = 512  # a vocabulary beyond this is written as two digits: its cost is 2·√n states instead of n


class Asked(NamedTuple):
    """What is asked of a column in its encoded terms: which share of each state of its cells, side by side (n) float32,
    and the bounds of its value, infinite where it has none."""

    states: np.ndarray
    low: float = -np.inf
    high: float = np.inf


class _Coder(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str

    def _impossible(self, wanted: Wanted, has: str) -> UserError:
        return UserError(f"{wanted}: no row of the training table is so: '{self.name}' {has}")


class Categories(_Coder):
    """Each distinct value is a state; missing is one more, the last.

    ``values`` are in order of size for ordered columns, else of falling frequency; moments are ticks since 1970, as text
    can spell neither all years nor be read back at both ends of the nanoseconds. ``counts`` has one entry a state.
    Beyond DIGIT states, state s is the two cells s // base and s % base, unless the column is to stay ``whole``.
    """

    how: Literal["categories"] = "categories"
    dtype: str
    values: list[str | bool | int | float]
    ordered: bool
    missing: bool
    counts: list[int]
    whole: bool = False

    @property
    def width(self) -> int:
        """Number of values."""
        return 0

    @cached_property
    def base(self) -> int:
        """Number of states of the last digit; 0 where the column is a single cell."""
        n = len(self.counts)
        return 0 if self.whole or n <= DIGIT else math.ceil(math.sqrt(n))

    @cached_property
    def _states(self) -> pa.Array:
        kind = arrow_type(self.dtype)
        # Arrow takes whole numbers for moments as they are, but no text for decimals.
        return pa.array(self.values, type=pa.string()).cast(kind) if as_text(kind) else pa.array(self.values, type=kind)

    @cached_property
    def cells(self) -> list[Cell]:
        counts = np.asarray(self.counts, dtype=np.float64)
        shares = counts / max(counts.sum(), 1)
        if len(counts) == 1:  # a constant needs no learning
            return []
        if not self.base:
            return [Cell(shares=tuple(shares), ordered=len(self.values) if self.ordered else 0)]
        grid = np.pad(shares, (0, -len(shares) % self.base)).reshape(-1, self.base)
        return [Cell(shares=tuple(grid.sum(1))), Cell(shares=tuple(grid.sum(0)))]

    def encodable(self, array: pa.Array) -> np.ndarray:
        """(rows) boolean: which values ``encode`` takes, as the training rows have their like."""
        array = without_nan(array)
        state = pc.index_in(array, value_set=self._states, skip_nulls=True)
        found = pc.or_(state.is_valid(), array.is_null()) if self.missing else state.is_valid()
        return found.to_numpy(zero_copy_only=False)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """(rows, cells) int32 and (rows, 0); UserError for a value that the training rows lack."""
        array = without_nan(array)
        state = pc.index_in(array, value_set=self._states, skip_nulls=True)
        unknown = pc.and_not(state.is_null(), array.is_null())
        if pc.any(unknown).as_py():
            value = show(array.filter(unknown)[0])
            raise UserError(f"column {self.name!r}: the value {value!r} does not occur in the training rows")
        if array.null_count and not self.missing:
            raise UserError(f"column {self.name!r}: missing values do not occur in the training rows")
        codes = state.fill_null(len(self.values)).to_numpy(zero_copy_only=False).astype(np.int32)
        if len(self.counts) == 1:
            cells = np.empty((len(codes), 0), np.int32)
        elif self.base:
            cells = np.stack([codes // self.base, codes % self.base], 1)
        else:
            cells = codes[:, None]
        return cells, np.empty((len(codes), 0))

    def allowed(self, wanted: Wanted) -> np.ndarray:
        """(states) boolean: which are asked for. UserError for none, and for a category that there is not."""
        if self.ordered:
            of_values = [any(r.holds(number(v)) for r in wanted.ranges) for v in self.values]
        else:
            for name in (wanted.names or frozenset()) | wanted.other_than:
                if name not in self._known:
                    hint = nearest(str(name), map(str, self.values)) or f" It has: {self._some()}"
                    raise UserError(f"{wanted}: '{self.name}' is never {str(name)!r} in the training rows.{hint}")
            chosen = self._known if wanted.names is None else wanted.names
            of_values = [v in chosen and v not in wanted.other_than for v in self.values]
        states = np.array([*of_values, wanted.missing][: len(self.counts)])
        if not states.any():
            raise self._impossible(wanted, f"has {self._some()}{'' if self.missing else ', and is never missing'}")
        return states

    def asked(self, wanted: Wanted) -> Asked:
        """Of two digits, each alone may be any that an allowed state has; ``decode`` sees to the pair."""
        states = self.allowed(wanted)
        if not self.base:
            return Asked(states.astype(np.float32) if self.cells else np.empty(0, np.float32))
        grid = np.pad(states, (0, -len(states) % self.base)).reshape(-1, self.base)
        return Asked(np.concatenate([grid.any(1), grid.any(0)]).astype(np.float32))

    @cached_property
    def _known(self) -> frozenset[str | bool | int | float]:
        return frozenset(self.values)

    @cached_property
    def shown(self) -> list[str]:
        """The values as text."""
        return [show(v) for v in self._states]

    def meets(self, array: pa.Array, wanted: Wanted) -> np.ndarray:
        """(rows) boolean: which of these known values are as wanted."""
        state = pc.index_in(without_nan(array), value_set=self._states, skip_nulls=True)
        allowed = np.append(self.allowed(wanted)[: len(self.values)], wanted.missing)
        return allowed[state.fill_null(len(self.values)).to_numpy(zero_copy_only=False)]

    def _some(self) -> str:
        """The values that there are, for messages: the least and the greatest, or the first few."""
        shown = self.shown
        if self.ordered and len(shown) > 1:
            return f"values from {shown[0]} to {shown[-1]}"
        return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")

    def decode(self, cells: np.ndarray, values: np.ndarray, wanted: Wanted | None = None) -> pa.Array:
        """Arrow array of ``dtype``. Two digits that name no state (only in the last, incomplete block of a vocabulary)
        wrap around within that block, so that a category always comes out; two that name one which is not ``wanted``
        become the nearest of the block that is."""
        if len(self.counts) == 1:
            codes = np.zeros(len(cells), np.int64)
        elif self.base:
            high, low = cells[:, 0].astype(np.int64), cells[:, 1].astype(np.int64)
            codes = high * self.base + low % np.minimum(self.base, len(self.counts) - high * self.base)
            if wanted is not None:
                codes = self._nearest(codes, np.flatnonzero(self.allowed(wanted)))
        else:
            codes = cells[:, 0]
        states = pa.concat_arrays([self._states, pa.nulls(1, self._states.type)]) if self.missing else self._states
        return states.take(pa.array(codes, type=pa.int64()))

    def _nearest(self, codes: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """The nearest of the ``allowed`` states, which ascend, with the same first digit; where there is one."""
        after = np.searchsorted(allowed, codes).clip(max=len(allowed) - 1)
        before = (np.searchsorted(allowed, codes, side="right") - 1).clip(min=0)
        left, right = allowed[before], allowed[after]
        far = 2 * self.base
        away = [abs(at - codes) + np.where(at // self.base == codes // self.base, 0, far) for at in (left, right)]
        return np.where(away[0] <= away[1], left, right)


class Numbers(_Coder):
    """A continuous value through its quantiles to a standard normal, and a cell that says roughly where it is.

    ``knots`` and ``normal`` are the map, strictly increasing both, piecewise linear in between. ``support`` holds all
    observed numbers where they are few (samples then take one of them), and is empty otherwise. State s of the cell
    reaches from just above ``upper[s - 1]`` to ``upper[s]``: a bin of numbers, or a point mass, whose bin has no width;
    with ``missing``, one more state follows. Cells are drawn before values, so the cell carries the exact shares of
    bins and point masses, and the value what is left. All numbers are in units of the lattice.
    """

    how: Literal["numbers"] = "numbers"
    lattice: Lattice
    knots: list[float]
    normal: list[float]
    support: list[float]
    upper: list[float]
    missing: bool
    shares: list[float]

    @property
    def width(self) -> int:
        """Number of values."""
        return 1

    @cached_property
    def cells(self) -> list[Cell]:
        return [Cell(shares=tuple(self.shares), ordered=len(self.upper))] if len(self.shares) > 1 else []

    @cached_property
    def _lower(self) -> np.ndarray:
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

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """(rows, 0 or 1) int32 and (rows, 1) float64; UserError for a number outside the range of the training rows."""
        k = self.lattice.to_float(array)
        gone = np.isnan(k)
        if gone.any() and not self.missing:
            raise UserError(f"column {self.name!r}: missing values do not occur in the training rows")
        outside = ~gone & ((k < self.knots[0]) | (k > self.knots[-1]))
        if outside.any():
            value = show(array[int(outside.argmax())])
            raise UserError(f"column {self.name!r}: {value} lies outside the range of the training rows")
        value = np.interp(k, self.knots, self.normal)
        if not self.cells:
            return np.empty((len(k), 0), np.int32), value[:, None]
        cell = np.where(gone, len(self.upper), np.searchsorted(self.upper, k))
        # Where the cell says all, the value is the mean of the others.
        value[gone | np.append(self._lower == self.upper, True)[cell]] = 0.0
        return cell.astype(np.int32)[:, None], value[:, None]

    def asked(self, wanted: Wanted) -> Asked:
        """Of a column with bins, its share of each; ``decode`` then sees to the numbers in those that a range cuts. Of one
        without, bounds of its value. UserError where no number of the training rows' range is asked for."""
        spans = self._scale.spans(wanted.ranges)
        missing = [float(wanted.missing)] if self.missing else []
        if not len(spans) and not any(missing):
            low, high = (show(end) for end in self.lattice.to_arrow(np.array([self.knots[0], self.knots[-1]])))
            raise self._impossible(
                wanted, f"goes from {low} to {high}{'' if self.missing else ', and is never missing'}"
            )
        if len(self.upper) > 1:
            return Asked(np.append(self._scale.shares(self._lower, self._last, spans), missing).astype(np.float32))
        present = np.array([float(len(spans) > 0), *missing], np.float32)[: sum(len(c.shares) for c in self.cells)]
        if not len(spans):
            return Asked(present)
        first, last = spans[0, 0], spans[-1, 1]
        if first == last:
            return Asked(present, *[float(self._scale.score(first))] * 2)
        return Asked(present, float(self._scale.edge(first, -1)), float(self._scale.edge(last, 1)))

    def meets(self, array: pa.Array, wanted: Wanted) -> np.ndarray:
        """(rows) boolean: which numbers are as wanted."""
        k, spans = self.lattice.to_float(array), self._scale.spans(wanted.ranges)
        within = ((k[:, None] >= spans[:, 0]) & (k[:, None] <= spans[:, 1])).any(1)
        return np.where(np.isnan(k), wanted.missing, within)

    @cached_property
    def _scale(self) -> Scale:
        return Scale(self.lattice, *(np.asarray(x, np.float64) for x in (self.knots, self.normal, self.support)))

    @cached_property
    def _last(self) -> np.ndarray:
        """(states) the greatest number of each state that a sample can be."""
        upper = np.asarray(self.upper)
        if not self.support:
            return upper
        return np.asarray(self.support)[np.searchsorted(self.support, upper, side="right") - 1]

    def decode(self, cells: np.ndarray, values: np.ndarray, wanted: Wanted | None = None) -> pa.Array:
        """Arrow array of the lattice's type, each number within the bin that its cell says, and as ``wanted``.

        A value beyond an edge of its bin is folded back at that edge: cutting it off would pile numbers up there. Of a bin
        that is wanted in part, the whole is squeezed into that part, quantile by quantile.
        """
        cell = np.minimum(cells[:, 0], len(self.upper) - 1) if self.cells else np.zeros(len(values), np.int32)
        lower, upper = self._lower[cell], np.asarray(self.upper)[cell]
        floor, ceiling = (np.interp(edge, self.knots, self.normal) for edge in (lower, upper))
        width = ceiling - floor
        beyond = np.mod(values[:, 0] - floor, 2 * np.maximum(width, 1e-12))
        inside = floor + np.minimum(beyond, 2 * width - beyond).clip(min=0)
        spans = None if wanted is None or wanted.ranges == ALL else self._scale.spans(wanted.ranges)
        if spans is not None and len(spans) and len(self.upper) > 1:
            inside = self._scale.squeezed(inside, cell, self._lower, self._last, spans)
        k = np.interp(inside, self.normal, self.knots).clip(lower, upper)
        if self.support:
            support = np.asarray(self.support)
            nearest = np.searchsorted((support[1:] + support[:-1]) / 2, k)
            last = np.searchsorted(support, upper, side="right") - 1
            k = support[nearest.clip(np.searchsorted(support, lower), last)]
        if spans is not None and len(spans):
            k = snap(k, spans)
        return self.lattice.to_arrow(k, cells[:, 0] == len(self.upper) if self.missing else None)


Coder = Annotated[Categories | Numbers | Pixels, Field(discriminator="how")]


def as_text(kind: pa.DataType) -> bool:
    """Whether category values of this type are kept as text in JSON: strings and decimals are."""
    return bool(pa.types.is_string(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))
