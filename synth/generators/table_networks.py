"""The networks of the table GAN: what makes rows, what classifies them, and what judges them."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from synth.generators import residual
from synth.generators.adversarial import judged
from synth.generators.domain import Domain
from synth.generators.layout import Layout
from synth.generators.spectral import Spectral
from synth.generators.states import Logits, Smooth, States

Block = partial(residual.Block, activation=partial(F.leaky_relu, negative_slope=0.2))


class Classifier(nn.Module):
    """The target's states from the other cells and the values.

    Numbers are shown by their smooth vectors (``Smooth``), so that few rows can be learnt by heart.
    """

    own: Tensor

    def __init__(self, layout: Layout, target: int, width: int, expansion: int) -> None:
        super().__init__()
        first, sizes = sum(layout.sizes[:target]), layout.sizes
        self.smooth = Smooth(layout, width, 1 / math.sqrt(len(layout.cells)))
        self.values = nn.Linear(layout.values, width)
        self.block = Block(width, expansion, norm=True)
        self.norm = nn.LayerNorm(width)
        self.classes = nn.Linear(width, sizes[target])
        self.register_buffer("own", torch.arange(first, first + sizes[target]), persistent=False)

    def forward(self, states: Tensor, values: Tensor, gain: Tensor | None = None) -> Tensor:
        """Logits (rows, states of the target) from ``states`` (rows, S), of which the target's are not looked at, and
        ``values`` (rows, V)."""
        x = states.index_fill(1, self.own, 0.0) @ self.smooth() + self.values(values)
        return self.classes(self.norm(self.block(x, gain))).float()

    def draw(self, states: Tensor, values: Tensor, uniform: Tensor) -> Tensor:
        """(rows, S) ``states`` with a state of the target by inverse transform of ``uniform`` (rows, 1). Its gradients are
        those of the other states, as if it had been known."""
        with torch.no_grad():
            cumulated = self(states, values).softmax(1).cumsum(1)
        point = uniform * cumulated[:, -1:]
        found = torch.searchsorted(cumulated, point, right=True).clamp_max(len(self.own) - 1)
        return states.index_fill(1, self.own, 0.0).scatter(1, self.own[found], 1.0)


class Synthesis(nn.Module):
    """The generator's network, from noise (rows, noise) and the number of a state that is given; and the classifier.

    Cells begin at their marginal shares, independent of all else; values as a random projection of the noise.
    """

    def __init__(
        self, layout: Layout, target: int | None, given: bool, *, noise: int, width: int, blocks: int, expansion: int
    ) -> None:
        super().__init__()
        self.noise = nn.Linear(noise, width)
        self.given = States(layout, width, 0.5) if given else None
        self.blocks = nn.ModuleList(Block(width, expansion, norm=True) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.logits = Logits(layout, width) if layout.cells else None
        self.values = nn.Linear(width, layout.values)
        self.classifier = Classifier(layout, target, width, expansion) if target is not None else None
        self.domain: Domain | None = None

    def forward(
        self, noise: Tensor, given: Tensor | None, real: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits of all states (rows, S), values (rows, V), and the classifier's logits of ``real`` rows, which are its
        arguments. ``given`` is (rows, 1) of 0 … S − 1."""
        x = self.noise(noise)
        if self.given is not None and given is not None:
            x = x + F.embedding(given[:, 0], self.given())
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        logits = self.logits(x) if self.logits is not None else x[:, :0]
        classes = self.classifier(*real) if self.classifier is not None and real is not None else None
        return logits.float(), self.values(x).float(), classes


class Critic(nn.Module):
    """Scores of packs of ``pac`` rows (Lin et al. 2018, "PacGAN", arXiv 1712.04086): a residual MLP without normalisation.

    Slopes are with respect to states as they are, between which the distance is √2, and to values in units of FINE,
    three tenths of their deviation: penalties that leave room to tell states apart would blur what is fine in numbers, and
    with a tenth a grid of narrow modes lost some of them again. All is computed in full precision, since a gradient of
    gradients in bfloat16 would have too few digits.
    """

    FINE = 0.3
    slots: Tensor
    units: Tensor

    def __init__(
        self, layout: Layout, given: bool, *, pac: int, spectral: bool, width: int, blocks: int, expansion: int
    ) -> None:
        super().__init__()
        cells = len(layout.cells)
        self.pac, self.split = pac, [sum(layout.sizes), layout.values]
        deviation = 1 / math.sqrt(pac * (cells + layout.values))
        self.states = States(layout, pac * width, deviation) if cells else None
        self.values = nn.Linear(pac * layout.values, width)
        self.given = nn.Parameter(torch.randn(pac * cells, width) * deviation) if given else None
        self.blocks = nn.ModuleList(Block(width, expansion, norm=False) for _ in range(blocks))
        self.score = nn.Linear(width, 1, bias=False)  # of which a difference of scores would know nothing
        units = torch.tensor([1.0] * self.split[0] + [self.FINE] * self.split[1])
        self.register_buffer("units", units, persistent=False)
        self.register_buffer("slots", torch.arange(pac) * cells, persistent=False)
        if spectral:
            for module in [m for m in self.modules() if isinstance(m, nn.Linear) and m.weight.numel()]:
                nn.init.orthogonal_(module.weight)  # zeros have no greatest singular value to be divided by
                parametrize.register_parametrization(module, "weight", Spectral(*module.weight.shape))

    def packed(self, rows: Tensor) -> Tensor:
        """(rows, pac, …): each row with those after it, the last with the first. So there is a pack for every row, and
        neither a batch nor a worker's share of one has to divide."""
        return torch.stack([rows.roll(-k, 0) for k in range(self.pac)], 1)

    def forward(self, packs: Tensor, given: Tensor | None, slopes: bool = False) -> tuple[Tensor, Tensor | None]:
        """(scores, and ‖∇ score‖² if ``slopes``), both (packs,), of ``packs`` (packs, pac, S + V), whose rows have the
        state of the cells ``given`` (packs, pac) in common with what they are compared with."""
        with torch.autocast(packs.device.type, enabled=False):
            if slopes:
                return judged(lambda x: self._scores(x * self.units, given), packs / self.units)
            return self._scores(packs, given), None

    def _scores(self, packs: Tensor, given: Tensor | None) -> Tensor:
        states, values = packs.split(self.split, 2)
        x = self.values(values.flatten(1))
        if self.states is not None:
            table = self.states().view(self.split[0], self.pac, -1).transpose(0, 1).flatten(0, 1)
            x = x + states.flatten(1) @ table
        if self.given is not None and given is not None:
            x = x + F.embedding_bag(given + self.slots, self.given, mode="sum")
        for block in self.blocks:
            x = block(x)
        return self.score(F.leaky_relu(x, 0.2))[:, 0]
