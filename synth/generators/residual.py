"""The residual blocks that all networks for tables are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """x + narrow(activation(widen(norm(x) + told))), (rows, width), which begins as the identity.

    ``norm`` is for networks that may scale rows as they like; a critic's may not, as its slope is what penalties are about.
    """

    def __init__(
        self, width: int, expansion: int, *, norm: bool = True, activation: Callable[[Tensor], Tensor] = F.silu
    ) -> None:
        super().__init__()
        self.activation = activation
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.widen = nn.Linear(width, width * expansion)
        self.narrow = nn.Linear(width * expansion, width)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor, gain: Tensor | None = None, told: Tensor | None = None) -> Tensor:
        """``gain`` (rows, units) multiplies the hidden units: dropout's 0 or 1/(1 − rate) (Srivastava et al. 2014);
        ``told`` (rows, width) is what the block is to know beside ``x``."""
        x_in = self.norm(x) if told is None else self.norm(x) + told
        units = self.activation(self.widen(x_in))
        return x + self.narrow(units if gain is None else units * gain.to(units.dtype))


class Gated(nn.Module):
    """x + narrow(silu(a) · b) with a, b = widen(norm(x) + told), (rows, width), which begins as the identity.

    A product of what two units see tells combinations (this day of that month of that year) that a sum of activations has to
    piece together (Shazeer 2020, "GLU Variants Improve Transformer", arXiv 2002.05202, Eq. 6). ``units`` are two thirds of
    width · expansion, so that it costs as much as ``Block``.
    """

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.units = max(round(width * expansion / 24), 1) * 16
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * self.units)
        self.narrow = nn.Linear(self.units, width)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor, gain: Tensor | None = None, told: Tensor | None = None) -> Tensor:
        """``gain`` (rows, units) and ``told`` (rows, width) as of ``Block``."""
        gate, units = self.widen(self.norm(x) if told is None else self.norm(x) + told).chunk(2, -1)
        units = F.silu(gate) * units
        return x + self.narrow(units if gain is None else units * gain.to(units.dtype))


class StillGated:
    """A ``Gated`` block without dropout, whose weights stand still: its first matrix has the norm's scale in it, and
    what the block is told, the same for all rows, is a bias."""

    def __init__(self, block: Gated, dtype: torch.dtype) -> None:
        norm = block.norm
        self.shape, self.epsilon, self.shift, self.full = norm.normalized_shape, norm.eps, norm.bias, block.widen
        self.widen = (block.widen.weight * norm.weight).to(dtype)
        self.narrow, self.bias = block.narrow.weight.to(dtype), block.narrow.bias.to(dtype)

    def told(self, words: Tensor) -> Tensor:
        """(units) the bias that ``words`` (width) become."""
        return self.full(self.shift + words).to(self.widen.dtype)

    def add(self, x: Tensor, told: Tensor) -> None:
        """The block's step, in place: memory that is asked for anew takes as long as what is computed in it."""
        normed = F.layer_norm(x, self.shape, eps=self.epsilon).to(self.widen.dtype)
        gate, units = F.linear(normed, self.widen, told).chunk(2, -1)
        x += F.linear(F.silu(gate) * units, self.narrow, self.bias)
