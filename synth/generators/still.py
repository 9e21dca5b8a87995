"""Networks whose weights stand still, as samples ask them: what depends on the weights alone is computed once.

That is, of a denoiser: the vectors of all states; each block's first matrix with its norm's scale multiplied in; and, of each
noise level, what the blocks are told, which is a bias then. Matrix products are of bfloat16 where the processor has them,
which takes half the time or less; all that is added up, what goes in and what comes out stay float32.

A row comes out the same among any number of others: products of bfloat16 round alike for any number of rows, those of float32
for FEWEST or more. (So it is on CPUs; on a GPU, callers see to it that the number is always the same.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from synth.generators import noise
from synth.generators.contrast import Contrast
from synth.generators.crossed import looked_up
from synth.generators.denoiser import Denoiser
from synth.generators.layout import Layout
from synth.generators.partial import Partial
from synth.generators.residual import StillGated

FEWEST = 16  # rows of a product of float32: up to 11 were found to round otherwise, by the number of threads


def precision(device: torch.device) -> torch.dtype:
    """Of products: what the processor multiplies fastest."""
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


class Still:
    """A denoiser, or a contrast of two: then hidden states of both lie side by side, as if of one of twice the width.

    What a row shows is a sum, ``shown`` (rows, width), to which a cell that is drawn is added by ``reveal``.
    """

    def __init__(self, net: Denoiser | Contrast, layout: Layout, dtype: torch.dtype | None = None) -> None:
        parts = [(1.0, net)] if isinstance(net, Denoiser) else net.parts
        nets, own = [part for _, part in parts], parts[0][1]
        self.count = len(layout.cells)
        self.nets = [_Trunk(part, precision(own.absent.device) if dtype is None else dtype) for part in nets]
        self.absent = [trunk.told(part.absent) for trunk, part in zip(self.nets, nets, strict=True)]
        # Of hidden cells, then of states, seen as they are, then seen smoothly.
        cells = [part.cells for part in nets if part.cells is not None]
        tables = [[c.hidden, c.states(), *([] if c.smooth is None else [c.smooth()])] for c in cells]
        self.table = torch.cat([torch.cat(table) for table in tables], 1) if tables else None
        crossed = [c.crossed for c in cells if c.crossed is not None]
        self.crossed = crossed[0] if crossed else None  # of all nets, which differ in the vectors alone
        self.combined = torch.cat([c.vectors() for c in crossed], 1) if crossed else None
        starts = torch.tensor(layout.starts, dtype=torch.long, device=own.absent.device)
        self.states, self.first = sum(layout.sizes), starts + self.count
        heads = [(weight, part.logits) for weight, part in parts if part.logits is not None]
        if heads:
            vectors = torch.cat([weight * head.states() for weight, head in heads], 1).split(layout.sizes)
            bias = torch.stack([weight * head.bias for weight, head in heads]).sum(0).split(layout.sizes)
            self.heads = list(zip(vectors, bias, strict=True))
        raws = [(weight, part.raw) for weight, part in parts if part.raw is not None]
        if raws:
            self.raw = torch.cat([weight * raw.weight for weight, raw in raws], 1)
            self.raw_bias = torch.stack([weight * raw.bias for weight, raw in raws]).sum(0)

    def shown(self, rows: Partial, *, smooth: bool = False) -> Tensor:
        """(rows, width) what is known of rows, with their cells' ``smooth`` vectors or with the others."""
        evidence = rows.evidence()
        if self.table is None:
            found = rows.values.new_zeros(len(rows.values), sum(net.width for net in self.nets))
        else:
            index = rows.cells + self.first + (self.states if smooth else 0)
            hidden = torch.arange(self.count, device=index.device)
            found = F.embedding_bag(torch.where(rows.hidden, hidden, index), self.table, mode="sum")
            if self.crossed is not None and self.combined is not None:
                found = found + looked_up(self.crossed.index(rows.cells, rows.hidden), self.combined)
        return found if evidence is None else found + torch.cat([net.evidence(evidence) for net in self.nets], 1)

    def reveal(self, shown: Tensor, partial: Partial, rows: Tensor, cells: Tensor) -> None:
        """Add to what is ``shown`` of each of these ``rows`` that one of ``cells``, hidden until then, is known now."""
        assert self.table is not None
        states = partial.cells[rows, cells]
        shown.index_add_(0, rows, self.table[states + self.first[cells]] - self.table[cells])
        if self.crossed is not None and self.combined is not None:
            index = self.crossed.index(partial.cells[rows], partial.hidden[rows])
            shown.index_add_(0, rows, looked_up(torch.where(self.crossed.member[cells], index, 0), self.combined))

    def masked(self, shown: Tensor) -> Tensor:
        """(rows, width) hidden states of rows that have no noisy values."""
        return self._trunks(list(shown.tensor_split(len(self.nets), 1)), self.absent)

    def logits(self, x: Tensor, cell: int) -> Tensor:
        """(rows, states of the cell) float32, from hidden states."""
        return F.linear(x, *self.heads[cell])

    def denoised(self, shown: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """(rows, V) what remains of ``noisy`` values at noise level ``sigma`` without the noise: D of EDM, Eq. 7."""
        level = noisy.new_full((1, 1), sigma)
        values = noise.scaled_input(noisy, level)
        parts = zip(self.nets, shown.tensor_split(len(self.nets), 1), strict=True)
        x = self._trunks([part + net.values(values) for net, part in parts], [net.at(level) for net in self.nets])
        return noise.denoised(F.linear(x, self.raw, self.raw_bias), noisy, level)

    def _trunks(self, shown: list[Tensor], told: list[list[Tensor]]) -> Tensor:
        found = [net(part, words) for net, part, words in zip(self.nets, shown, told, strict=True)]
        return found[0] if len(found) == 1 else torch.cat(found, 1)


class _Trunk:
    """The trunk of a denoiser."""

    def __init__(self, net: Denoiser, dtype: torch.dtype) -> None:
        self.net, self.width = net, len(net.absent)
        self.blocks = [StillGated(block, dtype) for block in net.gated]

    def evidence(self, evidence: Tensor) -> Tensor:
        assert self.net.evidence is not None
        return self.net.evidence(evidence)

    def values(self, values: Tensor) -> Tensor:
        assert self.net.values is not None
        return self.net.values(values)

    def at(self, level: Tensor) -> list[Tensor]:
        """What is told of a noise level, to each block."""
        return self.told(self.net.of_level(level)[0])

    def told(self, words: Tensor) -> list[Tensor]:
        return [block.told(words) for block in self.blocks]

    def __call__(self, shown: Tensor, told: list[Tensor]) -> Tensor:
        """(rows, width) hidden states."""
        x = shown.clone(memory_format=torch.contiguous_format)
        for block, words in zip(self.blocks, told, strict=True):
            block.add(x, words)
        return self.net.norm(x)
