"""A column of categories, or of few ordered numbers, as cells; and what all ways to show a column have in common."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from synth.data.conditions import Wanted, number
from synth.data.conform import show, without_nan
from synth.data.schema import arrow_type, nearest
from synth.errors import UserError
from synth.generators.layout import Cell

DIGIT = 512  # a vocabulary beyond this is written as two digits: its cost is 2·√n states instead of n


class Asked(NamedTuple):
    """What is asked of a column in its encoded terms: which share of each state of its cells, side by side (n) float32,
    and the bounds of its value, infinite where it has none."""

    states: np.ndarray
    low: float = -np.inf
    high: float = np.inf


class Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str

    def impossible(self, wanted: Wanted, has: str) -> UserError:
        return UserError(f"{wanted}: no row of the training table is so: '{self.name}' {has}")


class Categories(Shown):
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
    def _drawn(self) -> pa.Array:
        """What each state is decoded to."""
        return pa.concat_arrays([self._states, pa.nulls(1, self._states.type)]) if self.missing else self._states

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
            raise self.impossible(wanted, f"has {self._some()}{'' if self.missing else ', and is never missing'}")
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
        return self._drawn.take(pa.array(codes, type=pa.int64()))

    def _nearest(self, codes: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """The nearest of the ``allowed`` states, which ascend, with the same first digit; where there is one."""
        after = np.searchsorted(allowed, codes).clip(max=len(allowed) - 1)
        before = (np.searchsorted(allowed, codes, side="right") - 1).clip(min=0)
        left, right = allowed[before], allowed[after]
        far = 2 * self.base
        away = [abs(at - codes) + np.where(at // self.base == codes // self.base, 0, far) for at in (left, right)]
        return np.where(away[0] <= away[1], left, right)


def as_text(kind: pa.DataType) -> bool:
    """Whether category values of this type are kept as text in JSON: strings and decimals are."""
    return bool(pa.types.is_string(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))
