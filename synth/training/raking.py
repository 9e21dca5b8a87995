"""The shares of each cell's states among the training rows are known: what is drawn is brought to them.

Iterative proportional fitting (Deming and Stephan 1940, "On a Least Squares Adjustment of a Sampled Frequency Table When the
Expected Marginal Totals are Known"), with the biases of a model's logits in the place of a table's weights: what a state comes
too rarely by is added to its bias, so that what depends on what stays as it was learnt. It is a sample that tells, so the
k-th correction is made to 1/k: in the end all samples count alike (Robbins and Monro 1951, "A Stochastic Approximation
Method").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from synth.generators.base import Draw
from synth.generators.layout import Layout
from synth.generators.student import CELLS
from synth.recipe import TrainingRecipe

TIMES, BLOCKS, ROWS = 6, 12, 1024  # of blocks of rows each
SHORTEST = 800  # steps of a training that is no try
FEW = 8  # rows of a state that are as good as none: chance would move them as much


def worth(training: TrainingRecipe, layout: Layout) -> bool:
    """Whether a training was more than a try, and its rows take less time to draw than it took."""
    return training.steps is not None and training.steps >= SHORTEST and 0 < len(layout.cells) <= CELLS


@torch.no_grad()
def rake(
    layout: Layout, bias: Tensor, heat: Tensor | float, cells: Callable[[int, Draw], Tensor], *address: int | str
) -> None:
    """Change the ``bias`` (S) of logits, the states of all cells side by side, so that ``cells(rows, draw)``, (rows, C) of a
    model that has them and divides them by ``heat``, come in the shares of the training rows. Noise is drawn at ``address``."""
    device = bias.device
    shares = torch.tensor([share for cell in layout.cells for share in cell.shares], device=device)
    first = torch.tensor(layout.starts, dtype=torch.long, device=device)
    for time in range(TIMES):
        counts = torch.zeros_like(shares)
        for block in range(BLOCKS):
            drawn = cells(ROWS, Draw("rake", *address, time, block, device=device)) + first
            counts += drawn.flatten().bincount(minlength=len(counts))
        bias.add_(heat * ((BLOCKS * ROWS * shares + FEW) / (counts + FEW)).log() / (time + 1))
