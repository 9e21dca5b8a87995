"""Two denoisers in one: away from what a model becomes when it learns from its own samples.

Alemohammad et al. 2024, "Self-Improving Diffusion Models with Synthetic Data" (arXiv 2408.16333): with the score s_r of a
model and the score s_s of the same model after it has learnt from its own samples, samples follow

    s = (1 + w) s_r − w s_s.

EDM's denoised values are linear in the network's output, so it holds for that as it does for the score; and for cells, whose
logits are the discrete counterpart. Both are read from a hidden state by a linear map, so that two networks with their hidden
states side by side are one network of twice the width, and nothing else in the sampler knows that there are two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from synth.generators.denoiser import Denoiser
from synth.generators.states import Logits


class Contrast:
    """What a sampler asks of a denoiser, of ``own`` and its ``shadow`` with ``weight`` w."""

    def __init__(self, own: Denoiser, shadow: Denoiser, weight: float) -> None:
        self.own, self.shadow, self.weight = own, shadow, weight
        both = own.logits, shadow.logits
        self.logits = None if both[0] is None or both[1] is None else _Logits(both[0], both[1], weight)

    def trunk(self, *arguments: Any, **options: Any) -> Tensor:
        """(rows, 2 width); as of one."""
        return torch.cat([net.trunk(*arguments, **options) for net in (self.own, self.shadow)], 1)

    def __call__(self, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """As of one."""
        own, shadow = (net(*arguments, **options) for net in (self.own, self.shadow))
        logits, raw = ((1 + self.weight) * a - self.weight * b for a, b in zip(own, shadow, strict=True))
        return logits, raw


class _Logits:
    def __init__(self, own: Logits, shadow: Logits, weight: float) -> None:
        self._own, self._shadow, self._weight = own, shadow, weight

    def states(self) -> Tensor:
        """(states, 2 width)"""
        return torch.cat([(1 + self._weight) * self._own.states(), -self._weight * self._shadow.states()], 1)

    @property
    def bias(self) -> Tensor:
        return (1 + self._weight) * self._own.bias - self._weight * self._shadow.bias
