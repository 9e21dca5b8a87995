"""The residual block that all networks for tables are made of."""

from __future__ import annotations

from collections.abc import Callable

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
