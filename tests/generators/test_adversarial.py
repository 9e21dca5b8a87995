"""The objectives and penalties of two players, against closed forms."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from synth.family import Objective
from synth.generators.adversarial import between, critic_loss, generator_loss, judged, one_centred, zero_centred

REAL, FAKE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.0, 1.5, 0.5])


def log1pexp(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize("objective", get_args(Objective))
def test_losses_have_their_closed_forms_row_by_row(objective: Objective) -> None:
    pairs = list(zip(REAL.tolist(), FAKE.tolist(), strict=True))
    critic, generator = {
        "relativistic": ([log1pexp(f - r) for r, f in pairs], [log1pexp(r - f) for r, f in pairs]),
        "non-saturating": ([log1pexp(-r) + log1pexp(f) for r, f in pairs], [log1pexp(-f) for _, f in pairs]),
        "wasserstein": ([f - r for r, f in pairs], [-f for _, f in pairs]),
    }[objective]
    assert critic_loss(objective, REAL, FAKE).tolist() == pytest.approx(critic)
    assert generator_loss(objective, REAL, FAKE).tolist() == pytest.approx(generator)


@pytest.mark.parametrize("objective", get_args(Objective))
def test_the_players_pull_a_score_in_opposite_directions(objective: Objective) -> None:
    fake = FAKE.clone().requires_grad_()
    (of_critic,) = torch.autograd.grad(critic_loss(objective, REAL, fake).sum(), fake)
    (of_generator,) = torch.autograd.grad(generator_loss(objective, REAL, fake).sum(), fake)
    assert (of_critic > 0).all() and (of_generator < 0).all()


def test_the_penalties_of_a_linear_critic_depend_on_its_slope_alone() -> None:
    slope = torch.tensor([3.0, -4.0], requires_grad=True)
    rows = torch.randn(5, 2)
    scores, squared = judged(lambda x: x @ slope, rows)
    assert torch.equal(scores, rows @ slope) and squared.tolist() == pytest.approx([25.0] * 5)
    assert zero_centred(squared, 0.2).tolist() == pytest.approx([2.5] * 5)
    assert one_centred(squared, 10.0).tolist() == pytest.approx([160.0] * 5)
    zero_centred(squared, 1.0).mean().backward()
    assert slope.grad is not None and slope.grad.tolist() == pytest.approx([3.0, -4.0])  # ∇ ‖w‖²/2 = w


def test_a_quadratic_critic_is_penalised_where_each_row_lies_whatever_its_shape() -> None:
    scale = torch.tensor(1.5, requires_grad=True)

    def critic(x: Tensor) -> Tensor:
        return scale * x.square().flatten(1).sum(1) / 2  # its gradient is scale · x

    rows = torch.randn(6, 2, 3, 3)
    _, squared = judged(critic, rows)
    expected = 2.25 * rows.square().flatten(1).sum(1)
    torch.testing.assert_close(squared.detach(), expected)
    (slope,) = torch.autograd.grad(squared.sum(), scale)
    assert float(slope) == pytest.approx(float(2 * 1.5 * rows.square().sum()), rel=1e-5)


def test_a_flat_critic_has_finite_gradients_of_its_one_centred_penalty() -> None:
    slope = torch.zeros(2, requires_grad=True)
    one_centred(judged(lambda x: x @ slope, torch.randn(3, 2))[1], 1.0).sum().backward()
    assert slope.grad is not None and slope.grad.isfinite().all()


def test_points_between_lie_on_the_lines() -> None:
    real, fake = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    assert torch.equal(between(real, fake, torch.zeros(4, 1)), fake)
    torch.testing.assert_close(between(real, fake, torch.ones(4, 1)), real)
    share = torch.tensor([[0.0], [1.0], [0.5], [0.25]])
    found = between(real, fake, share)
    torch.testing.assert_close(found[2], (real[2] + fake[2]) / 2)
    torch.testing.assert_close(found[3], 0.25 * real[3] + 0.75 * fake[3])
