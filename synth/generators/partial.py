"""Rows of which a sampler knows a part: what is drawn or given, and what is still to come."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synth.generators.layout import Layout


@dataclass
class Partial:
    """Rows on the way: their ``cells`` (rows, C), which of them are ``hidden`` still; their ``values`` (rows, V), and
    which of them are known and ``shown``."""

    cells: Tensor
    hidden: Tensor
    values: Tensor
    shown: Tensor

    @classmethod
    def blank(cls, layout: Layout, rows: int, device: torch.device) -> Partial:
        cells = torch.zeros(rows, len(layout.cells), dtype=torch.long, device=device)
        values = torch.zeros(rows, layout.values, device=device)
        return cls(cells, torch.ones_like(cells, dtype=torch.bool), values, torch.zeros_like(values, dtype=torch.bool))

    def take(self, rows: Tensor) -> Partial:
        return Partial(self.cells[rows], self.hidden[rows], self.values[rows], self.shown[rows])

    def put(self, rows: Tensor, other: Partial) -> None:
        for name in ("cells", "hidden", "values", "shown"):
            getattr(self, name)[rows] = getattr(other, name)

    def without(self, cell: int) -> Partial:
        """The same with a cell hidden."""
        hidden = self.hidden.clone()
        hidden[:, cell] = True
        return replace(self, hidden=hidden)

    def evidence(self) -> Tensor | None:
        """What the network is shown of the values, None where it is nothing."""
        return torch.cat([self.values * self.shown, self.shown], 1) if bool(self.shown.any()) else None
