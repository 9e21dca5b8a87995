"""Noise levels, preconditioning and the deterministic samplers of EDM.

Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv 2206.00364), written for
data of unit variance (sigma_data = 1): the codec standardises tables, and pixels are scaled.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
# Of ``multistep``: chosen on kept releases of MAGIC, Adult and Beijing, whose quantiles 10 evaluations left nearer to those of
# the exact flow than 39 of Heun's method did.
LEAST, BEND, ORDER = 0.01, 0.65, 3


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


def levels(steps: int) -> list[float]:
    """``steps`` noise levels from SIGMA_MAX to LEAST, at about equal ratios but for the first ones, between which little is
    decided: there is next to nothing left of a row."""
    return [SIGMA_MAX * (LEAST / SIGMA_MAX) ** ((i / max(steps - 1, 1)) ** BEND) for i in range(steps)]


def multistep(denoise: Callable[[Tensor, float], Tensor], start: Tensor, steps: int) -> Tensor:
    """Integrate the probability flow from ``start`` ~ N(0, SIGMA_MAX²) to clean rows; ``denoise`` is called ``steps`` times.

    In lambda = −ln sigma the flow is dx/dlambda = D − x: from one level to the next, h later,

        x' = exp(−h) x + ∫ exp(t − h) D dt over t from 0 to h,

    with D the polynomial through what was denoised at the latest ORDER levels (DPM-Solver++, Lu et al. 2022, arXiv 2211.01095,
    section 4, of which this is the multistep form of third order). What is left of the noise at the last level goes at once.
    """
    past: list[tuple[float, Tensor]] = []
    x, sigmas = start, levels(steps)
    for now, following in itertools.pairwise(sigmas):
        past = [*past, (-math.log(now), denoise(x, now))][-ORDER:]
        x = following / now * x
        for weight, (_, clean) in zip(_weights([at for at, _ in past], math.log(now / following)), past, strict=True):
            x = x + weight * clean
    return denoise(x, sigmas[-1])


def _weights(at: list[float], h: float) -> list[float]:
    """By which what a polynomial is at these places makes up its integral from the last of them to ``h`` later, each moment
    with the weight exp(t − h)."""
    powers, moments = np.arange(len(at)), [-math.expm1(-h)]
    for power in powers[1:]:
        moments.append(h**power - power * moments[-1])
    weights: list[float] = np.linalg.solve((np.array(at)[None] - at[-1]) ** powers[:, None], moments).tolist()
    return weights
