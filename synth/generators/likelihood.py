"""The likelihood of values, which are mixtures of Gaussians, and draws from them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from synth.generators.given import log_mass_between, normal_between

NARROWEST = 0.01  # standard deviation of a component at least: rows that share one number would have any density


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
