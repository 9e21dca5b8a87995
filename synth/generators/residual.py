"""The residual block that all networks for tables are made of."""

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


class StillBlock:
    """A ``Block`` with a norm, SiLU and no dropout, whose weights stand still: its first matrix has the norm's scale in it, and
    what the block is told, the same for all rows, is a bias."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        norm = block.norm
        assert isinstance(norm, nn.LayerNorm) and block.activation is F.silu, "as a trunk's blocks are"
        self.shape, self.epsilon, self.shift, self.full = norm.normalized_shape, norm.eps, norm.bias, block.widen
        self.widen = (block.widen.weight * norm.weight).to(dtype)
        self.narrow, self.bias = block.narrow.weight.to(dtype), block.narrow.bias.to(dtype)

    def told(self, words: Tensor) -> Tensor:
        """(units) the bias that ``words`` (width) become."""
        return self.full(self.shift + words).to(self.widen.dtype)

    def add(self, x: Tensor, told: Tensor) -> None:
        """The block's step, in place: memory that is asked for anew takes as long as what is computed in it."""
        normed = F.layer_norm(x, self.shape, eps=self.epsilon).to(self.widen.dtype)
        x += F.linear(F.silu(F.linear(normed, self.widen, told), inplace=True), self.narrow, self.bias)
