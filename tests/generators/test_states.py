"""The vectors of states: curves shared by neighbours, the smooth view of numbers, logits that start at the marginals,
and the arithmetic of cells side by side."""

from __future__ import annotations

import math

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.layout import Cell, Layout
from synth.generators.states import Logits, Segments, Smooth, States

MIXED = Layout(
    cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.05,) * 20, ordered=20), Cell(shares=(0.2, 0.8))), values=2
)

SIZES = [2, 20, 5]
CELLS = Segments(Layout(cells=tuple(Cell(shares=(1 / n,) * n) for n in SIZES), values=0))


def test_untrained_logits_are_the_marginals() -> None:
    head = Logits(MIXED, 8)
    shares = torch.tensor([s for c in MIXED.cells for s in c.shares])
    torch.testing.assert_close(head(torch.randn(1, 8))[0].exp(), shares)


def test_ordered_states_interpolate_between_knots() -> None:
    states = States(Layout(cells=(Cell(shares=(0.02,) * 50, ordered=49),), values=0), 4, 1.0)
    assert torch.allclose(states.weights[:49].sum(1), torch.ones(49))
    assert not states.weights[49].any()  # the state after the ordered ones stands alone
    position = states.positions(torch.tensor((0.02,) * 49))
    assert bool((position.diff() > 0).all()) and float(position[0]) >= 0 and float(position[-1]) <= 1


def test_the_smooth_view_of_a_number_is_its_normal_score() -> None:
    shares = torch.tensor([0.9, 0.02, 0.02, 0.02, 0.04])
    one, z, square = Smooth.scores(shares)
    middles = torch.tensor([0.45, 0.91, 0.93, 0.95, 0.98])
    torch.testing.assert_close(torch.special.ndtr(z), middles)
    assert bool((one == 1).all()) and float(z.diff().min()) > 0.1  # also the few beside a point mass differ
    torch.testing.assert_close(square, (z**2 - 1) / 3)
    cells = (Cell(shares=(0.5, 0.5)), Cell(shares=(*shares.tolist(), 0.0), ordered=5))
    view = Smooth(Layout(cells=cells, values=0), 7, 1.0)
    table = view()
    torch.testing.assert_close(table[2:7], torch.stack([one, z, square], 1) @ view.linear[:, 1])
    assert torch.equal(table[[0, 1, 7]], view.own[[0, 1, 7]])  # classes, and the state of missing numbers


def test_entropy_is_torchs_cell_by_cell_wherever_the_logits_lie() -> None:
    logits = torch.randn(64, sum(SIZES))
    logits[:, 2:22] -= 300.0  # a whole cell far below the others of its row
    states = torch.stack([torch.randint(n, (64,)) for n in SIZES], 1)
    expected = [
        torch.nn.functional.cross_entropy(part, states[:, cell], reduction="none")
        for cell, part in enumerate(logits.split(SIZES, 1))
    ]
    torch.testing.assert_close(CELLS.entropy(logits, states), torch.stack(expected, 1), rtol=1e-4, atol=1e-4)


def test_states_are_drawn_in_their_shares() -> None:
    logits = torch.randn(sum(SIZES))
    drawn = CELLS.draw(logits.expand(50_000, -1), Draw(1).stratified(50_000, 3))
    for cell, part in enumerate(logits.split(SIZES)):
        shares = drawn[:, cell].bincount(minlength=SIZES[cell]) / len(drawn)
        torch.testing.assert_close(shares, part.softmax(0), rtol=0, atol=1e-4)  # stratified: 1/50,000 and rounding


@pytest.mark.parametrize("uniform", [2**-30, 0.5, 1 - 2**-24])
def test_a_state_without_a_chance_is_never_drawn(uniform: float) -> None:
    logits = torch.full((1, sum(SIZES)), -math.inf)
    known = torch.tensor([1, 7, 4])
    logits[0, known + CELLS.first] = torch.tensor([-50.0, 3.0, 0.0])
    assert CELLS.draw(logits, torch.full((1, 3), uniform)).tolist() == [known.tolist()]


def test_no_cells_have_no_states() -> None:
    none = Segments(Layout(cells=(), values=1))
    assert none.entropy(torch.zeros(4, 0), torch.zeros(4, 0, dtype=torch.long)).shape == (4, 0)
    assert none.draw(torch.zeros(4, 0), torch.zeros(4, 0)).shape == (4, 0)
