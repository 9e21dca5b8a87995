"""What an encoded table looks like to a generator: cells and values.

A *cell* is a discrete variable with a fixed number of states (a category, a digit of a large vocabulary, an ordered
number with few distinct values, "which point mass, or in between"). A *value* is a continuous variable, standardised to
about zero mean and unit variance. The codec decides which column becomes what; a generator sees nothing else.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict


class Encoded(NamedTuple):
    """Encoded rows: ``cells`` (rows, C) integer states, ``values`` (rows, V) floating point; NumPy arrays or tensors."""

    cells: Any
    values: Any


class Cell(BaseModel):
    """A discrete variable.

    ``shares[s]`` is the share of training rows in state *s*. The first ``ordered`` states are numbers in increasing
    order, so that neighbours may learn from each other (0: the states have no order).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shares: tuple[float, ...]
    ordered: int = 0


class Normal(BaseModel):
    """A value that is standard normal among the training rows: among all, or among those of which ``cell`` has one of the
    ``states``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: int
    cell: int | None = None
    states: tuple[int, ...] = ()


class Layout(BaseModel):
    """Shape of an encoded table: its cells, the number of its continuous ``values``, and which cell (if any) is the
    ``target`` that downstream models will predict, a class; ``last`` is the cell of a target that is a number. ``normal``
    says of which values the distribution is known, ``crosses`` of which cells the combinations say what the cells one by one
    do not.

    Of images, of (channels, height, width) ``image``, the values are the pixels in that order, whole numbers 0 … 255, and
    the only cell, if any, is the class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: tuple[Cell, ...]
    values: int
    target: int | None = None
    last: int | None = None
    normal: tuple[Normal, ...] = ()
    crosses: tuple[tuple[int, ...], ...] = ()
    image: tuple[int, int, int] | None = None

    @property
    def dtype(self) -> str:
        """In which values are held and stored, as NumPy names it."""
        return "float32" if self.image is None else "uint8"

    @property
    def sizes(self) -> list[int]:
        """Number of states of each cell."""
        return [len(c.shares) for c in self.cells]

    @property
    def starts(self) -> list[int]:
        """Where the states of each cell begin, if those of all lie side by side."""
        return list(itertools.accumulate(self.sizes, initial=0))[:-1]

    @property
    def ranks(self) -> list[int]:
        """When each cell is drawn, those of one rank in any order: 0 those of crosses, since what these say is known to all
        others then; 2 the target, which follows from all others then, as downstream models have it."""
        early = {cell for cross in self.crosses for cell in cross}
        late = {self.target, self.last}
        return [0 if cell in early else 2 if cell in late else 1 for cell in range(len(self.cells))]
