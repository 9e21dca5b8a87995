"""Arrow arrays of numbers and dates ↔ float64, exactly.

Integers, decimals and dates live on a lattice: every observed value is ``(origin + step · k) / 10^decimals`` with a whole
k. The codec computes with k, which float64 holds exactly for spans below 2^53 whatever the magnitude (nanoseconds since
1970 are beyond 2^60), and rounds decoded numbers back onto the lattice. Inference refuses what spans more steps.
Continuous columns pass through unchanged.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from synth.data.schema import Column, arrow_type
from synth.errors import UserError

EXACT = 2**53  # whole numbers up to here are exact as doubles


class Lattice(BaseModel):
    """Maps a column's Arrow values to float64 ``k`` and back; ``decimals`` None means no lattice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: str
    decimals: int | None
    origin: int = 0
    step: int = 1

    def neighbour(self, k: np.ndarray, direction: Literal[-1, 1]) -> np.ndarray:
        """The next number above or below each ``k``: on the lattice, or in floating point where there is none."""
        return np.nextafter(k, direction * np.inf) if self.decimals is None else k + direction

    def to_float(self, array: pa.Array) -> np.ndarray:
        """(rows) float64; NaN for missing. Exact for values on the lattice."""
        if self.decimals is None:
            return _float64(array)
        whole, missing = whole_numbers(array, self.decimals)
        return np.where(missing, np.nan, self.steps(whole, array.type))

    def steps(self, whole: np.ndarray, kind: pa.DataType) -> np.ndarray:
        """float64 ``k`` of ``whole_numbers`` of a type."""
        # Divided as integers: a distance beyond 2^53 would lose its last digits on the way to float64.
        distances = _distances(whole, self.origin, kind, self.step)
        k, rest = distances // self.step, distances % self.step
        return k.astype(np.float64) + rest.astype(np.float64) / self.step

    def to_arrow(self, k: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
        """Arrow array of ``dtype`` from float64 ``k``, rounded onto the lattice."""
        dtype = arrow_type(self.dtype)
        if self.decimals is None:
            return pa.array(k, type=pa.float64(), mask=missing).cast(dtype, safe=False)
        # Modulo 2^64, as neither a distance between moments nor uint64 need fit an int64.
        steps = np.rint(k).astype(np.int64).view(np.uint64) * np.uint64(self.step)
        whole = (steps + np.uint64(self.origin % 2**64)).view(np.int64)
        if self.decimals == 0:
            integers = pa.array(whole, type=pa.int64(), mask=missing)
            return _from_int64(integers, dtype)
        # The nearest float to whole / 10^d is the float that the decimal number was read as.
        return pa.array(whole / 10.0**self.decimals, type=pa.float64(), mask=missing).cast(dtype, safe=False)


class LatticeFit:
    """Finds a column's lattice from batches: the origin is the first value, the step the greatest common divisor."""

    def __init__(self, column: Column) -> None:
        self.column, self.origin, self.step, self.low, self.high = column, None, 0, 0, 0
        self.decimals = 0 if column.kind == "datetime" else column.decimals

    origin: int | None

    def update(self, array: pa.Array) -> np.ndarray:
        """(rows) float64 with NaN for missing: distances to the origin, in units of the last decimal place."""
        if self.decimals is None:
            return _float64(array)
        whole, missing = whole_numbers(array, self.decimals)
        present = whole[~missing]
        if len(present):
            if self.origin is None:
                self.origin = int(present[0])
            away = _distances(present, self.origin, array.type)
            self.step = math.gcd(self.step, int(np.gcd.reduce(away)))
            self.low, self.high = min(self.low, int(away.min())), max(self.high, int(away.max()))
        distances = _distances(whole, self.origin or 0, array.type)
        return np.where(missing, np.nan, distances.astype(np.float64))

    def merge(self, later: LatticeFit) -> int:
        """Add what ``later`` has seen; returns what its distances lack to count from this one's origin."""
        if later.origin is None:
            return 0
        if self.origin is None:
            self.origin = later.origin
        apart = later.origin - self.origin
        if self.column.kind != "datetime":  # uint64 wraps around in both, and here wraps back
            apart = (apart + 2**63) % 2**64 - 2**63
        self.step = math.gcd(self.step, later.step, apart)
        self.low, self.high = min(self.low, apart + later.low), max(self.high, apart + later.high)
        return apart

    def finish(self) -> Lattice:
        """Raises UserError for moments with more steps between them than a double tells apart."""
        # Beyond 2^53 ticks a distance is rounded before it is divided by the step: that costs two binary digits.
        furthest = max(self.high, -self.low)
        limit = EXACT if furthest < EXACT else EXACT // 4
        if furthest >= limit * max(self.step, 1):
            raise UserError(
                f"column '{self.column.name}' holds {self.column.dtype} moments that lie {furthest / self.step:.2g} "
                f"steps of their resolution apart, more than a model tells apart: write it in a coarser unit, or leave "
                f"it out with --exclude {self.column.name}."
            )
        return Lattice(dtype=self.column.dtype, decimals=self.decimals, origin=self.origin or 0, step=max(self.step, 1))


def _distances(whole: np.ndarray, origin: int, kind: pa.DataType, step: int = 1) -> np.ndarray:
    """``whole - origin`` in int64, or in Python's integers where moments lie further apart (or their step is larger):
    nanoseconds in 1677 and 2262 are 2^64 apart. Numbers never are, and uint64, which wraps around, wraps back."""
    if pa.types.is_temporal(kind) and len(whole):
        low, high = int(whole.min()) - origin, int(whole.max()) - origin
        if low <= -(2**63) or high >= 2**63 or step >= 2**63:
            return whole.astype(object) - origin
    return whole - origin


def whole_numbers(array: pa.Array, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 values · 10^decimals, boolean missing) of an Arrow array of numbers or dates; 0 where missing."""
    if pa.types.is_temporal(array.type):
        array = ticks(array)
    elif decimals or not pa.types.is_integer(array.type):
        floats = _float64(array)
        missing = np.isnan(floats)
        return np.rint(np.where(missing, 0, floats) * 10.0**decimals).astype(np.int64), missing
    missing = array.is_null().to_numpy(zero_copy_only=False)
    return array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64), missing


def ticks(array: pa.Array) -> pa.Array:
    """Dates and timestamps as int64: their units since 1970."""
    return (array.cast(pa.int32()) if pa.types.is_date32(array.type) else array).cast(pa.int64())


def _float64(array: pa.Array) -> np.ndarray:
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = pc.utf8_trim_whitespace(array)
    return pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)


def _from_int64(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if pa.types.is_date32(dtype):
        return array.cast(pa.int32()).cast(dtype)
    return array.cast(dtype, safe=False)
