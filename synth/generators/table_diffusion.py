"""Diffusion for tables: masked cells and noisy values in one denoiser.

The rows' distribution is factorised as p(cells) p(values | cells). Cells follow absorbing (masked) diffusion, in its
any-order form: the network learns every conditional p(cell | any subset of the others), and samples unmask one cell at
a time, so that no two cells are ever drawn independently of each other (Hoogeboom et al. 2022, "Autoregressive
Diffusion Models", arXiv 2110.02037, Eq. 4; the masked half of TabDiff, Shi et al. 2025, arXiv 2410.20626). Values follow
EDM's continuous diffusion given all cells (Karras et al. 2022, arXiv 2206.00364).

A target class is drawn last among the cells, from a view of the others in which numbers are hardly more than numbers: a
classifier in the model. p(target | all else) is what downstream models look for, and what fine states of numbers let a
network learn by heart: with them its AUC on held-out rows of two tables was below that of boosted trees, without above.

Unmasking several cells in one step, as joint samplers do, draws them as if they were independent of each other. Here
the number of network evaluations is C + 2 · steps − 1 and no such error is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators import noise
from synth.generators.base import Call, Draw, Generator
from synth.generators.layout import Encoded, Layout
from synth.generators.states import SMALLEST, Logits, Shown


class Block(nn.Module):
    """Pre-norm residual block; ``level`` (rows, width) embeds the noise level.

    ``gain`` (first rows, units) multiplies the hidden units of those rows: dropout's 0 or 1/(1 − rate) (Srivastava et
    al. 2014). The other rows keep theirs.
    """

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, width * expansion)
        self.narrow = nn.Linear(width * expansion, width)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor, level: Tensor, gain: Tensor | None = None) -> Tensor:
        units = F.silu(self.widen(self.norm(x) + level))
        if gain is not None:
            units = torch.cat([units[: len(gain)] * gain.to(units.dtype), units[len(gain) :]])
        return x + self.narrow(units)


class Denoiser(nn.Module):
    """Residual MLP over partly masked cells and noisy values.

    The first rows of a batch, as many as ``hidden`` has, have some cells masked and no values; they return logits of
    all states (masked rows, sum of sizes). The others see all cells and noisy ``values`` (rest, V) at noise level
    ``sigma`` (rest, 1), and return EDM's raw output F (rest, V). ``gain`` (masked rows, units) is the dropout of the
    masked rows, in training alone; all blocks share it, since their units have nothing in common. The first ``smooth``
    rows see the smooth vectors of their cells.
    """

    frequencies: Tensor

    def __init__(self, layout: Layout, width: int, blocks: int, expansion: int) -> None:
        super().__init__()
        self.cells = Shown(layout, width) if layout.cells else None
        self.values = nn.Linear(layout.values, width) if layout.values else None
        self.level = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.absent = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(width, expansion) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.logits = Logits(layout, width) if layout.cells else None
        self.raw = nn.Linear(width, layout.values) if layout.values else None
        if self.raw is not None:
            nn.init.zeros_(self.raw.weight)
            nn.init.zeros_(self.raw.bias)
        self.register_buffer("frequencies", torch.logspace(math.log10(0.3), math.log10(20), 16), persistent=False)

    def trunk(
        self, cells: Tensor, hidden: Tensor, values: Tensor, sigma: Tensor, gain: Tensor | None = None, smooth: int = 0
    ) -> Tensor:
        """(rows, width) hidden state; shapes as above, ``cells`` (rows, C) whatever is hidden."""
        masked, rest = len(hidden), len(values)
        phase = (sigma.log() / 4) * self.frequencies
        level = self.level(torch.cat([phase.sin(), phase.cos()], 1))
        level = torch.cat([self.absent.to(level.dtype).expand(masked, -1), level])
        x = torch.zeros_like(level)
        if self.cells is not None:
            x = x + self.cells(cells, F.pad(hidden, (0, 0, 0, rest)), smooth)
        if self.values is not None:
            # In full precision: bfloat16 has 8 bits, and noise levels below 1/256 would vanish in rounding.
            with torch.autocast(x.device.type, enabled=False):
                x = x + F.pad(self.values(noise.scaled_input(values, sigma)), (0, 0, masked, 0))
        for block in self.blocks:
            x = block(x, level, gain)
        return self.norm(x)

    def forward(
        self, cells: Tensor, hidden: Tensor, values: Tensor, sigma: Tensor, gain: Tensor | None = None, smooth: int = 0
    ) -> tuple[Tensor, Tensor]:
        x = self.trunk(cells, hidden, values, sigma, gain, smooth)
        masked, rest = x[: len(hidden)], x[len(hidden) :]
        logits = self.logits(masked) if self.logits is not None else masked[:, :0]
        return logits.float(), (self.raw(rest) if self.raw is not None else rest[:, :0]).float()


def balance(layout: Layout) -> float:
    """Share of the rows that learn cells: one minus twice the values' share of the variables, in [1/2, 3/4].

    Where most variables are cells, a half left them underfitted (Beijing PM2.5, 12 cells and 2 values). Where values are
    more than a quarter, three quarters had a small table's cells learnt by heart sooner (Online Shoppers, 18 and 7).
    """
    variables = len(layout.cells) + layout.values
    return min(max(1 - 2 * layout.values / max(variables, 1), 0.5), 0.75)


class TableDiffusion(Generator):
    """Masked and continuous diffusion over an encoded table.

    ``cell_share`` is the share of each batch that learns cells (the rest learns values; None: ``balance``), ``target_share``
    the share of those rows that learn the target; ``sigma_mean`` and ``sigma_deviation`` are EDM's training distribution
    of ln sigma; ``steps`` the Heun steps of a sample. ``dropout`` acts
    on the rows that learn cells: a cell's few states are soon known by heart, while every row gets new noise on its
    values, which still gain when the cells have long begun to overfit.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        width: int,
        blocks: int,
        expansion: int,
        cell_share: float | None,
        sigma_mean: float,
        sigma_deviation: float,
        target_share: float,
        dropout: float,
        steps: int,
    ) -> None:
        super().__init__()
        self.layout, self.steps, self.dropout = layout, steps, dropout
        self.units = width * expansion
        self.sigma_mean, self.sigma_deviation = sigma_mean, sigma_deviation
        self.denoiser = Denoiser(layout, width, blocks, expansion)
        self.cell_share = balance(layout) if cell_share is None else cell_share
        # Alone, the target is drawn from its shares, as any lone cell: there is nothing to predict it from.
        self.target = layout.target if len(layout.cells) > 1 else None
        self.target_share = target_share
        sizes = torch.tensor(layout.sizes, dtype=torch.long)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("cell_of_state", torch.arange(len(sizes)).repeat_interleave(sizes), persistent=False)

    first: Tensor
    cell_of_state: Tensor

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"denoiser": self.denoiser}

    def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, Tensor]]:
        """One loss: cross-entropy of masked cells and denoising error of values, each averaged per variable.

        Which rows learn what is decided for the whole batch, and each worker divides its sums by that batch's rows, so
        that the mean over workers is the batch's loss even where their shares are unequal.
        """
        cells, values = batch
        rows, c, v = len(cells), cells.shape[1], values.shape[1]
        whole = draw.whole(rows)
        # With both kinds of variable, each has at least a row; with one, it has all.
        of_cells = min(max(round(self.cell_share * whole), 1), whole - 1) if c and v else whole if c else 0
        # Of a small batch too, a row learns the target, which the others never do.
        of_target = min(max(round(self.target_share * of_cells), 1), of_cells - 1) if self.target is not None else 0
        masked, aims = draw.among_first(of_cells), draw.among_first(of_target)
        hidden = self._hide(draw, rows, c)[:masked]
        if self.target is not None:
            hidden[:aims] = False
            hidden[:, self.target] = True
        sigma = noise.training_sigma(draw.normal(rows, 1)[masked:], self.sigma_mean, self.sigma_deviation)
        clean = values[masked:]
        noisy = clean + sigma * draw.normal(rows, v)[masked:]
        gain = draw.kept(rows, self.units, self.dropout)[:masked] / (1 - self.dropout) if self.dropout else None
        logits, raw = call["denoiser"](cells, hidden, noisy, sigma, gain, aims)

        loss = logits.new_zeros(())
        if of_cells:
            learnt = hidden.clone()
            if self.target is not None:
                learnt[aims:, self.target] = False
            entropy = self._cross_entropy(logits, cells[:masked]) * learnt
            loss = loss + c / (c + v) * draw.parts / of_cells * (entropy.sum(1) / learnt.sum(1)).sum()
        if of_cells < whole:
            error = F.mse_loss(raw, noise.target(clean, noisy, sigma), reduction="sum") / v
            loss = loss + v / (c + v) * draw.parts / (whole - of_cells) * error
        yield "denoiser", loss

    def _hide(self, draw: Draw, rows: int, cells: int) -> Tensor:
        """(rows, C) boolean: a uniformly random number, at least one, of cells other than the target, uniformly chosen,
        is hidden in each row.

        Averaging each row's cross-entropy over its hidden cells then gives −log p(cells) / C in expectation over the
        orders (arXiv 2110.02037, Eq. 4), without the 1/t weights of the continuous-time form and their variance.
        """
        chance = draw.uniform(rows, cells)
        if self.target is not None:
            chance[:, self.target] = -1.0  # the first in the ranking, where nothing is hidden
        fixed = int(self.target is not None)
        visible = fixed + (draw.uniform(rows, 1) * (cells - fixed)).long()
        return chance.argsort(1).argsort(1) >= visible

    def _cross_entropy(self, logits: Tensor, cells: Tensor) -> Tensor:
        """(rows, C) −log p of the true state of each cell, without a loop over cells of unequal size."""
        top = logits.detach().amax(1, keepdim=True)
        sums = torch.zeros(cells.shape, device=logits.device).index_add(1, self.cell_of_state, (logits - top).exp())
        return sums.clamp_min(SMALLEST).log() + top - logits.gather(1, cells + self.first)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw) -> Encoded:
        cells = self._unmask(rows, draw)
        hidden = cells.new_zeros(0, cells.shape[1], dtype=torch.bool)
        start = noise.SIGMA_MAX * torch.special.ndtri(draw.stratified(rows, self.layout.values))
        if not self.layout.values:
            return Encoded(cells, start)

        def denoise(x: Tensor, sigma: float) -> Tensor:
            level = x.new_full((rows, 1), sigma)
            return noise.denoised(self.denoiser(cells, hidden, x, level)[1], x, level)

        return Encoded(cells, noise.heun(denoise, start, self.steps))

    def _unmask(self, rows: int, draw: Draw) -> Tensor:
        """(rows, C) states, one cell at a time in a random order that the rows of one draw share, the target last."""
        net, sizes = self.denoiser, self.layout.sizes
        if net.logits is None:
            return torch.zeros(rows, 0, dtype=torch.long, device=self.first.device)
        uniform = draw.stratified(rows, len(sizes))  # one number a drawn state, however many states there are
        cells = uniform.new_zeros(uniform.shape, dtype=torch.long)
        hidden = torch.ones_like(cells, dtype=torch.bool)
        values, sigma = uniform.new_zeros(0, self.layout.values), uniform.new_ones(0, 1)
        table = net.logits.states()
        order = [cell for cell in draw.permutation(len(sizes)).tolist() if cell != self.target]
        for cell in order if self.target is None else [*order, self.target]:
            x = net.trunk(cells, hidden, values, sigma, smooth=rows if cell == self.target else 0)
            span = slice(int(self.first[cell]), int(self.first[cell]) + sizes[cell])
            cumulated = F.linear(x, table[span], net.logits.bias[span]).float().softmax(1).cumsum(1)
            point = uniform[:, cell, None] * cumulated[:, -1:]  # inverse transform sampling
            cells[:, cell] = torch.searchsorted(cumulated, point, right=True)[:, 0].clamp_max(sizes[cell] - 1)
            hidden[:, cell] = False
        return cells
