"""What a table diffusion model has taught a narrow network, which draws a row for a fraction of the operations.

The teacher is asked anew for each cell, since it knows any order of them. The student knows one order alone, in which it sums
what the cells so far say of a row: adding a cell costs a look-up, and a small network reads the sum (as in NADE, Larochelle
and Murray 2011, "The Neural Autoregressive Distribution Estimator"). It learns from the teacher's probabilities and not from
draws by them (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2), of rows that
the teacher drew in the same order: their probabilities come with the drawing. Values are drawn from a narrow denoiser, which
learns what the teacher's returns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators import noise
from synth.generators.base import Draw
from synth.generators.denoiser import Trunk
from synth.generators.given import Given
from synth.generators.layout import Encoded, Layout
from synth.generators.residual import Gated
from synth.generators.states import Logits, States

WIDTH, BLOCKS = 128, 2
STEPS = 6  # evaluations of the denoiser a row
CELLS = 256  # of a row, beyond which a student takes longer to teach than the table to train


class Lesson(NamedTuple):
    """Rows that the teacher drew in the student's order: their ``cells`` (rows, C) and ``values`` (rows, V), and the logarithms
    of the probabilities that each cell was drawn by (rows, S)."""

    cells: Tensor
    values: Tensor
    logs: Tensor

    def take(self, rows: Tensor) -> Lesson:
        return Lesson(*(part[rows] for part in self))


class Values(Trunk):
    """EDM's raw output F (rows, V) of noisy values at a noise level (rows, 1), given all cells."""

    def __init__(self, layout: Layout, width: int, blocks: int) -> None:
        super().__init__(layout, width, blocks, expansion=2)
        self.raw = nn.Linear(width, layout.values)
        nn.init.zeros_(self.raw.weight)
        nn.init.zeros_(self.raw.bias)

    def forward(self, cells: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        none = torch.zeros(0, cells.shape[1], dtype=torch.bool, device=cells.device)
        return self.raw(self.trunk(cells, none, noisy, sigma)).float()


class Student(nn.Module):
    """Draws the cells of ``layout`` in one order, the target's last, and then the values.

    The state of a row at a cell is the sum of the vectors of the cells before it, scaled and moved by what is the cell's own;
    all cells share the blocks that read it.
    """

    places: Tensor

    @staticmethod
    def order(layout: Layout) -> list[int]:
        """In which cells are drawn."""
        return sorted(range(len(layout.cells)), key=lambda cell: (cell == layout.target, cell))

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout, self.cells, cells = layout, self.order(layout), len(layout.cells)
        sizes = torch.tensor(layout.sizes, dtype=torch.long)
        self.spans = [slice(int(end - size), int(end)) for end, size in zip(sizes.cumsum(0), sizes, strict=True)]
        self.register_buffer("places", torch.tensor([self.spans[k].start for k in self.cells]), persistent=False)
        if cells:
            self.seen = States(layout, WIDTH, 0.5 / math.sqrt(cells))
            self.scale = nn.Parameter(torch.ones(cells, WIDTH))
            self.shift = nn.Parameter(torch.randn(cells, WIDTH) / 2)
            self.blocks = nn.ModuleList(Gated(WIDTH, 2) for _ in range(BLOCKS))
            self.norm = nn.LayerNorm(WIDTH)
            self.logits = Logits(layout, WIDTH)
        self.values = Values(layout, WIDTH, BLOCKS) if layout.values else None

    @property
    def joins(self) -> bool:
        return True

    def losses(self, lesson: Lesson, noisy: Tensor, sigma: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Nats a row by which the probabilities of its cells miss the teacher's; and the squared error of what the denoiser
        returns for ``noisy`` values (rows, V) at ``sigma`` (rows, 1), beside the teacher's ``raw`` (rows, V)."""
        missed = error = lesson.values.new_zeros(())
        if self.cells:
            vectors = F.embedding(lesson.cells[:, self.cells] + self.places, self.seen())
            states = self._read((vectors.cumsum(1) - vectors) * self.scale + self.shift)
            table = self.logits.states()
            for place, cell in enumerate(self.cells):
                span = self.spans[cell]
                found = F.linear(states[:, place], table[span], self.logits.bias[span]).float().log_softmax(1)
                missed = missed + F.kl_div(found, lesson.logs[:, span].float(), reduction="batchmean", log_target=True)
        if self.values is not None:
            error = ((self.values(lesson.cells, noisy, sigma) - raw) ** 2).sum(1).mean()
        return missed, error

    def _read(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        """Rows of which nothing is asked."""
        assert given is None, "it knows one order"
        device = self.places.device
        cells = torch.zeros(rows, len(self.cells), dtype=torch.long, device=device)
        with torch.autocast(device.type, torch.bfloat16):
            if self.cells:
                uniform = draw.stratified(rows, len(self.cells))
                seen, table = self.seen(), self.logits.states()
                before = torch.zeros(rows, WIDTH, device=device)
                for place, cell in enumerate(self.cells):
                    span = self.spans[cell]
                    state = self._read(before * self.scale[place] + self.shift[place])
                    cumulated = F.linear(state, table[span], self.logits.bias[span]).float().softmax(1).cumsum(1)
                    point = uniform[:, cell, None] * cumulated[:, -1:]
                    drawn = torch.searchsorted(cumulated, point, right=True)[:, 0].clamp_max(cumulated.shape[1] - 1)
                    cells[:, cell] = drawn
                    before = before + seen[drawn + span.start]
            values = self._values(cells, draw)
        return Encoded(cells, values)

    def _values(self, cells: Tensor, draw: Draw) -> Tensor:
        rows, network = len(cells), self.values
        if network is None:
            return torch.zeros(rows, 0, device=cells.device)
        start = noise.SIGMA_MAX * torch.special.ndtri(draw.stratified(rows, self.layout.values))

        def denoise(x: Tensor, sigma: float) -> Tensor:
            level = x.new_full((rows, 1), sigma)
            return noise.denoised(network(cells, x, level), x, level)

        return noise.multistep(denoise, start, STEPS)
