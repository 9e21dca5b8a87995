"""What a refinement starts from, and what it offers: the contract between a cure and what tries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from synth.generators.base import Draw
from synth.generators.layout import Encoded
from synth.recipe import Recipe, TrainingRecipe
from synth.release import Release
from synth.sampling import BLOCK, Sampler
from synth.training.prepare import Prepared
from synth.training.selected import Measured
from synth.training.workers import Progress

OWN = 20_000  # most rows of the release to learn from


@dataclass(frozen=True)
class Ground:
    """A ``parent`` release, its ``recipe``, the ``table`` that it has learnt, and its sampler as it is, ``plain``."""

    parent: Release
    recipe: Recipe
    table: Prepared
    plain: Sampler

    def real(self) -> Encoded:
        """The training rows, arrays."""
        assert isinstance(self.table.encoded, list), "prepared without a store"
        return Encoded(*(np.concatenate(parts) for parts in zip(*self.table.encoded, strict=True)))


@dataclass(frozen=True)
class Offer:
    """A generator that may be better: how messages ``name`` it, its recipe and its weights."""

    name: str
    recipe: Recipe
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class Offers:
    """All of them, the optimizer ``steps`` and the ``seconds`` that they took, and in words what makes them (``by``) and what
    the release as it is would be among them (``plain``)."""

    found: Sequence[Offer]
    steps: int
    seconds: float
    by: str
    plain: str = "weight 0"


class Cure(Protocol):
    """A way to better a release. ``useful``: whether it is judged by what models learn from its samples, and then has a look at
    the confirm rows, too."""

    useful: bool

    def check(self, parent: Release, recipe: Recipe) -> None:
        """UserError for a release that it is no cure of, with what to do instead."""
        ...

    def offers(self, ground: Ground, length: TrainingRecipe, progress: Progress) -> Offers:
        """What it has to offer after learning for as long as ``length`` says."""
        ...

    def improves(self, before: Measured, after: Measured) -> bool:
        """Whether an offer is better than the release as it is, on the same rows."""
        ...

    def rank(self, after: Measured) -> float:
        """The less, the better the offer."""
        ...


def own_rows(plain: Sampler, rows: int, seed: int, progress: Progress) -> Encoded:
    """Rows of the release, arrays, from noise of their own: none that anybody gets for a seed."""
    parts = []
    for block in range(-(-rows // BLOCK)):
        parts.append(plain.draw(BLOCK, Draw("refine", "own", seed, block, device=plain.device)))
        progress("drawing the release's rows", min((block + 1) * BLOCK / rows, 1.0), {})
    return Encoded(*(np.concatenate(arrays)[:rows] for arrays in zip(*parts, strict=True)))


def some(rows: Encoded, number: int, draw: Draw) -> Encoded:
    """So many of them, drawn with replacement."""
    chosen = (draw.uniform(number, 1)[:, 0] * len(rows.cells)).long().clamp_max(len(rows.cells) - 1)  # rounded up
    return Encoded(rows.cells[chosen], rows.values[chosen])


def tensors(rows: Encoded, device: torch.device | str) -> Encoded:
    """Of arrays."""
    return Encoded(
        torch.from_numpy(np.ascontiguousarray(rows.cells)).long().to(device),
        torch.from_numpy(np.ascontiguousarray(rows.values)).float().to(device),
    )
