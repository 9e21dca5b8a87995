"""The network of the table diffusion model: a residual MLP over partly masked cells and noisy values."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators import noise
from synth.generators.layout import Layout
from synth.generators.residual import Gated
from synth.generators.states import Logits, Shown


class Trunk(nn.Module):
    """Partly masked cells and noisy values → a hidden state a row; what is read from it is a subclass's matter.

    The first rows of a batch, as many as ``hidden`` has, have some cells masked and no values. The others see all cells
    and noisy ``values`` (rest, V) at noise level ``sigma`` (rest, 1), which the blocks are told. ``gain`` (first rows, units)
    is the dropout of the first rows, in training alone; all blocks share it, since their units have nothing in common. The
    first ``smooth`` rows see the smooth vectors of their cells. ``evidence`` (rows, 2 V) are the values that a row is shown
    clean, 0 for the others, and then which they are; None: no row is shown any. It counts for nothing at first.
    """

    frequencies: Tensor

    def __init__(self, layout: Layout, width: int, blocks: int, expansion: int) -> None:
        super().__init__()
        self.cells = Shown(layout, width) if layout.cells else None
        self.values = nn.Linear(layout.values, width) if layout.values else None
        self.evidence = nn.Linear(2 * layout.values, width, bias=False) if layout.values else None
        self.level = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.absent = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Gated(width, expansion) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        if self.evidence is not None:
            nn.init.zeros_(self.evidence.weight)
        self.register_buffer("frequencies", torch.logspace(math.log10(0.3), math.log10(20), 16), persistent=False)

    def trunk(
        self,
        cells: Tensor,
        hidden: Tensor,
        values: Tensor,
        sigma: Tensor,
        gain: Tensor | None = None,
        smooth: int = 0,
        evidence: Tensor | None = None,
    ) -> Tensor:
        """(rows, width) hidden state; shapes as above, ``cells`` (rows, C) whatever is hidden."""
        masked, rest = len(hidden), len(values)
        level = self.of_level(sigma)
        level = torch.cat([self.absent.to(level.dtype).expand(masked, -1), level])
        x = torch.zeros_like(level)
        if self.cells is not None:
            x = x + self.cells(cells, F.pad(hidden, (0, 0, 0, rest)), smooth)
        if self.values is not None:
            # In full precision: bfloat16 has 8 bits, and noise levels below 1/256 would vanish in rounding.
            with torch.autocast(x.device.type, enabled=False):
                x = x + F.pad(self.values(noise.scaled_input(values, sigma)), (0, 0, masked, 0))
                if evidence is not None and self.evidence is not None:
                    x = x + self.evidence(evidence)
        if gain is not None:
            gain = F.pad(gain.to(level.dtype), (0, 0, 0, rest), value=1.0)  # once, in what the blocks compute in
        for block in self.blocks:
            x = block(x, gain, level)
        return self.norm(x)

    @property
    def gated(self) -> list[Gated]:
        """The blocks, as what they are."""
        return [block for block in self.blocks if isinstance(block, Gated)]

    def of_level(self, sigma: Tensor) -> Tensor:
        """(rows, width) what the blocks are told of noise levels (rows, 1)."""
        phase = (sigma.log() / 4) * self.frequencies
        told: Tensor = self.level(torch.cat([phase.sin(), phase.cos()], 1))
        return told


class Denoiser(Trunk):
    """Residual MLP over partly masked cells and noisy values.

    The masked rows return logits of all states (masked rows, sum of sizes), the others EDM's raw output F (rest, V).
    """

    def __init__(self, layout: Layout, width: int, blocks: int, expansion: int) -> None:
        super().__init__(layout, width, blocks, expansion)
        self.logits = Logits(layout, width) if layout.cells else None
        self.raw = nn.Linear(width, layout.values) if layout.values else None
        if self.raw is not None:
            nn.init.zeros_(self.raw.weight)
            nn.init.zeros_(self.raw.bias)

    def forward(
        self,
        cells: Tensor,
        hidden: Tensor,
        values: Tensor,
        sigma: Tensor,
        gain: Tensor | None = None,
        smooth: int = 0,
        evidence: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x = self.trunk(cells, hidden, values, sigma, gain, smooth, evidence)
        masked, rest = x[: len(hidden)], x[len(hidden) :]
        logits = self.logits(masked) if self.logits is not None else masked[:, :0]
        return logits.float(), (self.raw(rest) if self.raw is not None else rest[:, :0]).float()
