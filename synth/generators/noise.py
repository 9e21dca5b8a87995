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
LEAST, BEND, ORDER = (
    0.02,
    0.7,
    3,
)  # of ``multistep``: by what is closest to a hundred Heun steps (benchmarks/solvers.py)


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


def angles(steps: int) -> list[float]:
    """``steps`` angles arctan(sigma) that fall from SIGMA_MAX's to LEAST's: at first, where little is decided, by more."""
    top, bottom = math.atan(SIGMA_MAX), math.atan(LEAST)
    return [top + (i / max(steps - 1, 1)) ** BEND * (bottom - top) for i in range(steps)]


def multistep(denoise: Callable[[Tensor, float], Tensor], start: Tensor, steps: int) -> Tensor:
    """Integrate the probability flow from ``start`` ~ N(0, SIGMA_MAX²) to clean rows; ``denoise`` is called ``steps`` times.

    With sigma = tan(phi) and y = x cos(phi), which has unit variance at every level, the flow of EDM (Eq. 1) is

        dy/dphi = (y cos(phi) − D) / sin(phi) = −F,

    minus what the raw network returns (so Lu and Song 2024, "Simplifying, Stabilizing and Scaling Continuous-Time Consistency
    Models", arXiv 2410.11081): of data that is normal it is 0, and of other data nowhere steep. So few steps will do, each
    by the polynomial through the slopes at the latest ORDER levels (Adams and Bashforth, as in Liu et al. 2022, arXiv
    2202.09778). What is left of the noise at the last level goes at once.
    """
    past: list[tuple[float, Tensor]] = []
    y, levels = start * math.cos(math.atan(SIGMA_MAX)), angles(steps)
    for now, following in itertools.pairwise([*levels, 0.0]):
        clean = denoise(y / math.cos(now), math.tan(now))
        if following == 0:
            return clean
        past = [*past, (now, (y * math.cos(now) - clean) / math.sin(now))][-ORDER:]
        for weight, (_, slope) in zip(_weights([at for at, _ in past], now, following), past, strict=True):
            y = y + weight * slope
    return y


def _weights(at: list[float], low: float, high: float) -> list[float]:
    """By which what a polynomial is at these places makes up its integral from ``low`` to ``high``."""
    powers = np.arange(len(at))
    moments = ((high - low) ** (powers + 1)) / (powers + 1)
    weights: list[float] = np.linalg.solve((np.array(at)[None] - low) ** powers[:, None], moments).tolist()
    return weights
