"""The two-player objectives and the gradient penalties that keep them stable, row by row.

Every function returns a number a row, (rows,), so that a caller can take the mean over a whole batch also where the
workers' shares of it are unequal. Scores are the critic's unbounded outputs: the greater, the more real.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from synth.family import Objective

SMALLEST = 1e-12  # under the root of a squared norm, whose slope at 0 is infinite


def critic_loss(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    """(rows,) what the critic minimises, from its scores (rows,) of real and of generated rows.

    ``relativistic`` compares row *i* of one with row *i* of the other, softplus(−(D(x) − D(y))): no mode can be left out
    at no cost, since each real row is a rival (RpGAN: Jolicoeur-Martineau 2018, arXiv 1807.00734, section 4; Huang et
    al. 2024, "The GAN is dead; long live the GAN!", arXiv 2501.05441, Eq. 2). ``non-saturating`` is Goodfellow et al.
    2014, arXiv 1406.2661, section 3. ``wasserstein`` is Arjovsky et al. 2017, arXiv 1701.07875, Eq. 2, which asks for a
    critic of slope one (``one_centred``, or spectral normalisation).
    """
    if objective == "relativistic":
        return F.softplus(fake - real)
    if objective == "non-saturating":
        return F.softplus(-real) + F.softplus(fake)
    return fake - real


def generator_loss(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    """(rows,) what the generator minimises, from the same scores; only ``relativistic`` looks at those of real rows."""
    if objective == "relativistic":
        return F.softplus(real - fake)
    if objective == "non-saturating":
        return F.softplus(-fake)
    return -fake


def judged(critic: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """(scores, ‖∇ D‖²), both (rows,): the critic's scores of ``rows`` (rows, …), and the squared norm of the gradient of
    each score with respect to its own row, through which the critic's weights get gradients in turn.

    Under a trainer that wraps the critic, call this from within the critic's ``forward``: what the trainer hooks to a
    player's outputs must see one way back, the loss's.
    """
    rows = rows.detach().requires_grad_()
    scores = critic(rows)
    (gradient,) = torch.autograd.grad(scores.sum(), rows, create_graph=True)
    return scores, gradient.float().flatten(1).square().sum(1)


def zero_centred(squared: Tensor, gamma: float) -> Tensor:
    """(rows,) γ/2 ‖∇ D‖² from ``judged``: R1 on real rows, R2 on generated ones (Mescheder et al. 2018, arXiv
    1801.04406, Eqs. 9 and 10). With both, training converges near a solution where a GAN's would circle it."""
    return gamma / 2 * squared


def one_centred(squared: Tensor, weight: float) -> Tensor:
    """(rows,) λ (‖∇ D‖ − 1)² from ``judged`` on ``between`` (Gulrajani et al. 2017, arXiv 1704.00028, Eq. 3)."""
    return weight * ((squared + SMALLEST).sqrt() - 1).square()


def between(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """(rows, …) points on the lines from generated rows to real ones, at ``share`` (rows, 1) uniform on [0, 1)."""
    return fake + share.view(-1, *[1] * (real.ndim - 1)) * (real - fake)
