"""Noise levels, preconditioning and the deterministic sampler of EDM.

Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv 2206.00364), written for
data of unit variance (sigma_data = 1): the codec standardises tables, and pixels are scaled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0


def training_sigma(normal: Tensor, mean: float, deviation: float) -> Tensor:
    """Log-normal noise levels: ln sigma ~ N(mean, deviation²) (Table 1, "noise distribution")."""
    return torch.exp(mean + deviation * normal)


def scaled_input(noisy: Tensor, sigma: Tensor) -> Tensor:
    """c_in(sigma) x with c_in = 1/√(sigma² + 1) (Eq. 117): unit variance at every noise level."""
    return noisy / (sigma**2 + 1).sqrt()


def target(clean: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
    """What the raw network should return, (clean − c_skip x)/c_out (Eq. 8), of unit variance at every noise level.

    With the weight lambda = 1/c_out², the squared error of the denoised rows equals the plain squared error on this.
    """
    return (clean - noisy / (sigma**2 + 1)) * (sigma**2 + 1).sqrt() / sigma


def denoised(raw: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
    """D(x; sigma) = c_skip x + c_out F (Eq. 7) with c_skip = 1/(sigma² + 1), c_out = sigma/√(sigma² + 1)."""
    return noisy / (sigma**2 + 1) + raw * sigma / (sigma**2 + 1).sqrt()


def schedule(steps: int, largest: float = SIGMA_MAX) -> list[float]:
    """``steps`` + 1 noise levels from ``largest`` to 0 (Eq. 5)."""
    top, bottom = largest ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return [(top + i / max(steps - 1, 1) * (bottom - top)) ** RHO for i in range(steps)] + [0.0]


def heun(denoise: Callable[[Tensor, float], Tensor], start: Tensor, steps: int, largest: float = SIGMA_MAX) -> Tensor:
    """Integrate the probability flow from ``start`` ~ N(0, largest²) to clean rows (Algorithm 1, without churn).

    ``denoise(x, sigma)`` is D; it is called 2 · steps − 1 times.
    """
    x, sigmas = start, schedule(steps, largest)
    for now, following in itertools.pairwise(sigmas):
        slope = (x - denoise(x, now)) / now
        euler = x + (following - now) * slope
        if following > 0:
            slope = (slope + (euler - denoise(euler, following)) / following) / 2
            euler = x + (following - now) * slope
        x = euler
    return x
