"""The vectors of states: curves shared by neighbours, the smooth view of numbers, logits that start at the marginals."""

from __future__ import annotations

import torch

from synth.generators.layout import Cell, Layout
from synth.generators.states import Logits, Smooth, States

MIXED = Layout(
    cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.05,) * 20, ordered=20), Cell(shares=(0.2, 0.8))), values=2
)


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
