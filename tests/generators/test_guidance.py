"""Discriminator guidance: with a known ratio it does what the closed form says, and a learnt ratio is the right one."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import pytest
import torch
from torch import Tensor

from synth.generators.base import Draw
from synth.generators.given import Given
from synth.generators.layout import Cell, Encoded, Layout
from synth.generators.table_diffusion import CANDIDATES, TableDiffusion

COIN = Cell(shares=(0.5, 0.5))
MIXED = Layout(cells=(COIN, Cell(shares=(0.2, 0.3, 0.5))), values=2)
NUMBER, COINS = Layout(cells=(), values=1), Layout(cells=(COIN, COIN), values=0)


def untrained(layout: Layout, guidance: float) -> TableDiffusion:
    """A model of independent variables: cells by their shares, values standard normal."""
    torch.manual_seed(0)
    return TableDiffusion(
        layout, width=64, blocks=2, expansion=2, cell_share=0.5, target_share=0.25, target_shown=0.25, evidence=0.25,
        sigma_mean=-0.8, sigma_deviation=1.4, dropout=0.0, steps=24, guidance=guidance,
    )  # fmt: skip


def free(layout: Layout, rows: int) -> Given:
    bound = torch.full((rows, layout.values), torch.inf)
    return Given(torch.ones(rows, sum(layout.sizes)), -bound, bound)


def learn(model: TableDiffusion, real: Encoded, own: Encoded, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.discriminator.parameters(), lr=3e-3)
    for step in range(steps):
        optimizer.zero_grad()
        model.discrimination(real, own, Draw("learn", step)).backward()
        optimizer.step()


def test_the_denoiser_is_the_same_with_a_discriminator_beside_it() -> None:
    plain, guided = (untrained(MIXED, weight).state_dict() for weight in (0.0, 1.0))
    assert {n.partition(".")[0] for n in plain} == {"denoiser"}
    assert all(torch.equal(plain[n], guided[n]) for n in plain)


def test_a_constant_ratio_changes_nothing() -> None:
    model = untrained(MIXED, 1.5)
    drawn, given = model.sample(200, Draw(1)), free(MIXED, 200)
    given.states[:, 1:3] = 0
    model.discriminator.ratio.bias.data += 5
    again = model.sample(200, Draw(1))
    assert torch.equal(drawn.cells, again.cells)
    torch.testing.assert_close(drawn.values, again.values)
    chances = model.log_chances(Draw(2), given)
    torch.testing.assert_close(chances, untrained(MIXED, 0.0).log_chances(Draw(2), given))


def shift(x: Tensor, sigma: Tensor) -> Tensor:
    """log N(x; 0.8, 1 + σ²) − log N(x; 0, 1 + σ²)."""
    return (0.8 * x - 0.32) / (1 + sigma**2)


def spread(x: Tensor, sigma: Tensor) -> Tensor:
    """log N(x; 0, 0.25 + σ²) − log N(x; 0, 1 + σ²), but for a constant."""
    return x**2 / 2 * (1 / (1 + sigma**2) - 1 / (0.25 + sigma**2))


@pytest.mark.parametrize(
    ("ratio", "weight", "mean", "deviation"), [(shift, 1.0, 0.8, 1.0), (shift, 0.5, 0.4, 1.0), (spread, 1.0, 0.0, 0.5)]
)
def test_values_follow_a_known_ratio_to_the_distribution_that_it_is_of(
    ratio: Callable[[Tensor, Tensor], Tensor], weight: float, mean: float, deviation: float
) -> None:
    model = untrained(NUMBER, weight)
    model.discriminator.of_values = lambda cells, noisy, sigma, evidence=None: ratio(noisy, sigma)[:, 0]
    drawn = model.sample(4000, Draw(3)).values
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.03)
    assert float(drawn.std()) == pytest.approx(deviation, abs=0.03)


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_cells_are_reweighted_by_a_known_ratio(weight: float) -> None:
    model, ratio = untrained(COINS, weight), torch.tensor([1.0, 3.0])
    model.discriminator.of_cells = lambda cells, evidence=None: ratio[cells[:, 0]].log()
    drawn = model.sample(6000, Draw(4)).cells.float().mean(0)
    odds = 3**weight  # of a 1 against a 0, among 8 candidates of which some are 1
    expected = sum(comb(CANDIDATES, k) * odds * k / (odds * k + CANDIDATES - k) for k in range(CANDIDATES + 1)) / 256
    assert float(drawn[0]) == pytest.approx(expected, abs=0.02)
    assert float(drawn[1]) == pytest.approx(0.5, abs=0.02)
    given = free(COINS, 2000)
    given.states[:, 0] = 0
    chance = model.log_chances(Draw(5), given).exp()
    assert float(chance.mean()) == pytest.approx(odds / (odds + 1), abs=0.02)


def test_what_is_asked_of_guided_rows_is_granted() -> None:
    model = untrained(MIXED, 1.0)
    for parameter in model.discriminator.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    given = free(MIXED, 300)
    given.states[:100, 0], given.states[100:200, 2:4] = 0, 0
    given.low[200:, 0], given.low[:100, 1], given.high[:100, 1] = 0.7, 0.25, 0.25
    drawn = model.sample(300, Draw(6), given)
    assert bool((drawn.cells[:100, 0] == 1).all()) and bool((drawn.cells[100:200, 1] == 2).all())
    assert bool((drawn.values[200:, 0] >= 0.7).all()) and bool((drawn.values[:100, 1] == 0.25).all())
    again = model.sample(300, Draw(6), given)
    assert torch.equal(drawn.cells, again.cells) and torch.equal(drawn.values, again.values)


def test_a_learnt_ratio_of_cells_restores_their_dependence() -> None:
    model, coin = untrained(COINS, 1.0), (Draw("coin").uniform(1000, 1) < 0.5).long()
    own = Encoded((Draw("own").uniform(1000, 2) < 0.5).long(), torch.zeros(1000, 0))
    learn(model, Encoded(coin.expand(-1, 2), torch.zeros(1000, 0)), own, 60)
    drawn = model.sample(1000, Draw(7)).cells
    assert (
        float((drawn[:, 0] == drawn[:, 1]).float().mean()) > 0.97
    )  # a half before; of 8 pairs one has 1 in 256 unequal
    assert float(drawn[:, 0].float().mean()) == pytest.approx(0.5, abs=0.06)


def test_a_learnt_ratio_of_values_is_the_true_one_at_each_noise_level() -> None:
    model, none = untrained(NUMBER, 1.0), torch.zeros(4000, 0, dtype=torch.long)
    real, own = 0.8 + Draw("real").normal(4000, 1), Draw("own").normal(4000, 1)
    learn(model, Encoded(none, real), Encoded(none, own), 80)
    for sigma in (0.3, 1.0, 3.0, 30.0):
        noisy = torch.linspace(-1, 1.8, 50)[:, None] * (1 + sigma**2) ** 0.5
        shift = model.discriminator.shift(none[:50], noisy, sigma)
        assert float(shift.mean()) == pytest.approx(0.8 * sigma**2 / (1 + sigma**2), abs=0.2)
    drawn = model.sample(2000, Draw(8)).values
    assert float(drawn.mean()) == pytest.approx(0.8, abs=0.15) and float(drawn.std()) == pytest.approx(1, abs=0.15)
