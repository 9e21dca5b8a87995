"""Vectors of combinations of cells: each of its own, and none for a combination of which a part is hidden."""

from __future__ import annotations

import torch

from synth.generators.crossed import Crossed
from synth.generators.layout import Cell, Layout
from synth.generators.states import Shown

SIZES = (2, 3, 4, 5)
LAYOUT = Layout(
    cells=tuple(Cell(shares=(1 / n,) * n) for n in SIZES), values=0, crosses=((0, 2), (1, 2, 3), (2, 3), (0, 1, 2))
)
EVERY = torch.cartesian_prod(*map(torch.arange, SIZES))


def test_each_combination_has_a_vector_of_its_own() -> None:
    crossed = Crossed(LAYOUT, 8, 1.0)
    index = crossed.index(EVERY, torch.zeros_like(EVERY, dtype=torch.bool))
    for number, cross in enumerate(LAYOUT.crosses):
        seen = torch.cat([EVERY[:, list(cross)], index[:, number, None]], 1).unique(dim=0)
        count = int(torch.tensor([SIZES[cell] for cell in cross]).prod())
        assert len(seen) == count == len(seen[:, -1].unique())  # one to one
    assert index.unique().tolist() == list(range(1, len(crossed.codes)))  # side by side, and all of them used


def test_a_combination_of_which_a_part_is_hidden_says_nothing() -> None:
    crossed = Crossed(LAYOUT, 8, 1.0)
    for cell in range(len(SIZES)):
        hidden = torch.zeros_like(EVERY, dtype=torch.bool)
        hidden[:, cell] = True
        index = crossed.index(EVERY, hidden)
        for number, cross in enumerate(LAYOUT.crosses):
            assert bool((index[:, number] == 0).all()) == (cell in cross)
    assert not crossed(EVERY, torch.ones_like(EVERY, dtype=torch.bool)).any()


def test_what_is_shown_of_a_row_is_the_sum_of_its_states_and_its_combinations() -> None:
    torch.manual_seed(0)
    shown = Shown(LAYOUT, 8)
    plain = Shown(LAYOUT.model_copy(update={"crosses": ()}), 8)
    plain.load_state_dict({k: v for k, v in shown.state_dict().items() if not k.startswith("crossed.")})
    hidden = torch.rand(len(EVERY), len(SIZES)) < 0.3
    assert shown.crossed is not None
    torch.testing.assert_close(shown(EVERY, hidden, 0) - plain(EVERY, hidden, 0), shown.crossed(EVERY, hidden))


def test_what_is_hidden_is_never_learnt() -> None:
    shown, hidden = Shown(LAYOUT, 8), torch.ones_like(EVERY, dtype=torch.bool)
    hidden[:60] = False
    optimizer = torch.optim.AdamW(shown.parameters(), lr=0.1, weight_decay=0.1)
    shown(EVERY, hidden, 0).square().sum().backward()
    optimizer.step()
    assert shown.crossed is not None and not shown.crossed.codes[0].any()
