"""The divergence, its schedule and the count of active units, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from synth.generators import latent


def test_divergence_is_that_of_torch_and_zero_at_the_prior() -> None:
    mean, log_variance = torch.randn(50, 3, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros_like(mean), 1.0))
    torch.testing.assert_close(latent.divergence(mean, log_variance), expected)
    assert not latent.divergence(torch.zeros(2, 2), torch.zeros(2, 2)).any()


def test_posterior_has_its_mean_and_variance_and_passes_gradients_to_both() -> None:
    mean, log_variance = torch.tensor([[1.5]], requires_grad=True), torch.tensor([[-1.0]], requires_grad=True)
    drawn = latent.posterior(mean, log_variance, torch.tensor([[2.0]]))
    torch.testing.assert_close(drawn.item(), 1.5 + 2 * torch.tensor(-0.5).exp().item())
    drawn.sum().backward()
    assert mean.grad is not None and mean.grad.item() == 1.0
    assert log_variance.grad is not None and log_variance.grad.item() == pytest.approx(torch.tensor(-0.5).exp().item())


def test_free_bits_charge_nothing_below_and_all_above() -> None:
    nats = torch.tensor([[0.1, 0.4], [2.0, 0.0]], requires_grad=True)
    charged = latent.free_bits(nats, 0.3)
    torch.testing.assert_close(charged, torch.tensor([0.7, 2.3]))
    charged.sum().backward()
    assert nats.grad is not None and nats.grad.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    torch.testing.assert_close(latent.free_bits(nats, 0.0), nats.sum(1))


def test_weight_rises_in_each_cycle_and_stays_at_one_after_the_last() -> None:
    weights = [latent.cyclical(step, period=10, cycles=2, rise=0.5) for step in range(30)]
    cycle = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert weights == pytest.approx(cycle * 2 + [1.0] * 10)
    assert latent.cyclical(0, period=10, cycles=0, rise=0.5) == 1.0


def test_active_units_are_those_whose_mean_depends_on_the_row() -> None:
    rows = torch.linspace(-1, 1, 1001)[:, None]  # variance 1/3
    means = torch.cat([rows, 0.1 * rows, torch.full_like(rows, 4.0), 0.2 * rows], 1)
    assert latent.active(means).tolist() == [True, False, False, True]


def test_collapse_is_named_and_health_is_not() -> None:
    assert latent.collapse(torch.tensor([True] * 3 + [False] * 13)) == [
        "3 of 16 latent units are active (Var E[z|x] > 0.01)"
    ]
    (said,) = latent.collapse(torch.zeros(16, dtype=torch.bool))
    assert said.startswith("posterior collapse: 0 of 16 latent units are active")
