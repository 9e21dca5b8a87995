"""Guidance by the gradients of a model that predicts the target: rows that it has something to learn from are drawn more
often.

Hemmat et al. 2023, "Feedback-guided Data Synthesis for Imbalanced Classification" (arXiv 2310.00158): a classifier that has
learnt from real rows says of a sample on its way how much it would learn from it, by a criterion C, and the sampler follows
the gradient of C beside the score. In the terms of EDM the denoised values D become D + w σ² ∇ C.

    loss      −ln p(y | x) of the row's own class y
    entropy   −Σ p ln p, how little the classifier is sure
    hardness  1 − p(y | x)

Such a gradient leads off the data where nothing holds it: so the step is no longer than CAP σ a row, however steep C is. Cells
have no gradient, and are drawn as they would be.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators.base import Draw
from synth.generators.denoiser import Trunk
from synth.generators.guidance import LEAST, MOST
from synth.generators.layout import Encoded, Layout

CRITERIA = ("loss", "entropy", "hardness")
CAP = 0.3  # of σ, which is about as far as a value is from where it will be


class Tutor(Trunk):
    """Chances of the classes of ``target``, a cell of the layout, of rows whose values are noisy; half the denoiser's size."""

    def __init__(self, layout: Layout, target: int, width: int, blocks: int, expansion: int) -> None:
        cells = layout.cells[:target] + layout.cells[target + 1 :]
        half = max(width // 2, 16)
        super().__init__(Layout(cells=cells, values=layout.values), half, max(blocks // 2, 1), expansion)
        self.target = target
        self.classes = nn.Linear(half, layout.sizes[target])
        nn.init.zeros_(self.classes.weight)
        nn.init.zeros_(self.classes.bias)

    def logits(self, cells: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """(rows, classes) of rows with all ``cells`` (rows, C), of which the target is not looked at, and ``noisy`` values
        (rows, V) at noise level ``sigma`` (rows, 1)."""
        others = torch.cat([cells[:, : self.target], cells[:, self.target + 1 :]], 1)
        return self.classes(self.trunk(others, others.new_zeros(0, others.shape[1]).bool(), noisy, sigma)).float()

    def criterion(self, name: str, cells: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """(rows) one of CRITERIA."""
        logs = self.logits(cells, noisy, sigma).log_softmax(1)
        if name == "entropy":
            return -(logs.exp() * logs).sum(1)
        own = logs.gather(1, cells[:, self.target, None])[:, 0]
        return -own if name == "loss" else 1 - own.exp()

    def shift(self, name: str, weight: float, cells: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """(rows, V) by which the denoised values move at noise level ``sigma``: nothing above MOST, where rows drown."""
        if not LEAST <= sigma <= MOST:
            return torch.zeros_like(noisy)
        with torch.enable_grad():
            x = noisy.detach().requires_grad_()
            score = self.criterion(name, cells, x, x.new_full((len(x), 1), sigma)).sum()
            step = weight * sigma**2 * torch.autograd.grad(score, x)[0]
        return step * (CAP * sigma / step.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)

    def loss(self, rows: Encoded, draw: Draw) -> Tensor:
        """Cross-entropy of the rows' classes, at noise levels that are log-uniform."""
        low, high = math.log(LEAST), math.log(MOST)
        sigma = torch.exp(low + (high - low) * draw.uniform(len(rows.cells), 1))
        noisy = rows.values + sigma * draw.normal(*rows.values.shape)
        return F.cross_entropy(self.logits(rows.cells, noisy, sigma), rows.cells[:, self.target])
