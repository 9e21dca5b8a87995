"""Values that have the marginal distributions that they are known to have.

The codec shows a smooth column to a generator as a value that is standard normal among the training rows. What a
generator of one pass makes of noise comes close, but is thin in the tails, where few rows teach it. Its ranks say more
than its numbers: rows keep their order in every column, and so all dependence between columns, and each column gets its
normal scores (the marginals of a copula: Sklar 1959; normal scores: van der Waerden 1952).
"""

from __future__ import annotations

import torch
from torch import Tensor

CLOSEST = 1e-9  # between two numbers of which one is larger


class Margins:
    """The monotone map of each column from the numbers ``drawn`` (n, V), n > 1, to normal scores: piecewise linear between
    them, with slope one beyond the outermost."""

    def __init__(self, drawn: Tensor) -> None:
        n = len(drawn)
        middle = (torch.arange(n, dtype=torch.float64, device=drawn.device) + 0.5) / n
        self.knots = drawn.T.contiguous().sort(1).values
        self.scores = torch.special.ndtri(middle).to(drawn.dtype)

    def __call__(self, values: Tensor) -> Tensor:
        """(rows, V) normal scores of ``values`` (rows, V)."""
        x = values.T.contiguous()
        above = torch.searchsorted(self.knots, x).clamp(1, len(self.scores) - 1)
        left, right = self.knots.gather(1, above - 1), self.knots.gather(1, above)
        share = ((x - left) / (right - left).clamp_min(CLOSEST)).clamp(0, 1)
        inside = torch.lerp(self.scores[above - 1], self.scores[above], share)
        beyond = x - x.clamp(self.knots[:, :1], self.knots[:, -1:])
        return (inside + beyond).T
