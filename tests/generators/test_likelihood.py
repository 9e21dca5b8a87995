"""The likelihood of values against torch's own, and draws against the density that they are drawn from."""

from __future__ import annotations

import math

import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from synth.generators.base import Draw
from synth.generators.likelihood import NARROWEST, draw_values, log_density


def test_density_is_torchs_and_integrates_to_one() -> None:
    mixture = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None].expand(-1, 2)
    weights, means, scales = mixture[0].unbind(1)
    theirs = MixtureSameFamily(
        Categorical(logits=weights), Normal(means, NARROWEST + torch.nn.functional.softplus(scales))
    ).log_prob(grid)
    ours = log_density(mixture.expand(len(grid), -1, -1, -1), grid)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.trapezoid(ours.exp(), grid, dim=0), torch.ones(2, dtype=torch.float64))


def test_values_are_drawn_from_their_density() -> None:
    mixture = torch.randn(1, 1, 3, 3)
    n = 100_000
    drawn = (
        draw_values(mixture.expand(n, -1, -1, -1), Draw(1).stratified(n, 1), Draw(2).normal(n, 1))[:, 0].sort().values
    )
    grid = torch.linspace(-30, 30, 60_001)
    density = log_density(mixture.expand(len(grid), -1, -1, -1), grid[:, None])[:, 0].exp()
    cumulated = torch.cumulative_trapezoid(density, grid)
    drawn_share = torch.searchsorted(drawn, grid[1:]) / n
    assert (cumulated - drawn_share).abs().max() < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov, one in a thousand
