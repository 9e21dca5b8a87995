"""Vectors for combinations of cells, which are looked up as those of their states are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators.layout import Layout

CODE = 16  # numbers that tell the combinations of a table apart: so few that a vector is no place to keep rows in


class Crossed(nn.Module):
    """A vector (width) for each combination of the states of the cells of each of ``layout.crosses``, side by side, after one
    of zeros for what is hidden (``synth.data.crosses`` says what they are for). They are ``codes`` (combinations + 1, CODE)
    times one matrix."""

    cells: Tensor  # (K, most cells of a cross), the last one again and again where there are fewer
    strides: Tensor  # the same shape; 0 where a cell is there again
    first: Tensor  # (K) where each cross's vectors begin
    member: Tensor  # (C, K) boolean: which cells belong to which crosses

    def __init__(self, layout: Layout, width: int, deviation: float) -> None:
        super().__init__()
        sizes, most = layout.sizes, max(map(len, layout.crosses))
        cells, strides, first, count = [], [], [], 1
        member = torch.zeros(len(sizes), len(layout.crosses), dtype=torch.bool)
        for number, cross in enumerate(layout.crosses):
            combinations, stride = 1, []
            for cell in cross:
                stride.append(combinations)
                combinations *= sizes[cell]
            again = most - len(cross)
            cells.append([*cross, *[cross[-1]] * again])
            strides.append([*stride, *[0] * again])
            first.append(count)
            member[list(cross), number] = True
            count += combinations
        self.codes = nn.Parameter(F.pad(torch.randn(count - 1, CODE) / 2, (0, 0, 1, 0)))
        self.spread = nn.Parameter(torch.randn(CODE, width) * (2 * deviation / math.sqrt(CODE)))
        for name, numbers in (("cells", cells), ("strides", strides), ("first", first)):
            self.register_buffer(name, torch.tensor(numbers), persistent=False)
        self.register_buffer("member", member, persistent=False)

    def index(self, cells: Tensor, hidden: Tensor) -> Tensor:
        """(rows, K) which vector says what a row has in the ``cells`` (rows, C) of each cross; 0 where one is hidden."""
        found = self.first + (cells[:, self.cells] * self.strides).sum(2)
        return torch.where(hidden[:, self.cells].any(2), 0, found)

    def forward(self, cells: Tensor, hidden: Tensor) -> Tensor:
        """(rows, width) the sum of the vectors of all crosses."""
        return looked_up(self.index(cells, hidden), self.codes) @ self.spread

    def vectors(self) -> Tensor:
        """(combinations + 1, width)."""
        return self.codes @ self.spread


def looked_up(index: Tensor, vectors: Tensor) -> Tensor:
    """(rows, K) → (rows, width): the sum of these vectors, of which the first is nothing and stays so."""
    return F.embedding_bag(index, vectors, mode="sum", padding_idx=0)
