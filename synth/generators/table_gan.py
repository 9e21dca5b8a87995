"""A generative adversarial network for tables.

The generator turns noise, and the state of one cell that is given, into a row; the critic tells rows of the table from
its own. What keeps it from collapsing is in the objective (relativistic pairing, with zero-centred gradient penalties on
real and on generated rows: ``synth.generators.adversarial``) and in what tables ask for:

- Cells are drawn by Gumbel-softmax (Jang et al. 2017, arXiv 1611.01144; Maddison et al. 2017, arXiv 1611.00712), so that
  the critic's gradients reach the logits of all states.
- Rows are asked for by the state of one of their cells (Xu et al. 2019, "Modeling Tabular Data using Conditional GAN",
  arXiv 1907.00503, section 4.3). In training it is a state of the real row that the generated one is compared with, and
  the pair counts by how rare it is; when sampling, states are asked for in the table's own shares.
- A target class is drawn last, by a classifier in the generator that learns from real rows alone. The auxiliary classifier
  of CTAB-GAN (Zhao et al. 2021, arXiv 2102.08369, section 4.1) corrects a generator's classes by a loss; where they are
  the classifier's own, there is nothing to correct.
- Cells and values get the marginal distributions that they are known to have (``synth.generators.margins``): the tails of
  what one pass makes of noise are thin.
- Domain-adversarial training (``synth.generators.domain``) may push generated rows to where a network that predicts the
  target sees no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.family import Objective
from synth.generators.adversarial import between, critic_loss, generator_loss, one_centred, zero_centred
from synth.generators.base import Call, Draw, Generator
from synth.generators.domain import Domain, Labelled, harden
from synth.generators.given import Given, choose, draw_state, draw_states, each, log_masses
from synth.generators.layout import Encoded, Layout
from synth.generators.margins import Margins, raked
from synth.generators.states import Segments
from synth.generators.table_networks import Critic, Synthesis

DROPPED = 0.15  # share of the classifier's hidden units, in training
DRAWN = 4096  # rows that tell the marginal distributions of what is generated
CANDIDATES = 16  # noise drawn for each row of which something is asked
KERNEL = 0.1  # standard deviations by which a value may well be moved to where it is asked to be


class TableGan(Generator):
    """A generator and a critic over an encoded table.

    ``width``, ``blocks``, ``expansion`` are the size of either, ``noise`` the dimensions of the noise. ``gamma`` is the weight
    of the gradient penalty: zero-centred on real and on generated rows, or one-centred between them where the
    ``objective`` is "wasserstein"; 0 for none. ``spectral`` normalises the critic's matrices, ``pac`` is how many rows it
    sees together: the others of a pack are of the same worker, so that beyond 1 the loss depends on their number a
    little. ``temperature`` is that of Gumbel-softmax, ``target_temperature`` that of a sample's classes; ``emphasis`` is
    explained at ``importance``. ``domain`` is the weight of domain-adversarial training, which sets in over
    ``domain_steps``; UserError where there is no class for it.
    """

    judges = ("critic",)
    target: Tensor
    asked: Tensor
    shares: Tensor
    weights: Tensor

    def __init__(
        self,
        layout: Layout,
        *,
        width: int,
        blocks: int,
        expansion: int,
        noise: int,
        objective: Objective,
        gamma: float,
        spectral: bool,
        pac: int,
        temperature: float,
        target_temperature: float = 1.0,
        emphasis: float,
        domain: float,
        domain_steps: int,
    ) -> None:
        super().__init__()
        self.layout, self.objective, self.gamma = layout, objective, gamma
        self.noise, self.temperature, self.target_temperature = noise, temperature, target_temperature
        cells = len(layout.cells)
        target = layout.target if cells > 1 or layout.values else None  # alone, there is nothing to predict it from
        asked = [cell for cell in range(cells) if cell != target]
        size = {"width": width, "blocks": blocks, "expansion": expansion}
        self.generator = Synthesis(layout, target, bool(asked), noise=noise, **size)
        self.critic = Critic(layout, bool(asked), pac=pac, spectral=spectral, **size)
        if domain:  # last, so that the other networks begin as they do without it
            self.generator.domain = Domain.of(layout, target, width=width, weight=domain, steps=domain_steps)
        self.segments = Segments(layout)
        shares = torch.tensor([share for cell in layout.cells for share in cell.shares])
        self.register_buffer(
            "target", torch.tensor([] if target is None else [target], dtype=torch.long), persistent=False
        )
        self.register_buffer("asked", torch.tensor(asked, dtype=torch.long), persistent=False)
        self.register_buffer("shares", shares, persistent=False)
        self.register_buffer("weights", importance(shares, self.segments, emphasis), persistent=False)
        self.known: tuple[Tensor, Margins | None] | None = None
        self.register_load_state_dict_post_hook(_forget)

    @property
    def joins(self) -> bool:
        return True

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, Tensor]]:
        """The critic's loss with its gradient penalties, then the generator's with its classifier's cross-entropy and, where
        there is one, the domain's loss.

        Each worker divides its sums by the whole batch's rows, so that the mean over workers is the batch's loss.
        """
        cells, values = batch
        rows = len(cells)
        share = draw.parts / draw.whole(rows)
        states = self.segments.hot(cells)
        real = self.critic.packed(torch.cat([states, values], 1))
        given = asked = None
        weight = values.new_ones(rows)
        if len(self.asked):
            cell = self.asked[(draw.uniform(rows, 1) * len(self.asked)).long()]
            given = (cells + self.segments.first).gather(1, cell)
            asked = self.critic.packed(cell[:, 0])
            weight = self.weights[given[:, 0]]

        with torch.no_grad():
            fake, _ = self._made(call["generator"], draw, rows, given)
        shown = [real, self.critic.packed(fake)]
        if self.gamma and self.objective == "wasserstein":
            shown.append(between(shown[0], shown[1], draw.uniform(rows, 1)))
        every = asked.repeat(len(shown), 1) if asked is not None else None
        scores, slopes = call["critic"](torch.cat(shown), every, bool(self.gamma))
        loss = critic_loss(self.objective, scores[:rows], scores[rows : 2 * rows])
        if self.gamma and self.objective == "wasserstein":
            loss = loss + one_centred(slopes[2 * rows :], self.gamma)
        elif self.gamma:
            loss = loss + zero_centred(slopes[:rows] + slopes[rows:], self.gamma)
        yield "critic", share * (weight * loss).sum()

        # Frozen, and called itself: the generator's step leaves no gradients in it.
        self.critic.requires_grad_(False)
        classifier, rest = self.generator.classifier, None
        if classifier is not None:
            rest = (states, values, draw.kept(rows, classifier.block.widen.out_features, DROPPED) / (1 - DROPPED))
        fake, classes = self._made(call["generator"], draw, rows, given, rest)
        of_fake, _ = self.critic(self.critic.packed(fake), asked)
        with torch.no_grad():
            of_real, _ = self.critic(real, asked)
        loss = share * (weight * generator_loss(self.objective, of_real, of_fake)).sum()
        if classes is not None:
            loss = loss + share * F.cross_entropy(classes, cells[:, self.layout.target], reduction="sum")
        if (domain := self.generator.domain) is not None:
            made = self._labelled(*fake.split(self.critic.split, 1))
            made = made._replace(states=harden(made.states, domain.segments)[1])
            loss = loss + share * domain(self._labelled(states, values), made, step).sum()
        self.critic.requires_grad_(True)
        yield "generator", loss

    def _labelled(self, states: Tensor, values: Tensor) -> Labelled:
        sizes, target = self.layout.sizes, self.layout.target
        assert target is not None
        before, own, after = states.split([sum(sizes[:target]), sizes[target], sum(sizes[target + 1 :])], 1)
        return Labelled(torch.cat([before, after], 1), values, own.argmax(1))

    def _made(
        self,
        synthesis: Callable[..., tuple[Tensor, Tensor, Tensor | None]],
        draw: Draw,
        rows: int,
        given: Tensor | None,
        rest: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """(rows, S + V) generated rows, in which states are all but one-hot, and what the classifier says of ``rest``."""
        logits, values, classes = synthesis(draw.normal(rows, self.noise), given, rest)
        states = self.segments.softmax((logits + draw.gumbel(rows, logits.shape[1])) / self.temperature)
        states = self._with(states, given)
        if self.generator.classifier is not None:
            states = self.generator.classifier.draw(states, values, draw.uniform(rows, 1))
        return torch.cat([states, values], 1), classes

    def _with(self, states: Tensor, given: Tensor | None, here: float = 1.0, elsewhere: float = 0.0) -> Tensor:
        """``states`` (rows, S), but those of the ``given`` one's cell as it says: ``here`` and ``elsewhere``."""
        if given is None:
            return states
        own = self.segments.cell == self.segments.cell[given]
        return torch.where(own, torch.full_like(states, elsewhere).scatter_(1, given, here), states)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        """What is asked for is drawn from restricted probabilities given the noise, and the noise is one of CANDIDATES a
        row, by the mass that it allows and by how near its values come to what they should be."""
        if given is None:
            return self._drawn(rows, draw, None)[0]
        found, chance, near, _ = self._drawn(
            rows * CANDIDATES, draw, given.take(each(rows, CANDIDATES, given.low.device))
        )
        kept = choose((chance + near).view(rows, CANDIDATES), draw.uniform(rows, 1)[:, 0])
        kept = kept + torch.arange(rows, device=kept.device) * CANDIDATES
        return Encoded(found.cells[kept], found.values[kept])

    @torch.no_grad()
    def log_chances(self, draw: Draw, given: Given) -> Tensor:
        _, chance, _, missed = self._drawn(len(given.low), draw, given)
        return chance.masked_fill(missed, -torch.inf)

    def _stated(self, rows: int, draw: Draw, given: Given | None) -> tuple[Tensor | None, Tensor]:
        """(rows, 1) number of the state that each row is made from, None where there is none; and (rows) log of the mass
        that was allowed to it."""
        chance, cells = self.shares.new_zeros(rows), len(self.layout.cells)
        if not len(self.asked):
            return None, chance
        cell = self.asked[(draw.stratified(rows, 1) * len(self.asked)).long()]
        marginal = self.shares.log().expand(rows, -1)
        if given is not None:  # of a row, the first cell that is restricted says most of it
            restricted = ~given.free_cells(self.segments.cell, cells)[:, self.asked]
            first = self.asked[restricted.float().argmax(1, keepdim=True)]
            cell = torch.where(restricted.any(1, keepdim=True), first, cell)
            chance = log_masses(marginal, given.states, self.segments.cell, cells).gather(1, cell)[:, 0]
        allowed = None if given is None else given.states
        drawn = draw_states(marginal, allowed, draw.stratified(rows, cells), self.segments.cell)
        return (drawn + self.segments.first).gather(1, cell), chance

    def _raw(self, rows: int, draw: Draw, given: Given | None) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        """What the network makes of noise: the states and the log masses of ``_stated``, (rows, S) logits in which they
        are certain, and (rows, V) values."""
        state, chance = self._stated(rows, draw, given)
        logits, values, _ = self.generator(torch.special.ndtri(draw.stratified(rows, self.noise)), state)
        return state, chance, self._with(logits, state, 0.0, -torch.inf), values

    def _known(self, device: torch.device) -> tuple[Tensor, Margins | None]:
        """What brings cells and values to the distributions that they are known to have: of the weights that were loaded
        last, from rows that are made when it is first asked for."""
        if self.known is None:
            draw = Draw("margins", device=device)
            state, _, logits, values = self._raw(DRAWN, draw, None)
            counted = torch.ones_like(logits, dtype=torch.bool)
            if state is not None:  # which is drawn by its share
                counted = self.segments.cell != self.segments.cell[state]
            factors = raked(logits, counted, self.shares, self.segments)
            cells = self.segments.draw(logits + factors, draw.stratified(DRAWN, len(self.layout.cells)))
            self.known = factors, Margins(self.layout, Encoded(cells, values)) if self.layout.normal else None
        return self.known

    def _drawn(self, rows: int, draw: Draw, given: Given | None) -> tuple[Encoded, Tensor, Tensor, Tensor]:
        """Rows, as they are asked for where something is; (rows) logs of the masses that were allowed, logs of how well
        their values fit, and whether one was out of its range: values follow from the noise, and none may hit."""
        cells, allowed = len(self.layout.cells), None if given is None else given.states
        state, chance, logits, values = self._raw(rows, draw, given)
        factors, margins = self._known(values.device)
        logits = logits + factors
        if allowed is not None:
            masses = log_masses(logits, allowed, self.segments.cell, cells)
            if state is not None:  # of which the mass is counted
                masses = masses.scatter(1, self.segments.cell[state], 0.0)
            chance = chance + masses.index_fill(1, self.target, 0.0).sum(1)
        made = Encoded(draw_states(logits, allowed, draw.stratified(rows, cells), self.segments.cell), values)
        if margins is not None:
            made = made._replace(values=margins(made))
        values, near, missed = _within(made.values, given)
        classifier = self.generator.classifier
        if classifier is not None:
            classes, own = classifier(self.segments.hot(made.cells), values) / self.target_temperature, classifier.own
            states = torch.ones_like(classes) if given is None else given.states[:, own]
            made.cells[:, self.layout.target], mass = draw_state(classes, states, draw.stratified(rows, 1)[:, 0])
            chance = chance + mass
        return Encoded(made.cells, values), chance, near, missed


def _forget(generator: TableGan, keys: object) -> None:
    generator.known = None


def _within(values: Tensor, given: Given | None) -> tuple[Tensor, Tensor, Tensor]:
    """``values`` (rows, V) moved to where they may lie, (rows) the log of a Gaussian kernel of how far that was, and (rows)
    boolean, whether one was out of a range."""
    if given is None:
        return values, values.new_zeros(len(values)), values.new_zeros(len(values), dtype=torch.bool)
    moved = torch.minimum(torch.maximum(values, given.low), given.high)
    near = -((moved - values) / KERNEL).square().sum(1) / 2
    return moved, near, ((moved != values) & given.bounded_values).any(1)


def importance(shares: Tensor, segments: Segments, emphasis: float) -> Tensor:
    """(S) how much a row counts that is asked for by a state: its share of conditions over its share of rows.

    Conditions are a mixture of the states' frequencies and, to the share ``emphasis``, of the logarithms of their
    frequencies, log(1 + n) with n in units of the cell's rarest. A generated row is compared with one that has the same
    state, so that whatever the mixture, the same is learnt; it only says where most is made of it.
    """
    cell, present = segments.cell, shares > 0
    rarest = shares.new_ones(len(segments.first)).scatter_reduce(0, cell[present], shares[present], "amin")
    logs = (shares / rarest[cell]).log1p()
    sums = logs.new_zeros(len(rarest)).index_add(0, cell, logs)
    return 1 - emphasis + emphasis * (logs / sums[cell] / shares).nan_to_num()
