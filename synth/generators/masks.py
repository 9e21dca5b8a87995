"""What a row hides and what it shows while a table diffusion model learns from it, from uniform numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from synth.generators.states import SMALLEST


def hide(
    chance: Tensor, visible: Tensor, ordinary: Tensor, aims: int, target: int | None, target_shown: float, early: Tensor
) -> tuple[Tensor, Tensor]:
    """(rows, C) booleans, which cells are hidden and which of them are learnt, from ``chance`` (rows, C), ``visible`` and
    ``ordinary`` (rows, 1): a uniformly random number of the cells, at least one, uniformly chosen, but for those that are
    ``early`` (C): they are the last to be hidden.

    Averaging each row's cross-entropy over its hidden cells then gives −log p(cells) / C in expectation over the
    orders (arXiv 2110.02037, Eq. 4), without the 1/t weights of the continuous-time form and their variance.

    The ``target``, which is drawn last where nothing is known of it, is hidden from most rows and not learnt by them. To a
    share ``target_shown`` of the rows it is a cell like any other, so that the others can be drawn when it is known, and so
    are those that are early; the first ``aims`` rows see all others, and learn it alone.
    """
    cells, apart = chance.shape[1], ordinary >= target_shown
    chance = torch.where(apart & early, chance - 1, chance)
    if target is None:
        hidden = ~_least(chance, (visible * cells).long())
        return hidden, hidden
    apart[:aims] = True
    at = torch.arange(cells, device=chance.device) == target
    # Apart, it is the first in the ranking, where nothing is hidden.
    ranked = torch.where(at & apart, -2.0, chance)
    others = ~_least(ranked, apart + (visible * (cells - apart.long())).long())
    others[:aims] = at
    return others | (at & apart), others


def show(chance: Tensor, order: Tensor, masked: int, evidence: float) -> Tensor:
    """(rows, V) boolean, which values each row is shown, from ``chance`` (rows, 1) and ``order`` (rows, V): none, or to a
    share ``evidence`` of the rows a uniformly random number, uniformly chosen. A row that learns values, as those from
    ``masked`` on, is not shown them all."""
    rows, values = order.shape
    most = torch.full((rows, 1), values, device=order.device)
    most[masked:] -= 1
    number = torch.where(chance < evidence, chance / max(evidence, SMALLEST) * (most + 1), 0.0).long()
    return _least(order, torch.minimum(number, most))


def _least(numbers: Tensor, count: Tensor) -> Tensor:
    """(rows, n) boolean: which are the ``count`` (rows, 1) least of each row's ``numbers`` below 1; fewer where the
    next is as great as the last of them."""
    bounds = F.pad(numbers.sort(1).values, (0, 1), value=1.0)
    return numbers < bounds.gather(1, count)
