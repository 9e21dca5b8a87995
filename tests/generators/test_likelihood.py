"""Likelihoods of cells and values against torch's own, and draws against the shares they are drawn from."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical as Weights
from torch.distributions import MixtureSameFamily, Normal

from synth.generators.base import Draw
from synth.generators.layout import Cell, Layout
from synth.generators.likelihood import NARROWEST, Categorical, draw_values, log_density

SIZES = [2, 20, 5]
CELLS = Categorical(Layout(cells=tuple(Cell(shares=(1 / n,) * n) for n in SIZES), values=0))


def test_entropy_is_torchs_cell_by_cell_wherever_the_logits_lie() -> None:
    logits = torch.randn(64, sum(SIZES))
    logits[:, 2:22] -= 300.0  # a whole cell far below the others of its row
    states = torch.stack([torch.randint(n, (64,)) for n in SIZES], 1)
    expected = [
        torch.nn.functional.cross_entropy(part, states[:, cell], reduction="none")
        for cell, part in enumerate(logits.split(SIZES, 1))
    ]
    torch.testing.assert_close(CELLS.entropy(logits, states), torch.stack(expected, 1), rtol=1e-4, atol=1e-4)


def test_states_are_drawn_in_their_shares() -> None:
    logits = torch.randn(sum(SIZES))
    drawn = CELLS.draw(logits.expand(50_000, -1), Draw(1).stratified(50_000, 3))
    for cell, part in enumerate(logits.split(SIZES)):
        shares = drawn[:, cell].bincount(minlength=SIZES[cell]) / len(drawn)
        torch.testing.assert_close(shares, part.softmax(0), rtol=0, atol=1e-4)  # stratified: 1/50,000 and rounding


@pytest.mark.parametrize("uniform", [2**-30, 0.5, 1 - 2**-24])
def test_a_state_without_a_chance_is_never_drawn(uniform: float) -> None:
    logits = torch.full((1, sum(SIZES)), -math.inf)
    known = torch.tensor([1, 7, 4])
    logits[0, known + CELLS.first] = torch.tensor([-50.0, 3.0, 0.0])
    assert CELLS.draw(logits, torch.full((1, 3), uniform)).tolist() == [known.tolist()]


def test_no_cells_have_no_states() -> None:
    none = Categorical(Layout(cells=(), values=1))
    assert none.entropy(torch.zeros(4, 0), torch.zeros(4, 0, dtype=torch.long)).shape == (4, 0)
    assert none.draw(torch.zeros(4, 0), torch.zeros(4, 0)).shape == (4, 0)


def test_density_is_torchs_and_integrates_to_one() -> None:
    mixture = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None].expand(-1, 2)
    weights, means, scales = mixture[0].unbind(1)
    theirs = MixtureSameFamily(
        Weights(logits=weights), Normal(means, NARROWEST + torch.nn.functional.softplus(scales))
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
