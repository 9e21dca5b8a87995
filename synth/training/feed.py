"""Encoded rows for the loop, found by step: no state to save, nothing to replay after a resume.

The rows of all workers form one endless sequence, each epoch a new permutation of the table; step *s* takes the next
``batch`` of it, and worker *r* of *w* every w-th of those. So each row is seen once an epoch, whatever the number of
workers, and the order continues exactly where a checkpoint left it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from synth.generators.base import Draw
from synth.generators.layout import Encoded


class Feed:
    """Holds a worker's copy of the encoded table on ``device`` and hands out its part of each step's batch.

    ``parts`` are encoded batches: cells (rows, C) int32 and values (rows, V) float32.
    """

    def __init__(
        self, parts: Sequence[Encoded], *, seed: int, batch: int, rank: int, world: int, device: torch.device
    ) -> None:
        self.cells = torch.from_numpy(np.concatenate([p.cells for p in parts])).to(device)
        self.values = torch.from_numpy(np.concatenate([p.values for p in parts])).to(device)
        self.rows, self.batch, self.seed, self.device = len(self.cells), batch, seed, device
        self.mine = slice(rank, None, world)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int, micro: slice) -> Encoded:
        """This worker's rows of the ``micro`` slice of the batch of step ``step`` (from 0)."""
        position = torch.arange(step * self.batch, (step + 1) * self.batch)[micro][self.mine]
        epochs = position // self.rows
        index = torch.cat([self._permutation(e)[position[epochs == e] % self.rows] for e in epochs.unique().tolist()])
        index = index.to(self.device)
        return Encoded(self.cells[index].long(), self.values[index])

    def _permutation(self, epoch: int) -> torch.Tensor:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, Draw(self.seed, "epoch", epoch).permutation(self.rows)
        return self._order
