"""EDM's identities, and the sampler against the closed form for normal data."""

from __future__ import annotations

import itertools

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
