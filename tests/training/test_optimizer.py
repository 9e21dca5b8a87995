"""The optimizer does not thin out the tails."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from synth.recipe import TrainingRecipe
from synth.training.engine import make_optimizer


class Rare(nn.Module):
    """A state that one row in ``every * rows`` has, drawn with the probability that a single logit says."""

    def __init__(self, every: int, rows: int) -> None:
        super().__init__()
        self.every, self.rows, self.share = every, rows, 1 / (every * rows)
        self.logit = nn.Parameter(torch.tensor([math.log(self.share)]))

    def loss(self, step: int) -> torch.Tensor:
        """Cross-entropy over a batch of ``rows``, in which the row is once in ``every`` steps."""
        there = (step % self.every == self.every - 1) / self.rows
        return ((1 - there) * F.softplus(self.logit) + there * F.softplus(-self.logit)).sum()


def test_a_state_that_comes_in_bursts_keeps_most_of_its_share() -> None:
    state, steps = Rare(every=150, rows=100), 6000
    recipe = TrainingRecipe(batch=100)
    optimizer = make_optimizer(state, recipe, 15_000)
    for step in range(steps):
        optimizer.param_groups[1]["lr"] = recipe.learning_rate * min(1.0, (steps - step) / (recipe.decay * steps))
        optimizer.zero_grad()
        state.loss(step).backward()
        optimizer.step()
    assert 0.78 < state.logit.sigmoid().item() / state.share < 1.05  # 0.69 where the second moment remembers 100 steps
