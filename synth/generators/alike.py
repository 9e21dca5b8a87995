"""Rows of which the same is known are the same to a network: it needs to see only one of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synth.generators.partial import Partial

WORTH = 0.75  # distinct rows to all: beyond, telling them apart takes longer than it saves


@dataclass(frozen=True)
class Alike:
    """Rows whose cells are drawn one after the other. At first all are alike; then those that have the same state of the same
    cell, and so on, until hardly any two are. ``group`` (rows) says which are, and ``first`` (groups) has a row of each."""

    group: Tensor
    first: Tensor

    @classmethod
    def of(cls, partial: Partial) -> Alike | None:
        """All rows, where nothing is known of any; None where something is."""
        if not len(partial.hidden) or not bool(partial.hidden.all()) or bool(partial.shown.any()):
            return None
        group = partial.cells.new_zeros(len(partial.cells))
        return cls(group, group[:1])

    def after(self, cells: Tensor, states: Tensor) -> Alike | None:
        """When of each row the next of ``cells`` (rows) has one of ``states`` (rows); None when too few are alike."""
        code = (self.group * (int(cells.max()) + 1) + cells) * (int(states.max()) + 1) + states
        distinct, group = code.unique(return_inverse=True)
        if len(distinct) > WORTH * len(code):
            return None
        # Whichever row of a group it is: they are the same.
        first = group.new_empty(len(distinct)).scatter_(0, group, torch.arange(len(group), device=group.device))
        return Alike(group, first)
