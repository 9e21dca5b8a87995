"""Generated cells and values get the distributions that they are known to have, and keep their order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout, Normal
from synth.generators.margins import Margins, raked
from synth.generators.states import Segments
from synth.recipe import Recipe

TWO = Layout(cells=(), values=2, normal=(Normal(value=0), Normal(value=1)))
# Of the second cell, states 1 and 2 are bins of the first value; nothing is known of the third.
MIXED = Layout(
    cells=(Cell(shares=(0.7, 0.3)), Cell(shares=(0.2, 0.4, 0.4), ordered=3)), values=3,
    normal=(Normal(value=0, cell=1, states=(1, 2)), Normal(value=1)),
)  # fmt: skip


def rows(values: Tensor, *cells: Tensor) -> Encoded:
    return Encoded(torch.stack(cells, 1) if cells else torch.zeros(len(values), 0, dtype=torch.long), values)


def test_whatever_the_distribution_scores_are_standard_normal_and_in_the_same_order() -> None:
    drawn, more = (Draw(part).normal(4096, 2) for part in ("drawn", "more"))
    thin = [torch.stack([x[:, 0].tanh(), 3 + x[:, 1].exp()], 1) for x in (drawn, more)]
    scores = Margins(TWO, rows(thin[0]))(rows(thin[1]))
    assert scores.mean(0).abs().max() < 0.06
    for share in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99):
        expected = torch.special.ndtri(torch.tensor(share))
        assert scores.quantile(share, 0) == pytest.approx(expected.expand(2), abs=0.35 if share == 0.001 else 0.12)
    assert torch.equal(scores.argsort(0), thin[1].argsort(0))


def test_beyond_what_was_drawn_numbers_go_on_and_equal_ones_stay_finite() -> None:
    margins = Margins(TWO, rows(torch.tensor([0.0, 1.0, 1.0, 2.0])[:, None].expand(4, 2)))
    scores = margins(rows(torch.tensor([-3.0, 0.0, 1.0, 2.0, 5.0])[:, None].expand(5, 2)))[:, 1]
    edge = float(torch.special.ndtri(torch.tensor(7 / 8)))
    assert scores[[0, 1, 3, 4]].tolist() == pytest.approx([-edge - 3, -edge, edge, edge + 3])
    assert abs(float(scores[2])) < edge


def test_only_where_a_cell_leaves_it_open_is_a_value_known() -> None:
    values, state = 0.3 * Draw("values").normal(3000, 3), (Draw("state").uniform(3000, 1)[:, 0] * 3).long()
    made = rows(values, torch.zeros_like(state), state)
    known = Margins(MIXED, made)(made)
    assert known[state > 0, 0].std() == pytest.approx(1, abs=0.01)
    assert torch.equal(known[state == 0, 0], values[state == 0, 0]) and torch.equal(known[:, 2], values[:, 2])
    assert known[:, 1].std() == pytest.approx(1, abs=0.01)
    lone = Margins(MIXED, rows(values[:1], state[:1], state[:1]))  # tells nothing
    torch.testing.assert_close(lone(made), values)


def test_raking_changes_the_shares_of_states_and_nothing_else() -> None:
    segments, shares = Segments(MIXED), torch.tensor([0.7, 0.3, 0.2, 0.8, 0.0])
    logits = 2 * Draw("logits").normal(2000, 5)
    counted = torch.ones_like(logits, dtype=torch.bool)
    counted[:1000, :2] = False  # the first cell of these was given
    factors = raked(logits, counted, shares, segments)
    chances = segments.softmax(logits + factors)
    assert chances[1000:, :2].mean(0) == pytest.approx(shares[:2], abs=0.01)
    with_none = chances[:, 2:4].mean(0)
    assert with_none / with_none.sum() == pytest.approx(shares[2:4], abs=0.01)
    assert factors[4] == 0  # of a state that never came, nothing is known
    odds = (logits + factors)[:, 0] - (logits + factors)[:, 1] - (logits[:, 0] - logits[:, 1])
    assert float(odds.std()) < 1e-5  # by the same factor in every row
    far = raked(logits - 50 * torch.tensor([0.0, 0, 0, 1, 0]), counted, shares, segments)
    assert float(far.abs().max()) == 5.0


@pytest.mark.parametrize("layout", [TWO, MIXED])
def test_a_gan_has_the_values_that_are_known_and_learns_them_anew_with_its_weights(layout: Layout) -> None:
    torch.manual_seed(0)
    gan = build(Recipe.check({"family": "gan", "gan": {"width": 16}}).suited(images=False), layout)
    for scale in (0.2, 5.0):
        gan.load_state_dict({name: scale * weight for name, weight in gan.state_dict().items()})
        found = gan.sample(8192, Draw("sample"))
        told = found.cells[:, 1] > 0 if len(layout.cells) else slice(None)
        assert found.values[told, 0].std() == pytest.approx(1, abs=0.04)
        assert found.values[:, 1].std() == pytest.approx(1, abs=0.04)
        for cell, known in enumerate(layout.cells):
            drawn = torch.bincount(found.cells[:, cell], minlength=len(known.shares)) / 8192
            assert drawn == pytest.approx(torch.tensor(known.shares), abs=0.02)
        assert torch.equal(gan.sample(8192, Draw("sample")).values, found.values)
