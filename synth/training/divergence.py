"""When a run has diverged, and how often and how much more slowly it is tried again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from synth.training.shards import Fragment

EXPLODED = 10.0  # times the first loss, that of a network which knows nothing
SLOWER = 1 / 3  # of the learning rate, at each return to a checkpoint
RETURNS = 2


@dataclass
class Divergence:
    """What a run remembers from one pulse to the next, and in its checkpoints.

    ``first`` is the size of the first loss, None before it; ``returns`` counts the returns to an earlier checkpoint.
    """

    first: float | None = None
    returns: int = 0

    def seen(self, loss: float, *, relative: bool = False) -> bool:
        """Whether ``loss``, a mean over some steps, is no longer that of a run which learns. One that is ``relative`` to
        other networks may be of any size."""
        if not math.isfinite(loss):
            return True
        if self.first is None:
            self.first = abs(loss)
        return not relative and loss > EXPLODED * self.first

    def describe(self, step: int, loss: float) -> str:
        before = "" if self.first is None else f", {self.first:.4g} at first,"
        return f"step {step}: the loss{before} was {loss:.4g}"

    @property
    def share(self) -> float:
        """Of the recipe's learning rate."""
        return SLOWER**self.returns

    @property
    def exhausted(self) -> bool:
        return self.returns >= RETURNS


def finite(owned: Mapping[str, Sequence[Fragment]]) -> bool:
    """Whether a rank's weights are numbers, which the loss of the step that made them cannot tell."""
    sums = [fragment.weight.sum() for mine in owned.values() for fragment in mine]
    return not sums or bool(torch.stack(sums).isfinite().all())
