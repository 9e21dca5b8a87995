"""What is asked of rows that are to be drawn, in the terms of an encoded table."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Given(NamedTuple):
    """``states`` (rows, sum of sizes) boolean: which states of each cell, side by side, a row may take, at least one of
    each; ``low`` and ``high`` (rows, V) float32: between which numbers each of its values may lie.

    A cell with one state and a value with equal bounds are known; all states, and infinite bounds, leave them free. So
    equality, sets and ranges, classes in given shares and rows with gaps are all asked for in the same way.
    """

    states: Tensor
    low: Tensor
    high: Tensor
