"""Domain-adversarial training: generated rows are to look like the table's to a network that predicts the target.

A network with its own view of rows learns the target from real and from generated rows, and a head on its features tells
the ones from the others. Between the two, gradients are reversed (Ganin et al. 2016, "Domain-Adversarial Training of Neural
Networks", arXiv 1505.07818, section 4.2), so that what the head learns to see, the features and the generator unlearn:

    L = L_task(generated) + L_task(real) − weight · λ · L_domain  for the features,
                                         − weight · λ · L_domain  for the generated rows,
                                         + weight ·     L_domain  for the head.

It aligns what the task looks at and no more: to all else features go blind, and the generator is left as it is. Features
alone may agree where classes do not, so the head is told each row's class: it sees the product of features and class (Long
et al. 2018, "Conditional Adversarial Domain Adaptation", arXiv 1705.10667, section 3.2).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.errors import UserError
from synth.generators.layout import Layout
from synth.generators.states import Segments, Smooth


class Reversal(torch.autograd.Function):
    """R(x) = x with dR/dx = −λ I (Ganin et al. 2016, section 4.2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def strength_at(step: int, steps: int) -> float:
    """λ = 2 / (1 + e^(−10 p)) − 1 with p = ``step`` / ``steps`` up to 1: the head learns before it is listened to (Ganin et
    al. 2016, section 5)."""
    return 2 / (1 + math.exp(-10 * min(1.0, step / steps))) - 1


def harden(soft: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
    """(rows, C) int64, the likeliest state of each cell in ``soft`` (rows, S), and (rows, S) 1 for it and 0 for others, with
    the gradients of ``soft``: straight-through (Jang et al. 2017, arXiv 1611.01144, section 2.2).

    Real rows are whole states. Next to them, softness alone would give generated ones away.
    """
    rows, index = len(soft), segments.cell.expand(len(soft), -1)
    top = soft.new_zeros(rows, len(segments.first)).scatter_reduce(1, index, soft.detach(), "amax")
    place = torch.arange(soft.shape[1], device=soft.device)
    place = torch.where(soft >= top.gather(1, index), place, soft.shape[1])
    cells = place.new_full(top.shape, soft.shape[1]).scatter_reduce(1, index, place, "amin") - segments.first
    return cells, soft + (segments.hot(cells) - soft).detach()


class Labelled(NamedTuple):
    """``states`` (rows, S) of all cells but the target, side by side, ``values`` (rows, V), and the class ``label`` (rows)
    int64."""

    states: Tensor
    values: Tensor
    label: Tensor


class Domain(nn.Module):
    """Features of rows, the task's head and the domain's.

    ``others`` is the layout without its target, of which there are ``classes``. ``weight`` is that of L_domain, whose λ
    rises over so many ``steps``.
    """

    def __init__(self, others: Layout, classes: int, *, width: int, weight: float, steps: int) -> None:
        super().__init__()
        self.weight, self.steps = weight, steps
        self.segments = Segments(others)
        self.states = Smooth(others, width, 1 / math.sqrt(len(others.cells))) if others.cells else None
        self.values = nn.Linear(others.values, width)
        self.hidden = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU())
        self.task = nn.Linear(width, classes)
        self.seen = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.verdict = nn.Linear(width, classes)

    @classmethod
    def of(cls, layout: Layout, target: int | None, **options: Any) -> Domain:
        """For the cell ``target`` of a layout; UserError where there is none to predict."""
        if target is None:
            raise UserError(
                f"domain={options['weight']:g} needs a target class to predict from other columns, and there is none: name "
                "a categorical --target, or set domain=0"
            )
        others = Layout(cells=layout.cells[:target] + layout.cells[target + 1 :], values=layout.values)
        return cls(others, len(layout.cells[target].shares), **options)

    def forward(self, real: Labelled, made: Labelled, step: int) -> Tensor:
        """(rows) loss of each pair of a ``real`` row and a ``made`` one at optimizer step ``step``.

        Classes of made rows teach the features and not the generator, which would draw rows away from where classes
        overlap (as auxiliary classifiers do: Shu et al. 2017, "AC-GAN Learns a Biased Distribution").
        """
        rows = len(real.label)
        features = self.features(
            torch.cat([real.states, made.states.detach(), made.states]),
            torch.cat([real.values, made.values.detach(), made.values]),
        )
        label = torch.cat([real.label, made.label])
        task = F.cross_entropy(self.task(features[: 2 * rows]).float(), label, reduction="none")
        judged = self.judge(torch.cat([features[:rows], features[2 * rows :]]), label, strength_at(step, self.steps))
        is_real = (torch.arange(2 * rows, device=judged.device) < rows).float()
        domain = F.binary_cross_entropy_with_logits(judged, is_real, reduction="none")
        return (task + self.weight / 2 * domain).view(2, rows).sum(0)

    def features(self, states: Tensor, values: Tensor) -> Tensor:
        """(rows, width) of ``states`` (rows, S) and ``values`` (rows, V)."""
        x = self.values(values)
        if self.states is not None:
            x = x + states @ self.states()
        return self.hidden(x)

    def judge(self, features: Tensor, label: Tensor, strength: float) -> Tensor:
        """(rows) logit of a row being real, from its ``features`` (rows, width), whose gradients are reversed, and its
        ``label`` (rows)."""
        # A linear map of seen ⊗ one-hot(label) is the label's row of a linear map of seen.
        return self.verdict(self.seen(Reversal.apply(features, strength))).gather(1, label[:, None])[:, 0].float()
