"""Spectral normalisation without a state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from synth.generators.base import Draw

ITERATIONS = 12


class Spectral(nn.Module):
    """A parametrisation that divides a weight (out, in, …), as the matrix (out, rest) that it is, by its greatest singular
    value (Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", arXiv 1802.05957, Eq. 8).

    The power iteration begins each time from the same vector, where Miyato et al., and torch's ``spectral_norm``, go on
    from the last step's. That is a state beside the weights, which every worker would have to agree on and every
    checkpoint to keep; a dozen products with a vector cost little beside those with a batch.
    """

    start: Tensor

    def __init__(self, out: int, into: int) -> None:
        super().__init__()
        self.register_buffer("start", Draw("spectral", into).normal(into, 1)[:, 0], persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        with torch.no_grad():
            right = self.start
            for _ in range(ITERATIONS):
                left = nn.functional.normalize(matrix @ right, dim=0)
                right = nn.functional.normalize(matrix.T @ left, dim=0)
        return weight / (left @ matrix @ right)
