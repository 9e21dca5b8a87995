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

Where a class is given, the other cells follow from it. Of a rare class few rows teach how, while all of them teach what
rows are like, and those near it what tells the class; so several rows are drawn and one is kept, by how much more likely
the two make it: p(cells) p(class | cells) / p(cells | class).

A model that was refined is guided by a discriminator (``synth.generators.guidance``), which is no player: it is learnt when
the denoiser has been. Cells are then drawn CANDIDATES times, and each noise level takes a gradient more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators import noise
from synth.generators.base import Call, Draw, Generator
from synth.generators.denoiser import Denoiser
from synth.generators.given import (
    Given,
    choose,
    draw_state,
    draw_states,
    each,
    log_mass_between,
    log_sums,
    normal_between,
)
from synth.generators.guidance import LEAST, Discriminator
from synth.generators.layout import Encoded, Layout
from synth.generators.partial import Partial
from synth.generators.states import SMALLEST

CANDIDATES = 8  # drawn for each row of which several restricted variables depend on each other, or that is guided
RARE = 0.1  # share of the rows below which a class is too rare for what follows from it to be learnt well
DOUBTED = 16  # candidates for each row of such a class


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
    the share of those rows that learn the target alone, ``target_shown`` the share of the others to which it is a cell
    like any other, ``evidence`` the share of all rows that are shown some of their own values; ``sigma_mean`` and
    ``sigma_deviation`` are EDM's training distribution of ln sigma; ``steps`` the Heun steps of a sample. ``dropout`` acts
    on the rows that learn cells: a cell's few states are soon known by heart, while every row gets new noise on its
    values, which still gain when the cells have long begun to overfit. ``guidance`` is the weight of a discriminator's log
    ratio in sampling; 0: there is none.
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
        target_shown: float,
        evidence: float,
        dropout: float,
        steps: int,
        guidance: float = 0.0,
    ) -> None:
        super().__init__()
        self.layout, self.steps, self.dropout = layout, steps, dropout
        self.units = width * expansion
        self.sigma_mean, self.sigma_deviation = sigma_mean, sigma_deviation
        self.denoiser = Denoiser(layout, width, blocks, expansion)
        self.guidance = guidance
        self.discriminator = Discriminator(layout, width, blocks, expansion) if guidance else None
        self.cell_share = balance(layout) if cell_share is None else cell_share
        # Alone, the target is drawn from its shares, as any lone cell: there is nothing to predict it from.
        self.target = layout.target if len(layout.cells) > 1 else None
        self.target_share, self.target_shown, self.evidence = target_share, target_shown, evidence
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
        # Of a small batch too, a row learns the target, which most others never do.
        of_target = min(max(round(self.target_share * of_cells), 1), of_cells - 1) if self.target is not None else 0
        masked, aims = draw.among_first(of_cells), draw.among_first(of_target)
        chance, visible = draw.uniform(rows, c), draw.uniform(rows, 1)
        sigma = noise.training_sigma(draw.normal(rows, 1)[masked:], self.sigma_mean, self.sigma_deviation)
        clean = values[masked:]
        noisy = clean + sigma * draw.normal(rows, v)[masked:]
        gain = draw.kept(rows, self.units, self.dropout)[:masked] / (1 - self.dropout) if self.dropout else None
        hidden, learnt = self._hide(chance[:masked], visible[:masked], draw.uniform(rows, 1)[:masked], aims)
        shown = self._show(draw.uniform(rows, 1), draw.uniform(rows, v), masked)
        evidence = torch.cat([values * shown, shown], 1)
        logits, raw = call["denoiser"](cells, hidden, noisy, sigma, gain, aims, evidence)

        loss = logits.new_zeros(())
        if of_cells:
            entropy = self._cross_entropy(logits, cells[:masked]) * learnt
            loss = loss + c / (c + v) * draw.parts / of_cells * (entropy.sum(1) / learnt.sum(1)).sum()
        if of_cells < whole:
            error = ((raw - noise.target(clean, noisy, sigma)) ** 2 * ~shown[masked:]).sum() / v
            loss = loss + v / (c + v) * draw.parts / (whole - of_cells) * error
        yield "denoiser", loss

    def _hide(self, chance: Tensor, visible: Tensor, ordinary: Tensor, aims: int) -> tuple[Tensor, Tensor]:
        """(masked rows, C) booleans, which cells are hidden and which of them are learnt, from uniform numbers: a
        uniformly random number of the cells, at least one, uniformly chosen.

        Averaging each row's cross-entropy over its hidden cells then gives −log p(cells) / C in expectation over the
        orders (arXiv 2110.02037, Eq. 4), without the 1/t weights of the continuous-time form and their variance.

        The target, which is drawn last where nothing is known of it, is hidden from most rows and not learnt by them. To
        some it is a cell like any other, so that the others can be drawn when it is known; the first ``aims`` rows see
        all others, and learn it alone.
        """
        cells = chance.shape[1]
        if self.target is None:
            hidden = chance.argsort(1).argsort(1) >= (visible * cells).long()
            return hidden, hidden
        apart = ordinary >= self.target_shown
        apart[:aims] = True
        at = F.one_hot(torch.tensor(self.target, device=chance.device), cells).bool()
        # Apart, it is the first in the ranking, where nothing is hidden.
        ranks = torch.where(at & apart, -1.0, chance).argsort(1).argsort(1)
        others = ranks >= apart + (visible * (cells - apart.long())).long()
        others[:aims] = at
        return others | (at & apart), others

    def _show(self, chance: Tensor, order: Tensor, masked: int) -> Tensor:
        """(rows, V) boolean, which values each row is shown: none, or to a share ``evidence`` of the rows a uniformly
        random number, uniformly chosen. A row that learns values is not shown them all."""
        rows, values = order.shape
        most = torch.full((rows, 1), values, device=order.device)
        most[masked:] -= 1
        number = torch.where(chance < self.evidence, chance / max(self.evidence, SMALLEST) * (most + 1), 0.0).long()
        return order.argsort(1).argsort(1) < torch.minimum(number, most)

    def _cross_entropy(self, logits: Tensor, cells: Tensor) -> Tensor:
        """(rows, C) −log p of the true state of each cell, without a loop over cells of unequal size."""
        return log_sums(logits, self.cell_of_state, cells.shape[1]) - logits.gather(1, cells + self.first)

    def discrimination(self, real: Encoded, own: Encoded, draw: Draw) -> Tensor:
        """The discriminator's loss on ``real`` rows and as many that were drawn from the model without it. Some are shown
        some of their values, so that rows of which values are known are guided, too."""
        assert self.discriminator is not None
        rows = 2 * len(real.cells)
        shown = self._show(draw.uniform(rows, 1), draw.uniform(rows, self.layout.values), rows)
        return self.discriminator.loss(real, own, shown, draw)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        """Known cells are visible from the start, and known values shown. What is restricted is drawn first, and then the
        rest as always. Values within ranges are drawn from their marginal distributions, as if independent of each
        other; which of the candidates is kept depends on the cells. Of guided rows, several are drawn and one is kept,
        by the log ratio of their cells."""
        discriminator, partial = self.discriminator, self._begun(rows, draw, given)
        cells, values, shown = partial.cells, partial.values, partial.shown
        hidden = partial.hidden[:0]
        start = noise.SIGMA_MAX * torch.special.ndtri(draw.stratified(rows, self.layout.values))
        if not self.layout.values or bool(shown.all()):
            return Encoded(cells, values)
        evidence = partial.evidence()

        def denoise(x: Tensor, sigma: float) -> Tensor:
            level = x.new_full((rows, 1), sigma)
            raw = self.denoiser(cells, hidden, x, level, evidence=evidence)[1]
            clean = noise.denoised(raw, x, level)
            if discriminator is not None and sigma >= LEAST:
                clean = clean + self.guidance * discriminator.shift(cells, x, sigma, evidence)
            return torch.where(shown, values, clean)

        return Encoded(cells, torch.where(shown, values, noise.heun(denoise, start, self.steps)))

    @torch.no_grad()
    def log_chances(self, draw: Draw, given: Given) -> Tensor:
        """Of a guided model, each counts by its ratio, relative to the mean ratio of as many free rows."""
        partial = Partial.blank(self.layout, len(given.low), self.first.device)
        chances = self._grant(partial, draw, given, candidates=1, everything=True)
        if self.discriminator is None:
            return chances
        free = Partial.blank(self.layout, len(given.low), self.first.device)
        for one in (partial, free):
            self._unmask(one, draw)
        return chances + self._log_weights(partial) - self._log_weights(free).logsumexp(0) + math.log(len(given.low))

    def _log_weights(self, partial: Partial) -> Tensor:
        """(rows) by which rows whose cells are all drawn are reweighted."""
        assert self.discriminator is not None
        return self.guidance * self.discriminator.of_cells(partial.cells, partial.evidence())

    def _begun(self, rows: int, draw: Draw, given: Given | None) -> Partial:
        """Rows with all cells, and with the values that are asked for."""
        partial = Partial.blank(self.layout, rows, self.first.device)
        doubted = self._doubted(given, partial)
        guided = torch.full_like(doubted, self.discriminator is not None)
        for chosen, times in ((~doubted & ~guided, 1), (~doubted & guided, CANDIDATES), (doubted, DOUBTED)):
            if bool(chosen.any()):
                # In pieces, so that candidates take no more memory than the rows themselves.
                for index in chosen.nonzero()[:, 0].split(max(rows // times, 1)):
                    partial.put(index, self._of_several(index, times, draw, given, weighed=chosen is doubted))
        return partial

    def _of_several(self, index: Tensor, times: int, draw: Draw, given: Given | None, *, weighed: bool) -> Partial:
        """Of so many candidates for each of the rows ``index``, one."""
        part = Partial.blank(self.layout, len(index) * times, index.device)
        if given is not None:
            copies = index.repeat_interleave(times)
            self._grant(part, draw, given.take(copies), candidates=CANDIDATES, everything=False)
        weights = self._unmask(part, draw, weighed=weighed)
        if times == 1:
            return part
        if self.discriminator is not None:
            weights = weights + self._log_weights(part)
        kept = choose(weights.view(-1, times), draw.uniform(len(index), 1)[:, 0])
        return part.take(torch.arange(len(index), device=index.device) * times + kept)

    def _doubted(self, given: Given | None, partial: Partial) -> Tensor:
        """(rows) boolean: of which a class is asked for that is rare."""
        if given is None or self.target is None:
            return torch.zeros(len(partial.cells), dtype=torch.bool, device=partial.cells.device)
        shares = torch.tensor(self.layout.cells[self.target].shares, device=given.states.device)
        allowed = given.states[:, self.cell_of_state == self.target]
        return ((allowed < 1).any(1)) & (allowed @ shares < RARE)

    def _unmask(self, partial: Partial, draw: Draw, *, weighed: bool = False) -> Tensor:
        """Draw the hidden cells, one at a time in a random order that the rows of one draw share, the target last.

        (rows) zeros or, if ``weighed``, the log ratio of what the cells without the target and then the target given them
        have for a probability to that of the cells given the target, which no row hides then.
        """
        weights = partial.values.new_zeros(len(partial.cells))
        if self.denoiser.logits is None:
            return weights
        uniform = draw.stratified(*partial.cells.shape)  # one number a drawn state, however many states there are
        table = self.denoiser.logits.states()
        order = [cell for cell in draw.permutation(uniform.shape[1]).tolist() if cell != self.target]
        for cell in order if self.target is None else [*order, self.target]:
            rows = partial.hidden[:, cell].nonzero()[:, 0]
            if not len(rows):
                continue
            part = partial if len(rows) == len(uniform) else partial.take(rows)
            logits = self._logits(part, cell, table, smooth=cell == self.target)
            cumulated = logits.softmax(1).cumsum(1)
            point = uniform[rows, cell, None] * cumulated[:, -1:]  # inverse transform sampling
            state = torch.searchsorted(cumulated, point, right=True)[:, 0].clamp_max(cumulated.shape[1] - 1)
            if weighed and self.target is not None:
                without = self._logits(part.without(self.target), cell, table)
                ratio = (without.log_softmax(1) - logits.log_softmax(1)).gather(1, state[:, None])[:, 0]
                weights = weights.index_add(0, rows, ratio)
            partial.cells[rows, cell] = state
            partial.hidden[rows, cell] = False
        if weighed and self.target is not None:
            classes = self._logits(partial.without(self.target), self.target, table, smooth=True).log_softmax(1)
            weights = weights + classes.gather(1, partial.cells[:, self.target, None])[:, 0]
        return weights

    def _logits(self, partial: Partial, cell: int, table: Tensor, *, smooth: bool = False) -> Tensor:
        """(rows, states of the cell) float32; ``table`` are the vectors of all states."""
        net, layout = self.denoiser, self.layout
        assert net.logits is not None
        none, rows = table.new_zeros(0, layout.values), len(partial.cells)
        x = net.trunk(
            partial.cells, partial.hidden, none, table.new_ones(0, 1),
            smooth=rows if smooth else 0, evidence=partial.evidence(),
        )  # fmt: skip
        span = slice(int(self.first[cell]), int(self.first[cell]) + layout.sizes[cell])
        return F.linear(x, table[span], net.logits.bias[span]).float()

    def _grant(self, partial: Partial, draw: Draw, given: Given, *, candidates: int, everything: bool) -> Tensor:
        """Draw what is restricted and take what is known; (rows) logs of the masses that were allowed.

        Values first, then cells one after the other, each from its restricted probabilities given those before. What is
        known counts as restricted to one state where it depends on values that were drawn before it, or if
        ``everything`` does; otherwise it is taken as it is. Of ``candidates`` for each row one is kept, by these masses.
        """
        rows, layout = len(given.low), self.layout
        known, bounded = given.known_cells(self.cell_of_state, len(layout.cells)), given.bounded_values
        asked = ~given.free_cells(self.cell_of_state, len(layout.cells))
        restricted = asked & (~known | bounded.any(1, keepdim=True) | everything)
        # The only state of those that are known, the first allowed one of the others.
        even, least = torch.zeros_like(given.states), torch.zeros_like(known, dtype=torch.float32)
        states = draw_states(even, given.states, least, self.cell_of_state)
        taken = known & asked & ~restricted
        partial.cells[taken], partial.hidden[taken] = states[taken], False
        partial.values[given.known_values] = given.low[given.known_values]
        partial.shown |= given.known_values
        weights = given.low.new_zeros(rows)
        steps = restricted.sum(1) + bounded.any(1)
        index = steps.nonzero()[:, 0]
        if not len(index):
            return weights
        times = candidates if int(steps.max()) > 1 else 1
        part, given, restricted = partial.take(index), given.take(index), restricted[index]
        weight, copies = weights[index], 1  # so many successive rows of a part are candidates for one

        def uniform(columns: int) -> Tensor:
            return draw.uniform(rows, columns * copies)[index].view(len(index) * copies, columns)

        def spread() -> None:
            nonlocal part, given, restricted, weight, copies
            of = each(len(index), times, index.device)
            part, given, restricted, weight, copies = part.take(of), given.take(of), restricted[of], weight[of], times

        if bool(bounded.any()):
            spread()
            bounded = given.bounded_values
            part.values = torch.where(
                bounded, normal_between(given.low, given.high, uniform(layout.values)).float(), part.values
            )
            part.shown |= bounded
            weight = weight + (log_mass_between(given.low, given.high) * bounded).sum(1)
        table = self.denoiser.logits.states() if self.denoiser.logits is not None else given.states
        for cell in draw.permutation(len(layout.cells)).tolist():
            at = restricted[:, cell].nonzero()[:, 0]
            if not len(at):
                continue
            logits = self._logits(part.take(at), cell, table)
            if copies < times:  # the first is drawn from the same probabilities for all candidates of a row
                logits = logits.repeat_interleave(times, 0)
                spread()
                at = restricted[:, cell].nonzero()[:, 0]
            span = slice(int(self.first[cell]), int(self.first[cell]) + layout.sizes[cell])
            state, mass = draw_state(logits, given.states[at, span], uniform(1)[at, 0])
            part.cells[at, cell], part.hidden[at, cell] = state, False
            weight = weight.index_add(0, at, mass)
        kept = torch.arange(len(index), device=index.device) * copies
        if copies > 1:
            kept = kept + choose(weight.view(-1, copies), draw.uniform(rows, 1)[index, 0])
        partial.put(index, part.take(kept))
        return weights.index_copy(0, index, weight[kept])
