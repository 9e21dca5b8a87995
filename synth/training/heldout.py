"""How high a model's loss is on real rows that it does not learn from, and how sure that is.

The rows lie in BLOCKS blocks, each with noise of its own that is the same at every look: so looks are compared block by
block, and what rows and noise do by chance falls out of the difference of two of them, as far as both have it in common.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import torch

from synth.generators.base import Draw, Generator
from synth.generators.layout import Encoded

BLOCKS = 20  # the fewest of which a standard error is known well enough
LEAST, MOST = 2, 100  # rows of a block
DRAWS = 16  # most of the noise of a block
LATE = sys.maxsize  # the optimizer step of the loss: what sets in with the steps is there from the first look on


@dataclass
class Size:
    """``rows`` of a block, and how many ``draws`` of noise its loss is the mean of."""

    rows: int
    draws: int


class HeldOut:
    """Encoded ``rows`` (arrays), at least LEAST · BLOCKS, of which ``most`` fit onto the device at once."""

    def __init__(self, rows: Encoded, seed: int, device: torch.device, most: int, size: Size | None = None) -> None:
        """``size`` is what an earlier start has found."""
        self.seed, self.device, self.size = seed, device, size
        self.order = Draw(seed, "held out").permutation(len(rows.cells))
        self.cells, self.values = (torch.as_tensor(part) for part in rows)
        self.most = min(len(self.order) // BLOCKS, MOST, max(most, LEAST))

    @torch.no_grad()
    def look(self, generator: Generator, seconds: float) -> list[float]:
        """The mean loss of each block. The first look decides how much of it there is, by the ``seconds`` that one may take."""
        if self.size is None:
            self.size = self._affordable(generator, seconds)
        sums = [self._losses(generator, self.size.rows, draw) for draw in range(self.size.draws)]
        return [sum(losses) / self.size.draws for losses in zip(*sums, strict=True)]

    def _affordable(self, generator: Generator, seconds: float) -> Size:
        self._loss(generator, self.most, 0, 0)  # the first is slow
        began = time.monotonic()
        self._losses(generator, self.most, 0)
        fits = seconds / (time.monotonic() - began)
        return Size(max(int(min(fits, 1.0) * self.most), LEAST), min(max(int(fits), 1), DRAWS))

    def _losses(self, generator: Generator, rows: int, draw: int) -> list[float]:
        return torch.stack([self._loss(generator, rows, block, draw) for block in range(BLOCKS)]).tolist()

    def _loss(self, generator: Generator, rows: int, block: int, draw: int) -> torch.Tensor:
        index = self.order[block * self.most :][:rows]
        batch = Encoded(self.cells[index].long().to(self.device), self.values[index].to(self.device))
        noise = Draw(self.seed, "held out", draw, block, device=self.device)
        return torch.stack([loss for _, loss in generator.losses(generator.players, batch, noise, LATE)]).sum().double()
