"""Encoded rows for the loop, found by step: no state to save, nothing to replay after a resume.

The rows of all workers form one endless sequence, each epoch a new permutation of the table; step *s* takes the next
``batch`` of it, and worker *r* of *w* every w-th of those. So each row is seen once an epoch, whatever the number of
workers, and the order continues exactly where a checkpoint left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from synth.generators.base import Draw
from synth.generators.layout import Encoded

Pools = Sequence[tuple[float, Sequence[Encoded]]]
"""Encoded batches of each kind of rows, after the kind's share of every batch; the shares add up to 1."""


@dataclass(frozen=True)
class Share:
    """Which rows of a run's batches are a worker's, and where it wants them."""

    seed: int
    batch: int
    accumulate: int
    rank: int
    world: int
    device: torch.device

    @property
    def mine(self) -> slice:
        """Of the rows of a micro-batch."""
        return slice(self.rank, None, self.world)

    def positions(self, step: int, micro: slice) -> np.ndarray:
        """int64 (rows,): where the worker's rows of a micro-batch of step ``step`` stand in the endless sequence."""
        return np.arange(step * self.batch, (step + 1) * self.batch)[micro][self.mine]


class Feed:
    """Holds a worker's copy of the encoded table on its device and hands out its part of each step's batch.

    ``parts`` are encoded batches: cells (rows, C) int32 and values (rows, V) float32.
    """

    def __init__(self, parts: Sequence[Encoded], share: Share) -> None:
        self.cells = torch.from_numpy(np.concatenate([p.cells for p in parts])).to(share.device)
        self.values = torch.from_numpy(np.concatenate([p.values for p in parts])).to(share.device)
        self.rows, self.share = len(self.cells), share
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int, micro: slice) -> Encoded:
        """This worker's rows of the ``micro`` slice of the batch of step ``step`` (from 0)."""
        return self.at(self.share.positions(step, micro))

    def at(self, positions: np.ndarray) -> Encoded:
        """Rows by where they stand in the endless sequence, int64 (rows,)."""
        position = torch.from_numpy(positions)
        epochs = position // self.rows
        parts = [self._permutation(e)[position[epochs == e] % self.rows] for e in epochs.unique().tolist()]
        index = torch.cat([torch.empty(0, dtype=torch.long), *parts]).to(self.share.device)
        return Encoded(self.cells[index].long(), self.values[index])

    def _permutation(self, epoch: int) -> torch.Tensor:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, Draw(self.share.seed, "epoch", epoch).permutation(self.rows)
        return self._order


class Mixed:
    """Rows of two kinds, the ``first`` of which makes up the share ``weight`` of every batch, to a row.

    Position p is the first's where ⌊(p + 1) w⌋ > ⌊p w⌋, and then its ⌊p w⌋-th; so each kind goes through epochs of its own,
    and both are found by step. ``rows`` are those after which the kind that comes round first has been gone through.
    """

    def __init__(self, first: Feed, second: Feed | Mixed, weight: float, share: Share) -> None:
        assert 0 < weight < 1, weight
        self.first, self.second, self.weight, self.share = first, second, weight, share
        self.rows: int = max(1, round(min(first.rows / weight, second.rows / (1 - weight))))

    def __call__(self, step: int, micro: slice) -> Encoded:
        """As a feed's."""
        return self.at(self.share.positions(step, micro))

    def at(self, positions: np.ndarray) -> Encoded:
        """As a feed's."""
        before = np.floor(positions * self.weight).astype(np.int64)
        own = np.floor((positions + 1) * self.weight).astype(np.int64) > before
        parts = [self.first.at(before[own]), self.second.at((positions - before)[~own])]
        order = torch.from_numpy(np.argsort(np.argsort(~own, kind="stable"))).to(self.share.device)
        return Encoded(torch.cat([p.cells for p in parts])[order], torch.cat([p.values for p in parts])[order])


def mixed(pools: Pools, share: Share) -> Feed | Mixed:
    """A feed of one kind of rows or of several."""
    (weight, parts), *rest = pools
    feed = Feed(parts, share)
    if not rest:
        return feed
    return Mixed(feed, mixed([(other / (1 - weight), rows) for other, rows in rest], share), weight, share)
