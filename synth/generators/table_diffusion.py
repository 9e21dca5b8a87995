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
the number of network evaluations is C + steps and no such error is made.

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
from torch import Tensor, nn

from synth.generators import noise
from synth.generators.base import Call, Draw, Generator
from synth.generators.contrast import Contrast
from synth.generators.denoiser import Denoiser
from synth.generators.given import Given, choose, each
from synth.generators.guidance import LEAST, Discriminator
from synth.generators.layout import Encoded, Layout
from synth.generators.masks import hide, show
from synth.generators.partial import Partial
from synth.generators.states import Segments
from synth.generators.still import Still
from synth.generators.student import Lesson, Student
from synth.generators.tutor import Tutor
from synth.generators.unmasking import Unmasking

CANDIDATES = 8  # drawn for each row of which several restricted variables depend on each other, or that is guided
DOUBTED = 16  # drawn for each row of a rare class


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
    the share of those rows that learn the target alone, ``target_shown`` the share of the others to which it is a cell like
    any other, ``evidence`` the share of all rows that are shown some of their own values; ``sigma_mean`` and
    ``sigma_deviation`` are EDM's training distribution of ln sigma; ``steps`` the evaluations that a sample's values take.
    ``dropout`` acts on the rows that learn cells: a cell's few states are soon known by heart, while every row gets new noise
    on its values, which still gain when the cells have long begun to overfit. ``temperature`` and ``target_temperature``
    divide the logits of a sample's cells and target, ``noise`` is the deviation of what its values are drawn from;
    ``guidance`` is the weight of a discriminator's log ratio, ``contrast`` that of a shadow (``synth.generators.contrast``),
    ``tutored`` that of a tutor (``synth.generators.tutor``) and its ``criterion``; 0: there is none.
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
        temperature: float = 1.0,
        target_temperature: float = 1.0,
        noise: float = 1.0,
        guidance: float = 0.0,
        contrast: float = 0.0,
        tutored: float = 0.0,
        criterion: str = "entropy",
    ) -> None:
        super().__init__()
        self.layout, self.steps, self.dropout = layout, steps, dropout
        self.temperatures, self.deviation = (temperature, target_temperature), noise
        self.sigma_mean, self.sigma_deviation = sigma_mean, sigma_deviation
        self.denoiser = Denoiser(layout, width, blocks, expansion)
        self.guidance, self.contrast = guidance, contrast
        self.shadow = Denoiser(layout, width, blocks, expansion) if contrast else None
        self.discriminator = Discriminator(layout, width, blocks, expansion) if guidance else None
        self.tutored, self.criterion = tutored, criterion
        self.tutor: Tutor | None = None
        if tutored:
            assert layout.target is not None, "a tutor predicts it"
            self.tutor = Tutor(layout, layout.target, width, blocks, expansion)
        self.cell_share = balance(layout) if cell_share is None else cell_share
        # Alone, the target is drawn from its shares, as any lone cell: there is nothing to predict it from.
        self.target = layout.target if len(layout.cells) > 1 else None
        self.target_share, self.target_shown, self.evidence = target_share, target_shown, evidence
        self.segments = Segments(layout)

    @property
    def sampled(self) -> Denoiser | Contrast:
        """What samples are drawn from."""
        return self.denoiser if self.shadow is None else Contrast(self.denoiser, self.shadow, self.contrast)

    def unmasking(self) -> Unmasking:
        """Of the weights as they are now."""
        net = Still(self.sampled, self.layout)
        return Unmasking(net, self.layout, self.target, self.segments, *self.temperatures)

    @property
    def heat(self) -> Tensor:
        """(S) what the logits of each state are divided by in samples."""
        ordinary, target = self.temperatures
        return torch.where(self.segments.cell == (-1 if self.target is None else self.target), target, ordinary)

    @property
    def joins(self) -> bool:
        return self.discriminator is None  # whose candidates are drawn in pieces

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
        gain = (
            draw.kept(rows, self.denoiser.gated[0].units, self.dropout)[:masked] / (1 - self.dropout)
            if self.dropout
            else None
        )
        hidden, learnt = hide(
            chance[:masked],
            visible[:masked],
            draw.uniform(rows, 1)[:masked],
            aims,
            self.target,
            self.target_shown,
            self.segments.rank == 0,
        )
        shown = show(draw.uniform(rows, 1), draw.uniform(rows, v), masked, self.evidence)
        evidence = torch.cat([values * shown, shown], 1)
        logits, raw = call["denoiser"](cells, hidden, noisy, sigma, gain, aims, evidence)

        loss = logits.new_zeros(())
        if of_cells:
            entropy = self.segments.entropy(logits, cells[:masked]) * learnt
            loss = loss + c / (c + v) * draw.parts / of_cells * (entropy.sum(1) / learnt.sum(1)).sum()
        if of_cells < whole:
            error = ((raw - noise.target(clean, noisy, sigma)) ** 2 * ~shown[masked:]).sum() / v
            loss = loss + v / (c + v) * draw.parts / (whole - of_cells) * error
        yield "denoiser", loss

    def discrimination(self, real: Encoded, own: Encoded, draw: Draw) -> Tensor:
        """The discriminator's loss on ``real`` rows and as many that were drawn from the model without it. Some are shown
        some of their values, so that rows of which values are known are guided, too."""
        assert self.discriminator is not None
        rows = 2 * len(real.cells)
        shown = show(draw.uniform(rows, 1), draw.uniform(rows, self.layout.values), rows, self.evidence)
        return self.discriminator.loss(real, own, shown, draw)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        """Known cells are visible from the start, and known values shown. What is restricted is drawn first, and then the
        rest as always. Values within ranges are drawn from their marginal distributions, as if independent of each
        other; which of the candidates is kept depends on the cells. Of guided rows, several are drawn and one is kept,
        by the log ratio of their cells."""
        unmasking = self.unmasking()
        partial = self._begun(unmasking, rows, draw, given)
        return Encoded(partial.cells, self._values(unmasking, partial, draw))

    def _values(self, unmasking: Unmasking, partial: Partial, draw: Draw) -> Tensor:
        """(rows, V) the values of rows of which all cells are known: drawn, but for those that are known."""
        discriminator, tutor = self.discriminator, self.tutor
        cells, values, shown = partial.cells, partial.values, partial.shown
        start = self.deviation * noise.SIGMA_MAX * torch.special.ndtri(draw.stratified(*values.shape))
        if not self.layout.values or bool(shown.all()):
            return values
        known, evidence = unmasking.net.shown(partial), partial.evidence()

        def denoise(x: Tensor, sigma: float) -> Tensor:
            clean = unmasking.net.denoised(known, x, sigma)
            if discriminator is not None and sigma >= LEAST:
                clean = clean + self.guidance * discriminator.shift(cells, x, sigma, evidence)
            if tutor is not None:
                clean = clean + tutor.shift(self.criterion, self.tutored, cells, x, sigma)
            return torch.where(shown, values, clean)

        return torch.where(shown, values, noise.multistep(denoise, start, self.steps))

    @property
    def teaches(self) -> bool:
        """Whether rows are drawn from nothing but what a student learns."""
        return self.discriminator is None and self.tutor is None and self.shadow is None

    @torch.no_grad()
    def cells(self, rows: int, draw: Draw) -> Tensor:
        """(rows, C) the cells of rows, without their values."""
        return self._begun(self.unmasking(), rows, draw, None).cells

    @torch.no_grad()
    def lesson(self, rows: int, draw: Draw) -> Lesson:
        """Rows as they are sampled, with probabilities of their cells from which a student learns them in its order."""
        cells, values = self.sample(rows, draw)
        return Lesson(cells, values, self.unmasking().conditionals(cells, draw, Student.order(self.layout)))

    @torch.no_grad()
    def asked(self, lesson: Lesson, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Of a lesson's rows: noise levels (rows, 1) as in training, values with so much noise, and what the network makes of
        them (both rows, V)."""
        rows, v = lesson.values.shape
        sigma = noise.training_sigma(draw.normal(rows, 1), self.sigma_mean, self.sigma_deviation)
        noisy = lesson.values + sigma * draw.normal(rows, v)
        none = torch.zeros(0, len(self.layout.cells), dtype=torch.bool, device=noisy.device)
        return sigma, noisy, self.denoiser(lesson.cells, none, noisy, sigma)[1]

    @torch.no_grad()
    def log_chances(self, draw: Draw, given: Given) -> Tensor:
        """Of a guided model, each counts by its ratio, relative to the mean ratio of as many free rows."""
        unmasking = self.unmasking()
        partial = Partial.blank(self.layout, len(given.low), self.segments.first.device)
        chances = unmasking.grant(partial, draw, given, candidates=1, everything=True)
        if self.discriminator is None:
            return chances
        free = Partial.blank(self.layout, len(given.low), self.segments.first.device)
        for one in (partial, free):
            unmasking.finish(one, draw)
        return chances + self._log_weights(partial) - self._log_weights(free).logsumexp(0) + math.log(len(given.low))

    def _log_weights(self, partial: Partial) -> Tensor:
        """(rows) by which rows whose cells are all drawn are reweighted."""
        assert self.discriminator is not None
        return self.guidance * self.discriminator.of_cells(partial.cells, partial.evidence())

    def _begun(self, unmasking: Unmasking, rows: int, draw: Draw, given: Given | None) -> Partial:
        """Rows with all cells, and with the values that are asked for."""
        partial = Partial.blank(self.layout, rows, self.segments.first.device)
        doubted = unmasking.doubted(given, partial)
        guided = torch.full_like(doubted, self.discriminator is not None)
        for chosen, times in ((~doubted & ~guided, 1), (~doubted & guided, CANDIDATES), (doubted, DOUBTED)):
            if bool(chosen.any()):
                # In pieces, so that candidates take no more memory than the rows themselves.
                for index in chosen.nonzero()[:, 0].split(max(rows // times, 1)):
                    part = self._of_several(unmasking, index, times, draw, given, weighed=chosen is doubted)
                    partial.put(index, part)
        return partial

    def _of_several(
        self, unmasking: Unmasking, index: Tensor, times: int, draw: Draw, given: Given | None, *, weighed: bool
    ) -> Partial:
        """Of so many candidates for each of the rows ``index``, one. Those that are ``weighed`` have what is asked for in
        common, the class too: the weights say how the rest follows from it, and not how likely it is itself."""
        copies = each(len(index), times, index.device)
        apart = torch.arange(len(index), device=index.device) if weighed else copies
        part = Partial.blank(self.layout, len(apart), index.device)
        if given is not None:
            unmasking.grant(part, draw, given.take(index[apart]), candidates=CANDIDATES, everything=False)
        if weighed:
            part = part.take(copies)
        weights = unmasking.finish(part, draw, weighed=weighed)
        if times == 1:
            return part
        if self.discriminator is not None:
            weights = weights + self._log_weights(part)
        kept = choose(weights.view(-1, times), draw.uniform(len(index), 1)[:, 0])
        return part.take(torch.arange(len(index), device=index.device) * times + kept)
