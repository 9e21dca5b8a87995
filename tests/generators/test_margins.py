"""Generated values get the marginals that they are known to have, and keep their order."""

from __future__ import annotations

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Cell, Layout
from synth.generators.margins import Margins
from synth.recipe import Recipe


def test_whatever_the_distribution_scores_are_standard_normal_and_in_the_same_order() -> None:
    drawn, more = (Draw(part).normal(4096, 2) for part in ("drawn", "more"))
    thin = [torch.stack([x[:, 0].tanh(), 3 + x[:, 1].exp()], 1) for x in (drawn, more)]
    scores = Margins(thin[0])(thin[1])
    assert scores.mean(0).abs().max() < 0.06
    for share in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99):
        expected = torch.special.ndtri(torch.tensor(share))
        assert scores.quantile(share, 0) == pytest.approx(expected.expand(2), abs=0.35 if share == 0.001 else 0.12)
    assert torch.equal(scores.argsort(0), thin[1].argsort(0))


def test_beyond_what_was_drawn_numbers_go_on_and_equal_ones_stay_finite() -> None:
    margins = Margins(torch.tensor([[0.0], [1.0], [1.0], [2.0]]))
    scores = margins(torch.tensor([[-3.0], [0.0], [1.0], [2.0], [5.0]]))[:, 0]
    edge = float(torch.special.ndtri(torch.tensor(7 / 8)))
    assert scores[[0, 1, 3, 4]].tolist() == pytest.approx([-edge - 3, -edge, edge, edge + 3])
    assert abs(float(scores[2])) < edge


@pytest.mark.parametrize("cells", [(), (Cell(shares=(0.7, 0.3)),)])
def test_a_gan_has_normal_values_whatever_its_weights_and_learns_them_anew_with_these(cells: tuple[Cell, ...]) -> None:
    layout = Layout(cells=cells, values=3, normal=(0, 2))
    torch.manual_seed(0)
    gan = build(Recipe.check({"family": "gan", "gan": {"width": 16}}).suited(images=False), layout)
    for scale in (0.2, 5.0):
        gan.load_state_dict({name: scale * weight for name, weight in gan.state_dict().items()})
        values = gan.sample(8192, Draw("sample")).values
        assert values[:, [0, 2]].std(0) == pytest.approx(torch.ones(2), abs=0.04)
        assert abs(float(values[:, 1].std()) - 1) > 0.1  # of which nothing is known
        few = gan.sample(8192, Draw("sample")).values
        assert torch.equal(few, values)
