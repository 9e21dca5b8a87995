"""What a refinement starts from, and what it offers: the contract between a cure and what tries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from synth.evaluation.frame import MAX_CELLS
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

    def own(self, progress: Progress) -> Encoded:
        """Rows of the release, arrays, from noise of their own: none that anybody gets for a seed. As many as it has learnt
        from, up to OWN, less what breaks a constraint, which nobody gets either."""
        codec, parts, kept = self.plain.codec, list[Encoded](), 0
        rows = min(self.table.rows["train"], OWN, MAX_CELLS // max(len(self.table.schema.names), 1))
        for block in range(-(-rows // BLOCK)):
            drawn = self.plain.draw(BLOCK, Draw("refine", "own", self.recipe.seed, block, device=self.plain.device))
            if codec.reduction.constraints:
                marks = [*codec.reduction.broken(codec.decode(drawn)).values()]
                drawn = Encoded(*(part[~np.logical_or.reduce(marks)] for part in drawn))
            parts.append(drawn)
            kept += len(drawn.cells)
            progress("drawing the release's rows", min((block + 1) * BLOCK / rows, 1.0), {})
        return Encoded(*(np.concatenate(arrays)[:rows] for arrays in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Offer:
    """A generator that may be better: how messages ``name`` it, its recipe and its weights, and the optimizer ``steps`` and
    ``seconds`` that it took."""

    name: str
    recipe: Recipe
    weights: Mapping[str, Tensor]
    steps: int
    seconds: float


@dataclass(frozen=True)
class Offers:
    """All of them; in words what makes them (``by``) and what the release as it is would be among them (``plain``); and the
    share of ``real`` rows among those that they learnt to be like, None of those that learnt to be like none."""

    found: Sequence[Offer]
    by: str
    plain: str = "weight 0"
    real: float | None = None


class Cure(Protocol):
    """A way to better a release, by its ``name``. ``useful``: whether it is judged by what models learn from its samples;
    ``recall``: whether this may not fall, beside coverage."""

    name: str
    useful: bool
    recall: bool

    def check(self, parent: Release, recipe: Recipe) -> None:
        """UserError for a release that it is no cure of, with what to do instead."""
        ...

    def offers(self, ground: Ground, length: TrainingRecipe, progress: Progress) -> Offers:
        """What it has to offer after learning for as long as ``length`` says."""
        ...

    def rank(self, after: Measured) -> float:
        """The less, the better the offer."""
        ...


class Realism:
    """Of a cure that has samples harder to tell from real rows."""

    useful, recall = False, False

    def rank(self, after: Measured) -> float:
        """See ``Cure``."""
        return after.c2st.value


class Usefulness:
    """Of a cure that has models learn more from samples."""

    useful, recall = True, False

    def rank(self, after: Measured) -> float:
        """See ``Cure``."""
        assert after.utility is not None
        return -after.utility.relative.value


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
