"""What a table diffusion model has taught a narrow network, which draws a row for a fraction of the operations.

The teacher is asked anew for each cell, since it knows any order of them. The student knows one order alone, in which it sums
what the cells so far say of a row: adding a cell costs a look-up, and a small network reads the sum (as in NADE, Larochelle
and Murray 2011, "The Neural Autoregressive Distribution Estimator"). It learns from the teacher's probabilities and not from
draws by them (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2).

Those given the cells before alone would have it draw as the teacher does in this order, in which the errors of conditionals add
up, while in rows that each have an order of their own they cancel out. So it learns from such rows, and from probabilities of
each cell given some of the cells after it, too: the mean of these over what comes after is what follows from what comes before
(the theorem of Rao and Blackwell, Casella and Robert 1996, "Rao-Blackwellisation of sampling schemes"), in the joint
distribution that the rows come from, and it is the mean that least divergence finds. Values are drawn from a narrow denoiser,
which learns what the teacher's returns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators import noise
from synth.generators.alike import Alike
from synth.generators.base import Draw
from synth.generators.crossed import Crossed, looked_up
from synth.generators.denoiser import Denoiser
from synth.generators.given import state_at
from synth.generators.layout import Encoded, Layout
from synth.generators.partial import Partial
from synth.generators.residual import Gated, StillGated
from synth.generators.states import Logits, States
from synth.generators.still import FEWEST, Still, precision

WIDTH = 128
# Evaluations of the denoiser a row, where values are FEW and where more depend on each other.
STEPS, FEW = (6, 8), 2
CELLS = 256  # of a row, beyond which a student takes longer to teach than the table to train


class Lesson(NamedTuple):
    """Rows that the teacher drew: their ``cells`` (rows, C) and ``values`` (rows, V), and ``logs`` (rows, S), the logarithms of
    its probabilities of each cell's states given the cells before it in the student's order and some of those after it."""

    cells: Tensor
    values: Tensor
    logs: Tensor

    def take(self, rows: Tensor) -> Lesson:
        return Lesson(*(part[rows] for part in self))


class Values(Denoiser):
    """A denoiser that draws values alone."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, WIDTH, blocks=2, expansion=2)
        self.logits = self.evidence = None
        if self.cells is not None:
            self.cells.smooth = None


class Student(nn.Module):
    """Draws the cells of ``layout`` in one order, the target's last, and then the values.

    The state of a row at a cell is the sum of the vectors of the cells before it, scaled and moved by what is the cell's own;
    all cells share the block that reads it. Cells of crosses come first, and of few states: then many rows are alike for
    long, and one of them is read for all. ``deviation`` is that of what values are drawn from.
    """

    places: Tensor

    @staticmethod
    def order(layout: Layout) -> list[int]:
        """In which cells are drawn."""
        ranks, sizes = layout.ranks, layout.sizes
        return sorted(range(len(sizes)), key=lambda cell: (ranks[cell], sizes[cell], cell))

    def __init__(self, layout: Layout, deviation: float = 1.0) -> None:
        super().__init__()
        self.deviation = deviation
        self.layout, self.cells, cells = layout, self.order(layout), len(layout.cells)
        self.spans = [slice(start, start + size) for start, size in zip(layout.starts, layout.sizes, strict=True)]
        self.register_buffer("places", torch.tensor([self.spans[k].start for k in self.cells]), persistent=False)
        if cells:
            self.seen = States(layout, WIDTH, 0.5 / math.sqrt(cells))
            self.crossed = Crossed(layout, WIDTH, 0.5 / math.sqrt(cells)) if layout.crosses else None
            # At which place the last cell of each cross is drawn.
            self.last = [max(map(self.cells.index, cross)) for cross in layout.crosses]
            self.scale = nn.Parameter(torch.ones(cells, WIDTH))
            self.shift = nn.Parameter(torch.randn(cells, WIDTH) / 2)
            self.block = Gated(WIDTH, 2)
            self.norm = nn.LayerNorm(WIDTH)
            self.logits = Logits(layout, WIDTH)
        self.values = Values(layout) if layout.values else None

    @torch.no_grad()
    def inherit(self, teacher: Denoiser) -> None:
        """Begin with the vectors by which the teacher tells states and combinations apart, along the WIDTH axes on which they
        differ most: learning them took it most of its time, and some come up in few lessons."""
        shown = teacher.cells
        if shown is None:
            return
        vectors = shown.states()
        axes = torch.linalg.eigh(vectors.T @ vectors).eigenvectors[:, -WIDTH:]
        onto = F.pad(axes, (0, WIDTH - axes.shape[1]))
        mine = [(self.seen, self.crossed)]
        if self.values is not None and self.values.cells is not None:
            mine.append((self.values.cells.states, self.values.cells.crossed))
        for states, crossed in mine:
            states.own.copy_(shown.states.own @ onto)
            states.curve.copy_(shown.states.curve @ onto)
            if crossed is not None and shown.crossed is not None:
                crossed.codes.copy_(shown.crossed.codes)
                crossed.spread.copy_(shown.crossed.spread @ onto)

    def losses(self, lesson: Lesson, noisy: Tensor, sigma: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Nats a row by which the probabilities of its cells miss the teacher's, and at the least what cells after a cell tell
        of it; and the squared error of what the denoiser returns for ``noisy`` values (rows, V) at ``sigma`` (rows, 1), beside
        the teacher's ``raw`` (rows, V)."""
        missed = error = lesson.values.new_zeros(())
        if self.cells:
            vectors = self.told(lesson.cells)
            states = self.norm(self.block((vectors.cumsum(1) - vectors) * self.scale + self.shift)).unbind(1)
            sizes = self.layout.sizes  # cut once: the gradient of a slice is as large as what it is of
            tables, biases = self.logits.states().split(sizes), self.logits.bias.split(sizes)
            # A product for each cell: one for all would multiply the state of each with the states of all.
            for state, cell in zip(states, self.cells, strict=True):
                found = F.linear(state, tables[cell], biases[cell]).float().log_softmax(1)
                logs = lesson.logs[:, self.spans[cell]].float()
                missed = missed + F.kl_div(found, logs, reduction="batchmean", log_target=True)
        if self.values is not None:
            none = torch.zeros(0, len(self.cells), dtype=torch.bool, device=noisy.device)
            error = ((self.values(lesson.cells, none, noisy, sigma)[1] - raw) ** 2).sum(1).mean()
        return missed, error

    def told(self, cells: Tensor) -> Tensor:
        """(rows, C, WIDTH) what each of the ``cells`` (rows, C) adds to a row's sum, in the order they are drawn in."""
        vectors = F.embedding(cells[:, self.cells] + self.places, self.seen())
        if self.crossed is None:
            return vectors
        index = self.crossed.index(cells, torch.zeros_like(cells, dtype=torch.bool))
        combined = F.embedding(index, self.crossed.vectors()).to(vectors.dtype)
        return vectors.index_add(1, torch.tensor(self.last, device=index.device), combined)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw) -> Encoded:
        """Rows of which nothing is asked."""
        partial = self.begun(rows, draw)
        if self.values is None:
            return Encoded(partial.cells, partial.values)
        net = Still(self.values, self.layout)
        shown = net.shown(partial)
        start = self.deviation * noise.SIGMA_MAX * torch.special.ndtri(draw.stratified(rows, self.layout.values))
        values = noise.multistep(lambda x, sigma: net.denoised(shown, x, sigma), start, STEPS[self.layout.values > FEW])
        return Encoded(partial.cells, values)

    @torch.no_grad()
    def begun(self, rows: int, draw: Draw) -> Partial:
        """Rows with all their cells, and without their values."""
        device = self.places.device
        partial = Partial.blank(self.layout, rows, device)
        if not self.cells:
            return partial
        uniform, seen, table = draw.stratified(rows, len(self.cells)), self.seen(), self.logits.states()
        block = StillGated(self.block, precision(device))
        untold = block.told(torch.zeros(WIDTH, device=device))
        before, alike = torch.zeros(rows, WIDTH, device=device), Alike.of(partial)
        for place, cell in enumerate(self.cells):
            span = self.spans[cell]
            some = None if alike is None else alike.first.repeat(-(-FEWEST // len(alike.first)))
            state = (before if some is None else before[some]) * self.scale[place] + self.shift[place]
            block.add(state, untold)
            cumulated = F.linear(self.norm(state), table[span], self.logits.bias[span]).softmax(1).cumsum(1)
            if alike is not None:
                cumulated = cumulated[alike.group]
            drawn = state_at(cumulated, uniform[:, cell])
            partial.cells[:, cell], partial.hidden[:, cell] = drawn, False
            before = before + seen[drawn + span.start]
            if self.crossed is not None and place in self.last:
                index = self.crossed.index(partial.cells, partial.hidden)
                complete = torch.tensor([last == place for last in self.last], device=device)
                before = before + looked_up(torch.where(complete, index, 0), self.crossed.vectors())
            if alike is not None:
                alike = alike.after(torch.full_like(drawn, cell), drawn)
        return partial
