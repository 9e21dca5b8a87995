"""Likelihoods of cells and values, and draws from them.

The states of all cells lie side by side, as in ``states``, so that nothing loops over cells of unequal size; values are
mixtures of Gaussians.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators.given import draw_states, log_mass_between, normal_between
from synth.generators.layout import Layout

NARROWEST = 0.01  # standard deviation of a component at least: rows that share one number would have any density


class Categorical(nn.Module):
    """The cells of a layout, each categorical, as logits side by side (rows, sum of sizes) tell it."""

    first: Tensor
    last: Tensor
    cell: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        sizes = torch.tensor(layout.sizes, dtype=torch.long)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("last", sizes.cumsum(0) - 1, persistent=False)
        self.register_buffer("cell", torch.arange(len(sizes)).repeat_interleave(sizes), persistent=False)

    def normaliser(self, logits: Tensor) -> Tensor:
        """(rows, C) log of the sum of each cell's exponentiated logits."""
        index = self.cell.expand(len(logits), -1)
        none = logits.new_full((len(logits), len(self.first)), -math.inf)
        top = none.scatter_reduce(1, index, logits.detach(), "amax")
        sums = torch.zeros_like(none).index_add(1, self.cell, (logits - top[:, self.cell]).exp())
        return top + sums.log()  # sums are 1 or more: the greatest state's

    def entropy(self, logits: Tensor, cells: Tensor) -> Tensor:
        """(rows, C) −log p in nats of the states ``cells`` (rows, C)."""
        return self.normaliser(logits) - logits.gather(1, cells + self.first)

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """(rows, C) int64 states by inverse transform sampling from ``uniform`` (rows, C) in (0, 1)."""
        return draw_states(logits, None, uniform, self.cell)


def _parameters(mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-weights, means and standard deviations, each (rows, V, K), of ``mixture`` (rows, V, 3, K)."""
    weights, means, scales = mixture.unbind(2)
    return weights.log_softmax(2), means, NARROWEST + F.softplus(scales)


def log_density(mixture: Tensor, values: Tensor) -> Tensor:
    """(rows, V) log-density in nats of ``values`` (rows, V), each a mixture of K Gaussians.

    ``mixture`` (rows, V, 3, K) holds logits of weights, means, and deviations before a softplus.
    """
    weights, means, deviations = _parameters(mixture)
    score = (values[:, :, None] - means) / deviations
    return (weights - score**2 / 2 - deviations.log()).logsumexp(2) - math.log(2 * math.pi) / 2


def draw_values(mixture: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """(rows, V) values: ``uniform`` (rows, V) in (0, 1) chooses each one's component, ``normal`` (rows, V) its place."""
    weights, means, deviations = _parameters(mixture)
    cumulated = weights.double().exp().cumsum(2)
    which = torch.searchsorted(cumulated, uniform[:, :, None] * cumulated[:, :, -1:], right=True)
    which = which.clamp_max(mixture.shape[3] - 1)
    return (means.gather(2, which) + deviations.gather(2, which) * normal[:, :, None])[:, :, 0]


def draw_between(mixture: Tensor, low: Tensor, high: Tensor, uniform: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, V) values within ``low`` … ``high`` (rows, V), which may be infinite, and the log of the mass that lies there.

    ``uniform`` (rows, V) in (0, 1) chooses a component by its mass between the bounds, ``place`` (rows, V) where in it.
    """
    weights, means, deviations = _parameters(mixture)
    left, right = (((bound[:, :, None] - means) / deviations) for bound in (low, high))
    inside = weights + log_mass_between(left, right)
    cumulated = inside.softmax(2).double().cumsum(2)
    which = torch.searchsorted(cumulated, uniform[:, :, None] * cumulated[:, :, -1:], right=True)
    which = which.clamp_max(mixture.shape[3] - 1)
    score = normal_between(left.gather(2, which), right.gather(2, which), place[:, :, None]).to(means.dtype)
    values = (means.gather(2, which) + deviations.gather(2, which) * score)[:, :, 0]
    return values.clamp(low, high), inside.logsumexp(2)
