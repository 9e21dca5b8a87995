"""Vectors for the states of a table's cells: what a network is shown of them, and the logits it answers with.

All cells' states lie side by side in one table of vectors, so that neither looking up nor answering loops over cells.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators.crossed import Crossed
from synth.generators.given import draw_states, log_sums
from synth.generators.layout import Layout

SMALLEST = 1e-30  # divisor in place of 0


class States(nn.Module):
    """One vector (width) for each state of each cell, side by side: (sum of sizes, width).

    A state of an ordered cell is the sum of a vector of its own and of a piecewise linear function of its position,
    with KNOTS knots a cell: neighbouring numbers share what they learn, and a number that is special can still differ.
    """

    KNOTS = 16
    neighbours: Tensor
    weights: Tensor

    def __init__(self, layout: Layout, width: int, deviation: float) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(sum(layout.sizes), width) * deviation)
        neighbours = torch.zeros(len(self.own), 2, dtype=torch.long)
        weights = torch.zeros(len(self.own), 2)
        first = knots = 0
        for cell in layout.cells:
            if cell.ordered > 8:  # fewer have nothing to share
                position = self.positions(torch.tensor(cell.shares[: cell.ordered])) * (self.KNOTS - 1)
                left = position.long().clamp_max(self.KNOTS - 2)
                here = slice(first, first + cell.ordered)
                neighbours[here] = torch.stack([left, left + 1], 1) + knots
                weights[here] = torch.stack([1 - (position - left), position - left], 1)
                knots += self.KNOTS
            first += len(cell.shares)
        self.curve = nn.Parameter(torch.randn(max(knots, 1), width) * deviation)
        self.register_buffer("neighbours", neighbours, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    @staticmethod
    def positions(shares: Tensor) -> Tensor:
        """(states) positions in [0, 1]: halfway between even spacing and even mass, so that neither a long thin tail
        nor a crowded middle is squeezed into one knot."""
        mass = shares / shares.sum().clamp_min(SMALLEST)
        return (torch.linspace(0, 1, len(shares)) + mass.cumsum(0) - mass / 2) / 2

    def forward(self) -> Tensor:
        curve = F.embedding_bag(self.neighbours, self.curve, mode="sum", per_sample_weights=self.weights)
        return self.own + curve


class Smooth(nn.Module):
    """A second vector (width) for each state, in which numbers are hardly more than numbers: (sum of sizes, width).

    An ordered state is a linear function of (1, z, (z² − 1)/3) with z its normal score by rank: three vectors a cell,
    however many states. So what is learnt of one number holds for its neighbours, and little can be known by heart. What
    is left to a number itself (a capital gain of 7,688 that all earn well) is a vector that starts at 0 and counts for
    FAINT: it learns that much slower, so that it gathers what many rows agree on. Other states keep whole vectors.
    """

    FAINT = 0.1
    features: Tensor  # (states, 3)
    vectors: Tensor  # (states, 3): where those of each state's cell lie in ``linear``, its first two dimensions as one

    def __init__(self, layout: Layout, width: int, deviation: float) -> None:
        super().__init__()
        sizes = torch.tensor(layout.sizes, dtype=torch.long)
        self.own = nn.Parameter(torch.randn(int(sizes.sum()), width) * deviation)
        self.linear = nn.Parameter(torch.randn(3, len(sizes), width) * deviation)
        features = torch.zeros(len(self.own), 3)
        first = 0
        for cell in layout.cells:
            if cell.ordered > 2:
                features[first : first + cell.ordered] = self.scores(torch.tensor(cell.shares[: cell.ordered])).t()
            first += len(cell.shares)
        with torch.no_grad():
            self.own.mul_(features[:, :1] == 0)  # numbers begin with none
        of_state = torch.arange(len(sizes)).repeat_interleave(sizes)
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("vectors", of_state[:, None] + torch.arange(3) * len(sizes), persistent=False)

    @staticmethod
    def scores(shares: Tensor) -> Tensor:
        """(3, states): 1, z and (z² − 1)/3 with z the standard normal quantile of the middle of each state's share,
        within ±3.1. Not standardised further: where most rows are one state, the others would be far away, and alike."""
        mass = shares.double() / shares.double().sum().clamp_min(SMALLEST)
        z = torch.special.ndtri((mass.cumsum(0) - mass / 2).clamp(1e-3, 1 - 1e-3))
        return torch.stack([torch.ones_like(z), z, (z**2 - 1) / 3]).float()

    def forward(self) -> Tensor:
        linear = self.linear.flatten(0, 1)
        smooth = F.embedding_bag(self.vectors, linear, mode="sum", per_sample_weights=self.features)
        return smooth + self.own * torch.where(self.features[:, :1] > 0, self.FAINT, 1.0)


class Shown(nn.Module):
    """Sum of the vectors of a row's cells, masked ones included, and of their crosses: (rows, C) states → (rows, width)."""

    offsets: Tensor

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        deviation = 0.5 / math.sqrt(max(len(layout.cells), 1))
        self.states = States(layout, width, deviation)
        self.smooth = Smooth(layout, width, deviation) if layout.target is not None else None
        self.hidden = nn.Parameter(torch.randn(len(layout.cells), width) * deviation)
        self.crossed = Crossed(layout, width, deviation) if layout.crosses else None
        self.register_buffer("offsets", torch.tensor(layout.starts, dtype=torch.long), persistent=False)

    def forward(self, cells: Tensor, hidden: Tensor, smooth: int) -> Tensor:
        """``hidden`` (rows, C) marks the masked cells, whose states are not looked at. The first ``smooth`` rows are
        shown by the smooth vectors of their states."""
        tables = [self.hidden, self.states()]
        index = torch.where(
            hidden, torch.arange(cells.shape[1], device=cells.device), cells + self.offsets + len(self.hidden)
        )
        if smooth:
            assert self.smooth is not None
            tables.append(self.smooth())
            index = index + F.pad((~hidden[:smooth]).long() * len(tables[1]), (0, 0, 0, len(index) - smooth))
        found = F.embedding_bag(index, torch.cat(tables), mode="sum")
        return found if self.crossed is None else found + self.crossed(cells, hidden)


class Segments(nn.Module):
    """The states of all cells side by side (S = sum of sizes), and what is done to each cell's without a loop over cells.

    ``first`` (C) is where each cell's states begin, ``cell`` (S) whose each state is; ``rank`` (C) when it is
    drawn.
    """

    first: Tensor
    cell: Tensor
    rank: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        sizes = torch.tensor(layout.sizes, dtype=torch.long)
        self.register_buffer("first", torch.tensor(layout.starts, dtype=torch.long), persistent=False)
        self.register_buffer("cell", torch.arange(len(sizes)).repeat_interleave(sizes), persistent=False)
        self.register_buffer("rank", torch.tensor(layout.ranks, dtype=torch.long), persistent=False)

    def hot(self, cells: Tensor) -> Tensor:
        """(rows, C) states → (rows, S) float32: 1 for each cell's state, 0 for its others."""
        return torch.zeros(len(cells), len(self.cell), device=cells.device).scatter_(1, cells + self.first, 1.0)

    def softmax(self, logits: Tensor) -> Tensor:
        """(rows, S) → (rows, S): probabilities that sum to 1 in each cell."""
        rows, index = len(logits), self.cell.expand(len(logits), -1)
        top = logits.new_zeros(rows, len(self.first)).scatter_reduce(
            1, index, logits.detach(), "amax", include_self=False
        )
        powers = (logits - top.gather(1, index)).exp()
        return powers / powers.new_zeros(top.shape).index_add(1, self.cell, powers).index_select(1, self.cell)

    def entropy(self, logits: Tensor, cells: Tensor) -> Tensor:
        """(rows, C) −log p in nats of the states ``cells`` (rows, C), by their ``logits`` (rows, S)."""
        states = logits.t().contiguous()  # as ``log_sums`` wants them; and their gradients need no turning to be added
        chosen = states.gather(0, (cells + self.first).t()).t()
        return log_sums(states.t(), self.cell, len(self.first)) - chosen

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """(rows, C) int64 states by inverse transform sampling from ``uniform`` (rows, C) in (0, 1)."""
        return draw_states(logits, None, uniform, self.cell)


class Logits(nn.Module):
    """Logits of every cell's states, side by side; they start at the marginals, so rare states need no unlearning."""

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        self.states = States(layout, width, 0.0)
        shares = torch.tensor([s for cell in layout.cells for s in cell.shares])
        self.bias = nn.Parameter(shares.clamp_min(1e-6).log())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.states(), self.bias)
