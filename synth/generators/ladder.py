"""The network of the table VAE: encoder, ladder of latent units, decoder, and the target's classifier."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators import latent
from synth.generators.domain import Domain, Labelled, harden
from synth.generators.layout import Layout
from synth.generators.likelihood import draw_values
from synth.generators.residual import Block
from synth.generators.states import Logits, Segments, Smooth, States

TEMPERATURE = 0.5  # of Gumbel-softmax, by which gradients reach the logits of rows from the prior


class Row(nn.Module):
    """A row as one vector (rows, width): the sum of the vectors of its cells' states and a linear map of its values."""

    offsets: Tensor

    def __init__(self, layout: Layout, width: int, states: type[States] | type[Smooth] = States) -> None:
        super().__init__()
        sizes = torch.tensor(layout.sizes, dtype=torch.long)
        self.width = width
        self.states = states(layout, width, 0.5 / math.sqrt(len(sizes))) if layout.cells else None
        self.values = nn.Linear(layout.values, width) if layout.values else None
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)

    def forward(self, cells: Tensor, values: Tensor) -> Tensor:
        x = torch.zeros(len(cells), self.width, device=cells.device)
        if self.states is not None:
            x = x + F.embedding_bag(cells + self.offsets, self.states(), mode="sum")
        if self.values is not None:
            # In full precision: bfloat16 has 8 bits, and values nearer to each other would be one to the posterior.
            with torch.autocast(x.device.type, enabled=False):
                x = x + self.values(values)
        return x


class Posterior(nn.Module):
    """Mean and log-variance (rows, units) of a rung's q(z_l | x, z_<l), seen from the decoder's state ``h`` before it
    and what the encoder says of the ``row`` (both rows, width)."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.state = nn.Linear(width, width)
        self.head = nn.Linear(width, 2 * units)
        # Narrow at first, so that units tell of the row before the decoder has learnt to leave them aside.
        nn.init.constant_(self.head.bias[units:], math.log(0.1))

    def forward(self, h: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.head(F.silu(self.state(h) + row)).float().chunk(2, 1)
        return mean, 8 * torch.tanh(log_variance / 8)  # beyond e^±8 nothing is gained, and much can overflow


class Rung(nn.Module):
    """What a few latent units ``z`` (rows, units) make of the decoder's state."""

    def __init__(self, width: int, expansion: int, units: int) -> None:
        super().__init__()
        self.enter = nn.Linear(units, width)
        self.block = Block(width, expansion)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return self.block(h + self.enter(z))


class Mixtures(nn.Module):
    """Of what mixture (rows, V, 3, components) each value is, seen from the decoder's state and the cells of the row."""

    def __init__(self, layout: Layout, width: int, expansion: int, components: int) -> None:
        super().__init__()
        self.shape = (layout.values, 3, components)
        self.cells = Row(layout.model_copy(update={"values": 0}), width)
        self.block = Block(width, expansion)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, math.prod(self.shape))
        with torch.no_grad():  # means apart, so that no component begins as the copy of another
            self.head.weight.mul_(0.1)
            self.head.bias.zero_().view(self.shape)[:, 1] = torch.special.ndtri(
                (torch.arange(components) + 0.5) / components
            )

    def forward(self, h: Tensor, cells: Tensor) -> Tensor:
        x = self.norm(self.block(h + self.cells(cells, h[:, :0])))
        # In full precision: bfloat16 has 8 bits, and a mean would lie beside its place by more than a narrow deviation.
        with torch.autocast(x.device.type, enabled=False):
            return self.head(x.float()).view(-1, *self.shape)


class Classifier(nn.Module):
    """Logits of the target (rows, states), seen from the rest of the row, in which numbers are hardly more than numbers.

    ``gain`` (rows, units) multiplies the hidden units: dropout's 0 or 1/(1 − rate) (Srivastava et al. 2014).
    """

    def __init__(self, others: Layout, target: Layout, width: int, blocks: int, expansion: int) -> None:
        super().__init__()
        self.row = Row(others, width, Smooth)
        self.blocks = nn.ModuleList(Block(width, expansion) for _ in range(blocks))
        self.logits = nn.Sequential(nn.LayerNorm(width), Logits(target, width))

    def forward(self, cells: Tensor, values: Tensor, gain: Tensor | None = None) -> Tensor:
        x = self.row(cells, values)
        for block in self.blocks:
            x = block(x, gain)
        return self.logits(x).float()


class Beside(NamedTuple):
    """What domain-adversarial training needs beside a batch: the optimizer ``step``, the ``label`` (rows) of the batch's
    rows, and noise of as many rows from the prior: ``z`` (rows, units) and ``place`` (rows, V) standard normal,
    ``component`` (rows, V) uniform on (0, 1), ``states`` (rows, states of the cells but the target) and ``classes`` (rows,
    its states) standard Gumbel."""

    step: int
    label: Tensor
    z: Tensor
    states: Tensor
    component: Tensor
    place: Tensor
    classes: Tensor


class Parts(NamedTuple):
    """What the network says of rows: ``logits`` (rows, states of the cells but the target), ``mixture`` (rows, V, 3,
    components), logits of the ``target`` (rows, its states), posterior ``mean`` and ``log_variance`` (rows, units), and the
    loss of domain-adversarial training ``domain`` (rows), if there is any."""

    logits: Tensor
    mixture: Tensor
    target: Tensor
    mean: Tensor
    log_variance: Tensor
    domain: Tensor | None


class Autoencoder(nn.Module):
    """Encoder, ladder, decoder and classifier.

    ``others`` is the layout without the target cell, ``target`` of that cell alone, or of none. Cells (rows, C) are those
    of ``others`` throughout, values (rows, V).
    """

    def __init__(
        self,
        others: Layout,
        target: Layout,
        *,
        width: int,
        blocks: int,
        expansion: int,
        rungs: int,
        units: int,
        components: int,
    ) -> None:
        super().__init__()
        self.row = Row(others, width)
        self.encoder = nn.ModuleList(Block(width, expansion) for _ in range(blocks))
        self.seen = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, rungs * width))  # by all rungs, in one product
        self.start = nn.Parameter(torch.zeros(width))
        self.posteriors = nn.ModuleList(Posterior(width, units) for _ in range(rungs))
        self.ladder = nn.ModuleList(Rung(width, expansion, units) for _ in range(rungs))
        self.decoder = nn.ModuleList(Block(width, expansion) for _ in range(blocks))
        self.logits = nn.Sequential(nn.LayerNorm(width), Logits(others, width)) if others.cells else None
        self.mixtures = Mixtures(others, width, expansion, components) if others.values else None
        self.classifier = Classifier(others, target, width, blocks, expansion) if target.cells else None
        self.domain: Domain | None = None

    def forward(
        self,
        cells: Tensor,
        values: Tensor,
        noise: Tensor,
        gain: Tensor | None,
        beside: Beside | None,
    ) -> Parts:
        """``noise`` (rows, units) is standard normal, ``gain`` the classifier's dropout."""
        h, mean, log_variance = self.infer(cells, values, noise)
        target = self.of_target(cells, values, gain)
        domain = None
        if self.domain is not None and beside is not None:
            real = Labelled(self.domain.segments.hot(cells), values, beside.label)
            domain = self.domain(real, self._made(beside, self.domain.segments), beside.step)
        return Parts(self.of_cells(h), self.of_values(h, cells), target, mean, log_variance, domain)

    def _made(self, beside: Beside, segments: Segments) -> Labelled:
        """Rows from the prior, whose gradients reach the logits of all states, and of the values' mixtures the means and
        the deviations."""
        h = self.decode(beside.z)
        soft = segments.softmax((self.of_cells(h) + beside.states) / TEMPERATURE)
        cells, states = harden(soft, segments)
        values = draw_values(self.of_values(h, cells), beside.component, beside.place)
        with torch.no_grad():
            label = (self.of_target(cells, values) + beside.classes).argmax(1)
        return Labelled(states, values, label)

    def infer(self, cells: Tensor, values: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decoder's state (rows, width) at z drawn with ``noise`` from q(z | x), and q's means and log-variances."""
        x = self.row(cells, values)
        for block in self.encoder:
            x = block(x)
        h, means, log_variances = self.start.expand(len(x), -1), [], []
        rows, normals = (part.chunk(len(self.ladder), 1) for part in (self.seen(x), noise))
        for rung, posterior, row, normal in zip(self.ladder, self.posteriors, rows, normals, strict=True):
            mean, log_variance = posterior(h, row)
            h = rung(h, latent.posterior(mean, log_variance, normal))
            means.append(mean)
            log_variances.append(log_variance)
        return self._decoded(h), torch.cat(means, 1), torch.cat(log_variances, 1)

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's state (rows, width) at ``z`` (rows, units)."""
        h = self.start.expand(len(z), -1)
        for rung, units in zip(self.ladder, z.chunk(len(self.ladder), 1), strict=True):
            h = rung(h, units)
        return self._decoded(h)

    def _decoded(self, h: Tensor) -> Tensor:
        for block in self.decoder:
            h = block(h)
        return h

    def of_cells(self, h: Tensor) -> Tensor:
        """Logits of p(cells | z)."""
        return self.logits(h).float() if self.logits is not None else h[:, :0].float()

    def of_values(self, h: Tensor, cells: Tensor) -> Tensor:
        """The mixtures p(values | cells, z)."""
        return self.mixtures(h, cells) if self.mixtures is not None else h.new_zeros(len(h), 0, 3, 1)

    def of_target(self, cells: Tensor, values: Tensor, gain: Tensor | None = None) -> Tensor:
        """Logits of p(target | cells, values)."""
        return self.classifier(cells, values, gain) if self.classifier is not None else values[:, :0]
