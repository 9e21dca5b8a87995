"""Rows whose cells and values have the marginal distributions that they are known to have.

The codec shows numbers to a generator by their normal scores, so that those of the training rows are standard normal (point
masses apart, which cells stand for). What a generator of one pass makes of noise comes close, but is thin in the tails,
where few rows teach it. Its ranks say more than its numbers: rows keep their order in every column, and so all dependence
between columns, and each column gets its normal scores (the marginals of a copula: Sklar 1959; normal scores: van der
Waerden 1952). A cell's shares are known, too, and what is made of it is raked to them.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from synth.generators.layout import Encoded, Layout
from synth.generators.states import Segments

CLOSEST = 1e-9  # between two numbers of which one is larger
PASSES = 5  # of raking
MOST = 5.0  # log factor of a state, at most: one that is hardly ever made is not made of rows that say otherwise


def raked(logits: Tensor, counted: Tensor, shares: Tensor, segments: Segments) -> Tensor:
    """(S) log factors of all states by which the mean probability of each comes to its share of the training rows
    (raking: Deming and Stephan 1940, "On a least squares adjustment of a sampled frequency table").

    ``logits`` (rows, S) are those of generated rows, of which ``counted`` (rows, S) boolean count for a state. It is the
    least change of each row's probabilities, in the sense of the Kullback-Leibler divergence, that has these means.
    """
    rows, found = counted.sum(0), shares > 0
    factors = torch.zeros_like(shares)
    for _ in range(PASSES):
        mean = (segments.softmax(logits + factors) * counted).sum(0) / rows
        step = (shares / mean.clamp_min(CLOSEST)).log()
        factors = torch.where(found & (rows > 0), factors + step, 0.0).clamp(-MOST, MOST)
    return factors


class Margins:
    """The monotone map of each value of which the distribution is known, from the numbers of generated rows to normal
    scores: piecewise linear between these numbers, with slope one beyond the outermost. A value of which only one of the rows
    or none says anything stays as it is."""

    def __init__(self, layout: Layout, made: Encoded) -> None:
        """``made``: rows of the generator, as it makes them."""
        device, normal = made.values.device, layout.normal
        first = [0, *accumulate(layout.sizes)]
        # Where there is no cell, one more cell with one state, that always says more.
        cell = [len(layout.cells) if one.cell is None else one.cell for one in normal]
        self.columns = torch.tensor([one.value for one in normal], dtype=torch.long, device=device)
        self.cells = torch.tensor(cell, dtype=torch.long, device=device)
        self.first = torch.tensor([first[c] for c in cell], dtype=torch.long, device=device)
        self.smooth = torch.zeros(first[-1] + 1, dtype=torch.bool, device=device)
        for one, c in zip(normal, cell, strict=True):
            self.smooth[[first[c] + state for state in one.states] or first[-1]] = True
        told, identity = self._told(made.cells), made.values.new_tensor([-1.0, 1.0])
        known = [made.values[told[:, k], one.value].sort().values for k, one in enumerate(normal)]
        scores = [_normal_scores(len(knots)).to(knots) if len(knots) > 1 else identity for knots in known]
        known = [knots if len(knots) > 1 else identity for knots in known]
        self.last = torch.tensor([[len(knots) - 1] for knots in known], device=device)
        self.knots = pad_sequence(known, batch_first=True, padding_value=torch.inf)
        self.scores = pad_sequence(scores, batch_first=True)

    def __call__(self, rows: Encoded) -> Tensor:
        """(rows, V) the values of generated ``rows``, those that are known as they should be."""
        old = rows.values[:, self.columns]
        new = torch.where(self._told(rows.cells), self._scored(old.T.contiguous()).T, old)
        return rows.values.index_copy(1, self.columns, new)

    def _told(self, cells: Tensor) -> Tensor:
        """(rows, columns) boolean: where the value says more than the cell."""
        return self.smooth[F.pad(cells, (0, 1))[:, self.cells] + self.first]

    def _scored(self, x: Tensor) -> Tensor:
        """(columns, rows) normal scores."""
        above = torch.minimum(torch.searchsorted(self.knots, x).clamp_min(1), self.last)
        left, right = self.knots.gather(1, above - 1), self.knots.gather(1, above)
        share = ((x - left) / (right - left).clamp_min(CLOSEST)).clamp(0, 1)
        inside = torch.lerp(self.scores.gather(1, above - 1), self.scores.gather(1, above), share)
        return inside + x - x.clamp(self.knots[:, :1], self.knots.gather(1, self.last))


def _normal_scores(n: int) -> Tensor:
    """(n,) float64 normal quantiles of the middles of n equal shares."""
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
