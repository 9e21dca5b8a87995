"""EDM's identities, and the sampler against the closed form for normal data."""

from __future__ import annotations

import itertools

import pytest
import torch

from synth.generators import noise


def test_target_and_denoised_are_inverse() -> None:
    clean, z = torch.randn(64, 3, generator=torch.manual_seed(0)), torch.randn(64, 3)
    sigma = noise.training_sigma(torch.randn(64, 1), -0.8, 1.4)
    noisy = clean + sigma * z
    torch.testing.assert_close(
        noise.denoised(noise.target(clean, noisy, sigma), noisy, sigma), clean, atol=1e-4, rtol=1e-4
    )


def test_inputs_and_targets_have_unit_variance_at_every_level() -> None:
    clean, z = torch.randn(200_000, 1, generator=torch.manual_seed(0)), torch.randn(200_000, 1)
    for level in (0.01, 0.5, 1.0, 20.0):
        sigma = torch.full_like(clean, level)
        noisy = clean + sigma * z
        assert abs(noise.scaled_input(noisy, sigma).std() - 1) < 0.01
        assert abs(noise.target(clean, noisy, sigma).std() - 1) < 0.01


def test_schedule_falls_from_the_top_to_zero() -> None:
    levels = noise.schedule(18)
    assert len(levels) == 19 and abs(levels[0] - noise.SIGMA_MAX) < 1e-9 and levels[-1] == 0
    assert abs(levels[-2] - noise.SIGMA_MIN) < 1e-9
    assert all(a > b for a, b in itertools.pairwise(levels))


def test_heun_reaches_the_normal_distribution_of_the_data() -> None:
    # For data N(m, s²) the ideal denoiser is known: D = m + s²/(s² + sigma²) (x − m).
    mean, deviation = 0.7, 0.5

    def ideal(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return mean + deviation**2 / (deviation**2 + sigma**2) * (x - mean)

    start = noise.SIGMA_MAX * torch.randn(100_000, 1, generator=torch.manual_seed(0))
    drawn = noise.heun(ideal, start, 32)
    assert abs(drawn.mean() - mean) < 0.01 and abs(drawn.std() - deviation) < 0.01


@pytest.mark.parametrize("deviation", [0.05, 0.1, 0.2, 0.5, 1.0])
def test_ten_evaluations_do_for_normal_data_of_any_width(deviation: float) -> None:
    """Of the many values of a row, each may follow from the others as closely as it likes."""

    def ideal(x: torch.Tensor, sigma: float) -> torch.Tensor:
        asked.append(sigma)
        return mean + deviation**2 / (deviation**2 + sigma**2) * (x - mean)

    asked: list[float] = []
    mean = (1 - deviation**2) ** 0.5
    start = noise.SIGMA_MAX * torch.randn(100_000, 1, generator=torch.manual_seed(0))
    drawn = noise.multistep(ideal, start, 10)
    assert len(asked) == 10 and asked == noise.levels(10)
    assert abs(drawn.mean() - mean) < 0.01 and abs(drawn.std() / deviation - 1) < 0.05


def test_more_evaluations_come_closer_to_the_flow() -> None:
    """Of two points at ±1, on the way of which a row makes up its mind."""

    def ideal(x: torch.Tensor, sigma: float) -> torch.Tensor:
        far = 0.3**2 / (0.3**2 + sigma**2)
        side = torch.tanh(x / (0.3**2 + sigma**2))
        return side + far * (x - side)

    start = noise.SIGMA_MAX * torch.randn(20_000, 1, generator=torch.manual_seed(1))
    exact = noise.heun(ideal, start, 500)
    off = [float((noise.multistep(ideal, start, steps) - exact).square().mean().sqrt()) for steps in (6, 12, 48)]
    assert off[0] > off[1] > off[2] and off[1] < 0.05 and off[2] < 0.01, off


def test_levels_fall_from_the_top_to_the_least() -> None:
    found = noise.levels(9)
    assert len(found) == 9 and all(a > b for a, b in itertools.pairwise(found))
    assert found[0] == pytest.approx(noise.SIGMA_MAX) and found[-1] == pytest.approx(noise.LEAST)
    assert noise.levels(1) == found[:1]
