"""Draws the cells of rows of which a part is known, one cell at a time, from a denoiser's conditionals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synth.generators.alike import Alike
from synth.generators.base import Draw
from synth.generators.given import (
    Given,
    choose,
    draw_state,
    draw_states,
    each,
    log_mass_between,
    normal_between,
    state_at,
)
from synth.generators.layout import Layout
from synth.generators.partial import Partial
from synth.generators.states import Segments
from synth.generators.still import FEWEST, Still

RARE = 0.1  # share of the rows below which a class is too rare for what follows from it to be learnt well


@dataclass(frozen=True)
class Unmasking:
    """The sampler of the cells of ``layout``, of which ``target``, if there is one, is drawn last, from the smooth view.

    Logits are divided by a temperature, the target's by one of its own.
    """

    net: Still
    layout: Layout
    target: int | None
    segments: Segments
    temperature: float = 1.0
    target_temperature: float = 1.0

    def doubted(self, given: Given | None, partial: Partial) -> Tensor:
        """(rows) boolean: of which a class is asked for that is rare."""
        if given is None or self.target is None:
            return torch.zeros(len(partial.cells), dtype=torch.bool, device=partial.cells.device)
        shares = torch.tensor(self.layout.cells[self.target].shares, device=given.states.device)
        allowed = given.states[:, self.segments.cell == self.target]
        return (allowed < 1).any(1) & (allowed @ shares < RARE)

    def finish(self, partial: Partial, draw: Draw, *, weighed: bool = False) -> Tensor:
        """Draw the hidden cells, one at a time, those of each row in a random order of its own, the target last. Rows share the
        network's trunk, whichever cell they are at.

        (rows) zeros or, if ``weighed``, the log ratio of what the cells without the target and then the target given them
        have for a probability to that of the cells given the target, which no row hides then.
        """
        weights = partial.values.new_zeros(len(partial.cells))
        if not self.layout.cells:
            return weights
        uniform = draw.stratified(*partial.cells.shape)  # one number a drawn state, however many states there are
        orders = self._orders(draw, *partial.cells.shape)
        shown = self.net.shown(partial)
        alike = Alike.of(partial) if self._few else None
        for step in range(orders.shape[1]):
            next_cell = orders[:, step]
            rows = partial.hidden.gather(1, next_cell[:, None])[:, 0].nonzero()[:, 0]
            if not len(rows):
                continue
            last = self.target is not None and step == orders.shape[1] - 1
            some = rows if alike is None else alike.first.repeat(-(-FEWEST // len(alike.first)))
            if last:
                x = self.net.masked(self.net.shown(partial.take(some), smooth=True))
            else:
                x = self.net.masked(shown if len(some) == len(shown) else shown[some])
            at_cell, by = next_cell[rows].sort(stable=True)  # so that rows at the same cell are side by side
            at = rows[by]
            x = x[by if alike is None else alike.group[at]]
            states = []
            for cell, mine in _runs(at_cell):
                logits = self._head(x, mine, cell)
                state = state_at(logits.softmax(1).cumsum(1), uniform[at[mine], cell])
                if weighed and self.target is not None:
                    without = self._logits(partial.take(at[mine]).without(self.target), cell)
                    ratio = (without.log_softmax(1) - logits.log_softmax(1)).gather(1, state[:, None])[:, 0]
                    weights = weights.index_add(0, at[mine], ratio)
                states.append(state)
            state = torch.cat(states)
            partial.cells[at, at_cell], partial.hidden[at, at_cell] = state, False
            self.net.reveal(shown, partial, at, at_cell)
            if alike is not None:
                alike = alike.after(next_cell, partial.cells.gather(1, next_cell[:, None])[:, 0])
        if weighed and self.target is not None:
            classes = self._logits(partial.without(self.target), self.target, smooth=True).log_softmax(1)
            weights = weights + classes.gather(1, partial.cells[:, self.target, None])[:, 0]
        return weights

    def conditionals(self, cells: Tensor, draw: Draw, order: Sequence[int]) -> Tensor:
        """(rows, S) float16 logarithms of the probabilities of each cell's states, side by side, in rows of which all ``cells``
        (rows, C) are known: given those before it in the ``order``, and of those after it that are not drawn later (by their
        ranks) a part, of a uniformly random size."""
        logs = torch.empty(len(cells), len(self.segments.cell), dtype=torch.float16, device=cells.device)
        partial = Partial.blank(self.layout, len(cells), cells.device)
        partial.cells, ranks = cells, self.segments.rank
        seen = draw.uniform(*cells.shape) < draw.uniform(len(cells), 1)
        for place, cell in enumerate(order):
            partial.hidden = ~(seen & (ranks <= ranks[cell]))
            partial.hidden[:, order[:place]], partial.hidden[:, cell] = False, True
            found = self._logits(partial, cell, smooth=cell == self.target)
            logs[:, self._span(cell)] = found.log_softmax(1)
        return logs

    def grant(self, partial: Partial, draw: Draw, given: Given, *, candidates: int, everything: bool) -> Tensor:
        """Draw what is restricted and take what is known; (rows) logs of the masses that were allowed.

        Values first, then cells one after the other, in an order of each row's own, each from its restricted probabilities
        given those before. What is known counts as restricted to one state where it depends on values that were drawn
        before it, or if ``everything`` does; otherwise it is taken as it is. Of ``candidates`` for each row one is kept, by
        these masses.
        """
        rows, layout = len(given.low), self.layout
        known, bounded = given.known_cells(self.segments.cell, len(layout.cells)), given.bounded_values
        asked = ~given.free_cells(self.segments.cell, len(layout.cells))
        restricted = asked & (~known | bounded.any(1, keepdim=True) | everything)
        # The only state of those that are known, the first allowed one of the others.
        even, least = torch.zeros_like(given.states), torch.zeros_like(known, dtype=torch.float32)
        states = draw_states(even, given.states, least, self.segments.cell)
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
        part, given, steps = partial.take(index), given.take(index), restricted[index].sum(1)
        weight, copies = weights[index], 1  # so many successive rows of a part are candidates for one
        # Of each row its restricted cells, in an order of its own, and then the others.
        when = draw.orders(rows, len(layout.cells))[index].argsort(1)
        sequence = torch.where(restricted[index], when, len(layout.cells)).argsort(1)

        def uniform(columns: int) -> Tensor:
            return draw.uniform(rows, columns * copies)[index].view(len(index) * copies, columns)

        def spread() -> None:
            nonlocal part, given, sequence, steps, weight, copies
            of = each(len(index), times, index.device)
            part, given, sequence, steps = part.take(of), given.take(of), sequence[of], steps[of]
            weight, copies = weight[of], times

        if bool(bounded.any()):
            spread()
            bounded = given.bounded_values
            part.values = torch.where(
                bounded, normal_between(given.low, given.high, uniform(layout.values)).float(), part.values
            )
            part.shown |= bounded
            weight = weight + (log_mass_between(given.low, given.high) * bounded).sum(1)
        for step in range(int(steps.max())):
            rows_at = (steps > step).nonzero()[:, 0]
            x = self.net.masked(self.net.shown(part.take(rows_at)))
            if copies < times:  # the first is drawn from the same probabilities for all candidates of a row
                x = x.repeat_interleave(times, 0)
                spread()
                rows_at = (steps > step).nonzero()[:, 0]
            number, (next_cell, by) = uniform(1)[rows_at, 0], sequence[rows_at, step].sort(stable=True)
            rows_at, x, number = rows_at[by], x[by], number[by]
            for cell, mine in _runs(next_cell):
                at, logits = rows_at[mine], self._head(x, mine, cell)
                state, mass = draw_state(logits, given.states[at, self._span(cell)], number[mine])
                part.cells[at, cell], part.hidden[at, cell] = state, False
                weight = weight.index_add(0, at, mass)
        kept = torch.arange(len(index), device=index.device) * copies
        if copies > 1:
            kept = kept + choose(weight.view(-1, copies), draw.uniform(rows, 1)[index, 0])
        partial.put(index, part.take(kept))
        return weights.index_copy(0, index, weight[kept])

    def _orders(self, draw: Draw, rows: int, cells: int) -> Tensor:
        """(rows, cells) in which order cells are drawn: by their ranks."""
        orders = draw.orders(rows, cells)
        return orders.gather(1, self.segments.rank[orders].argsort(dim=1, stable=True))

    def _logits(self, partial: Partial, cell: int, *, smooth: bool = False) -> Tensor:
        """(rows, states of the cell) float32."""
        x = self.net.masked(self.net.shown(partial, smooth=smooth))
        return self._head(x, slice(0, len(x)), cell)

    @property
    def _few(self) -> bool:
        """Whether a few of the rows may be computed apart. On a GPU, how products and sums are rounded depends on how many
        rows there are: always all of them, since how many of them are at a cell, or alike, depends on who else is drawn."""
        return self.segments.first.device.type == "cpu"

    def _head(self, x: Tensor, mine: slice, cell: int) -> Tensor:
        """(rows, states of the cell) float32, of some of the rows of hidden states ``x``. There are FEWEST at least, some of
        them several times."""
        count = mine.stop - mine.start
        temperature = self.target_temperature if cell == self.target else self.temperature
        if self._few:
            x, mine = x[mine], slice(0, count)
            x = x.repeat(-(-FEWEST // count), 1) if count < FEWEST else x
        return self.net.logits(x, cell)[mine] / temperature

    def _span(self, cell: int) -> slice:
        """Of the states side by side, the cell's."""
        first = int(self.segments.first[cell])
        return slice(first, first + self.layout.sizes[cell])


def _runs(cells: Tensor) -> Iterator[tuple[int, slice]]:
    """Each of the ascending ``cells``, and where it stands."""
    distinct, counts = cells.unique_consecutive(return_counts=True)
    stop = 0
    for cell, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        start, stop = stop, stop + count
        yield cell, slice(start, stop)
