"""Discriminator guidance for tables: what a model has not learnt of the density, learnt as a ratio, and put back.

Kim et al. 2023, "Refining Generative Process with Discriminator Guidance in Score-based Diffusion Models" (arXiv
2211.17091): a discriminator d that tells noisy real rows from noisy rows of the model has the log density ratio
log p_real/p_model = log d/(1 − d) at that noise level, and its gradient is what the model's score lacks (Eq. 6, 7).

Here the ratio is split as the model is, p(cells) p(values | cells). Cells have no gradient; they are drawn several times
and one draw is kept in proportion to its ratio (sampling-importance-resampling, see ``synth.generators.given``). Values
follow the guided flow, D + w σ² ∇ log ratio in the terms of EDM.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators.base import Draw
from synth.generators.denoiser import Trunk
from synth.generators.layout import Encoded, Layout

# Noise levels that are learnt. Below them σ² leaves nothing of the gradient; above them rows drown, and what can be told
# of them no longer changes.
LEAST, MOST = 0.05, 5.0


class Discriminator(Trunk):
    """Log density ratios, real over the model's, of cells, and of noisy values given the cells; 0 at first.

    It is half the denoiser's size: it only has to see what that has missed. All cells are visible, since the ratio of a
    row is asked for when its cells are drawn, never on the way.
    """

    def __init__(self, layout: Layout, width: int, blocks: int, expansion: int) -> None:
        super().__init__(layout, max(width // 2, 16), max(blocks // 2, 1), expansion)
        self.layout = layout
        self.ratio = nn.Linear(max(width // 2, 16), 1)
        nn.init.zeros_(self.ratio.weight)
        nn.init.zeros_(self.ratio.bias)

    def of_cells(self, cells: Tensor, evidence: Tensor | None = None) -> Tensor:
        """(rows) log ratio of the ``cells`` (rows, C), together with the values that the rows are shown."""
        none, visible = self.ratio.weight.new_zeros(0, self.layout.values), torch.zeros_like(cells, dtype=torch.bool)
        trunk = self.trunk(cells, visible, none, none.new_ones(0, 1), evidence=evidence)
        return self.ratio(trunk)[:, 0].float()

    def of_values(self, cells: Tensor, noisy: Tensor, sigma: Tensor, evidence: Tensor | None = None) -> Tensor:
        """(rows) log ratio of ``noisy`` values (rows, V) at noise level ``sigma`` (rows, 1) given all else of a row.

        What noise leaves of two densities' ratio falls as 1/σ, and so does c_in: the network's own output, and with it
        the guidance σ² ∇, keeps its order of magnitude at every level.
        """
        trunk = self.trunk(cells, cells.new_zeros(0, cells.shape[1]).bool(), noisy, sigma, evidence=evidence)
        return (self.ratio(trunk).float() / (sigma**2 + 1).sqrt())[:, 0]

    def shift(self, cells: Tensor, noisy: Tensor, sigma: float, evidence: Tensor | None = None) -> Tensor:
        """(rows, V) σ² ∇ log ratio: what the denoised values D lack at noise level ``sigma``.

        It tends to a difference of conditional means, a function of c_in x alone, as noise grows. So the network is asked
        at level MOST instead of the levels above, at which it could have learnt little.
        """
        level = min(sigma, MOST)
        scale = (sigma**2 + 1) / (level**2 + 1)
        with torch.enable_grad():
            scaled = (noisy.detach() / scale**0.5).requires_grad_()
            ratio = self.of_values(cells, scaled, scaled.new_full((len(scaled), 1), level), evidence)
            return torch.autograd.grad(ratio.sum(), scaled)[0] * sigma**2 / scale

    def loss(self, real: Encoded, own: Encoded, shown: Tensor, draw: Draw) -> Tensor:
        """Cross-entropy of telling ``real`` rows from as many of the model's ``own``, by their cells, and by their cells
        and noisy values. ``shown`` (rows, V) boolean are the values that the rows, real ones first, are shown clean.

        Noise levels are log-uniform, as the sampler takes about as many steps in each octave of those that matter.
        """
        cells, values = torch.cat([real.cells, own.cells]), torch.cat([real.values, own.values])
        rows, v = values.shape
        is_real = (torch.arange(rows, device=values.device) < len(real.cells)).float()
        evidence = torch.cat([values * shown, shown], 1)
        logits = self.of_cells(cells, evidence)
        loss = F.binary_cross_entropy_with_logits(logits, is_real)
        if not v:
            return loss
        low, high = math.log(LEAST), math.log(MOST)
        sigma = torch.exp(low + (high - low) * draw.uniform(rows, 1))
        noisy = values + sigma * draw.normal(rows, v)
        # The cells' part is learnt from the cells alone, where no noise hides it.
        logits = logits.detach() + self.of_values(cells, noisy, sigma, evidence)
        return loss + F.binary_cross_entropy_with_logits(logits, is_real)
