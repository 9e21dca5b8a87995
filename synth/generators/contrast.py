"""Two denoisers in one: away from what a model becomes when it learns from its own samples.

Alemohammad et al. 2024, "Self-Improving Diffusion Models with Synthetic Data" (arXiv 2408.16333): with the score s_r of a
model and the score s_s of the same model after it has learnt from its own samples, samples follow

    s = (1 + w) s_r − w s_s.

EDM's denoised values are linear in the network's output, so it holds for that as it does for the score; and for cells, whose
logits are the discrete counterpart. Both are read from a hidden state by a linear map, so that two networks with their hidden
states side by side are one network of twice the width, and nothing else in the sampler knows that there are two.
"""

from __future__ import annotations

from dataclasses import dataclass

from synth.generators.denoiser import Denoiser


@dataclass(frozen=True)
class Contrast:
    """What samples are drawn from: ``own`` and its ``shadow``, with ``weight`` w."""

    own: Denoiser
    shadow: Denoiser
    weight: float

    @property
    def parts(self) -> list[tuple[float, Denoiser]]:
        """The two, and by how much the output of each counts."""
        return [(1 + self.weight, self.own), (-self.weight, self.shadow)]
