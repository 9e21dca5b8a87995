"""A variational autoencoder for tables, whose latent units stand on the rungs of a ladder.

A row's other variables are p(z) p(cells | z) p(values | cells, z), and a target class is p(target | cells, values): drawn
last, by a classifier in the model, since that is what downstream models look for. All of it is one evidence lower bound
(Kingma and Welling 2014, arXiv 1312.6114): the divergence of z, the cross-entropy of cells, the density of values, which
are mixtures of Gaussians with learnt scales.

The classic fault of VAEs is that the posteriors of all rows together are no standard normal, so that samples of that prior
decode to rows between the real ones. Here each rung adds a few units to the decoder's state, and its posterior sees the
state that the rungs before it have made, q(z_l | x, z_<l) (ladder VAEs: Sønderby et al. 2016, arXiv 1602.02282; with many
rungs, Child 2021, arXiv 2011.10650). The units are innovations: standard normal under the prior whatever came before, and
shaped by the decoder. So it holds a learnt prior of any shape, the divergence stays a closed form, and a sample is one
pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from synth.generators import latent
from synth.generators.base import Call, Draw, Generator
from synth.generators.domain import Domain
from synth.generators.given import Given, choose, draw_states, each, log_masses
from synth.generators.ladder import Autoencoder, Beside
from synth.generators.layout import Encoded, Layout
from synth.generators.likelihood import draw_between, draw_values, log_density
from synth.generators.states import Segments

CANDIDATES = 16  # latent vectors drawn for each row of which something is asked


class TableVAE(Generator):
    """The VAE over an encoded table.

    ``rungs`` × ``units`` latent units; ``components`` Gaussians a value; ``beta`` weighs the divergence at the end of
    ``cycles`` ramps, each ``period`` steps long; ``free_bits`` nats of each unit are free; ``dropout`` is the
    classifier's. A sample's latent units are drawn with ``temperature`` for a deviation, its classes at
    ``target_temperature``. ``domain`` is the weight of domain-adversarial training, which sets in over ``domain_steps``;
    UserError where there is no class for it.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        width: int,
        blocks: int,
        expansion: int,
        rungs: int,
        units: int,
        components: int,
        beta: float,
        free_bits: float,
        period: int,
        cycles: int,
        dropout: float,
        temperature: float = 1.0,
        target_temperature: float = 1.0,
        domain: float,
        domain_steps: int,
    ) -> None:
        super().__init__()
        self.layout, self.units, self.hidden = layout, rungs * units, width * expansion
        self.temperature, self.target_temperature = temperature, target_temperature
        self.beta, self.free, self.period, self.cycles, self.dropout = beta, free_bits, period, cycles, dropout
        # A target alone is drawn as any lone cell: there is nothing to predict it from.
        chosen = [] if layout.target is None or len(layout.cells) + layout.values == 1 else [layout.target]
        left = [cell for cell in range(len(layout.cells)) if cell not in chosen]
        others = Layout(cells=tuple(layout.cells[cell] for cell in left), values=layout.values)
        target = Layout(cells=tuple(layout.cells[cell] for cell in chosen), values=0)
        self.vae = Autoencoder(
            others, target, width=width, blocks=blocks, expansion=expansion,
            rungs=rungs, units=units, components=components,
        )  # fmt: skip
        if domain:
            target_cell = layout.target if chosen else None
            self.vae.domain = Domain.of(layout, target_cell, width=width, weight=domain, steps=domain_steps)
        self.cells, self.classes = Segments(others), Segments(target)
        self.register_buffer("left", torch.tensor(left, dtype=torch.long), persistent=False)
        self.register_buffer("chosen", torch.tensor(chosen, dtype=torch.long), persistent=False)
        self.register_buffer("cell_of_state", Segments(layout).cell, persistent=False)

    left: Tensor
    chosen: Tensor
    cell_of_state: Tensor

    @property
    def joins(self) -> bool:
        return True

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"vae": self.vae}

    def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, Tensor]]:
        """One loss: the negative evidence lower bound in nats a variable, as a mean over the whole batch; where there
        is one, with the domain's loss."""
        cells, values = batch
        rows, variables = len(cells), cells.shape[1] + values.shape[1]
        others = cells[:, self.left]
        noise = draw.normal(rows, self.units)
        gain = draw.kept(rows, self.hidden, self.dropout) / (1 - self.dropout) if self.dropout else None
        beside = self._beside(cells, draw, step) if self.vae.domain is not None else None
        parts = call["vae"](others, values, noise, gain, beside)
        weight = self.beta * latent.cyclical(step, self.period, self.cycles, 0.5)
        nats = weight * latent.free_bits(latent.divergence(parts.mean, parts.log_variance), self.free)
        nats = nats + self.cells.entropy(parts.logits, others).sum(1) - log_density(parts.mixture, values).sum(1)
        nats = nats + self.classes.entropy(parts.target, cells[:, self.chosen]).sum(1)
        if parts.domain is not None:
            nats = nats + parts.domain
        yield "vae", nats.sum() * draw.parts / draw.whole(rows) / variables

    def _beside(self, cells: Tensor, draw: Draw, step: int) -> Beside:
        rows = len(cells)
        z, (component, place) = self.prior(rows, draw), draw.stratified(rows, 2 * self.layout.values).chunk(2, 1)
        states, classes = (draw.gumbel(rows, len(kind.cell)) for kind in (self.cells, self.classes))
        return Beside(step, cells[:, self.layout.target], z, states, component, torch.special.ndtri(place), classes)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        """What is asked for is drawn from restricted probabilities given z, and z is one of CANDIDATES a row, by the mass
        that it allows and the density of what is known: cells and values have no other dependence to respect."""
        if given is None:
            return self.decoded(self.temperature * self.prior(rows, draw), draw)
        found, chance, density = self._granted(given.take(each(rows, CANDIDATES, given.low.device)), draw)
        kept = choose((chance + density).view(rows, CANDIDATES), draw.uniform(rows, 1)[:, 0])
        kept = kept + torch.arange(rows, device=kept.device) * CANDIDATES
        return Encoded(found.cells[kept], found.values[kept])

    @torch.no_grad()
    def log_chances(self, draw: Draw, given: Given) -> Tensor:
        return self._granted(given, draw)[1]

    def _granted(self, given: Given, draw: Draw) -> tuple[Encoded, Tensor, Tensor]:
        """Rows as they are asked for, each from a z of its own; (rows) logs of the masses that were allowed, and of the
        density of the values that are known."""
        rows = len(given.low)
        h = self.vae.decode(self.temperature * self.prior(rows, draw))
        others, chance = self._restricted(self.cells, self.vae.of_cells(h), given, self.left, draw)
        mixture, known = self.vae.of_values(h, others), given.known_values
        low, high = given.low.masked_fill(known, -torch.inf), given.high.masked_fill(known, torch.inf)
        uniform, place = draw.uniform(rows, 2 * self.layout.values).chunk(2, 1)
        values, mass = draw_between(mixture, low, high, uniform, place)
        values = torch.where(known, given.low, values)
        density = (log_density(mixture, values) * known).sum(1)
        classes = self.vae.of_target(others, values) / self.target_temperature
        chosen, likely = self._restricted(self.classes, classes, given, self.chosen, draw)
        cells = others.new_empty(rows, len(self.layout.cells))
        cells[:, self.left], cells[:, self.chosen] = others, chosen
        return Encoded(cells, values), chance + mass.sum(1) + likely, density

    def _restricted(
        self, kind: Segments, logits: Tensor, given: Given, cells: Tensor, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        """(rows, len(cells)) states of some cells of the layout, and (rows) the log of the mass that they may take."""
        own = torch.isin(self.cell_of_state, cells)
        states, uniform = given.states[:, own], draw.uniform(len(logits), len(cells))
        drawn = draw_states(logits, states, uniform, kind.cell)
        return drawn, log_masses(logits, states, kind.cell, len(cells)).sum(1)

    def prior(self, rows: int, draw: Draw) -> Tensor:
        """(rows, units) latent units, standard normal."""
        return torch.special.ndtri(draw.stratified(rows, self.units))

    def decoded(self, z: Tensor, draw: Draw) -> Encoded:
        """Rows drawn from p(x | z), ``z`` (rows, units)."""
        rows, h = len(z), self.vae.decode(z)
        others = self.cells.draw(self.vae.of_cells(h), draw.stratified(rows, len(self.left)))
        component, place = draw.stratified(rows, 2 * self.layout.values).chunk(2, 1)
        values = draw_values(self.vae.of_values(h, others), component, torch.special.ndtri(place))
        classes = self.vae.of_target(others, values) / self.target_temperature
        chosen = self.classes.draw(classes, draw.stratified(rows, len(self.chosen)))
        cells = others.new_empty(rows, len(self.layout.cells))
        cells[:, self.left], cells[:, self.chosen] = others, chosen
        return Encoded(cells, values)

    @torch.no_grad()
    def remarks(self, batch: Encoded) -> list[str]:
        others = batch.cells[:, self.left].long()
        mean = self.vae.infer(others, batch.values, batch.values.new_zeros(len(others), self.units))[1]
        return latent.collapse(latent.active(mean))
