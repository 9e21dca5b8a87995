"""What is drawn comes in the shares of the training rows."""

from __future__ import annotations

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.layout import Cell, Layout
from synth.recipe import Recipe
from synth.training import raking
from tests.generators.test_table_diffusion import MIXED, batch, fit, small


def shares(cells: torch.Tensor, layout: Layout) -> torch.Tensor:
    counted = [column.bincount(minlength=n) for column, n in zip(cells.T, layout.sizes, strict=True)]
    return torch.cat(counted) / len(cells)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.5])
def test_a_model_whose_shares_are_off_is_brought_to_them_and_what_depends_on_what_stays(temperature: float) -> None:
    """The second cell is the first's twin; the rows that are learnt from have half of each state, the layout does not."""
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.5, 0.5)), Cell(shares=(0.2, 0.3, 0.5))), values=1)
    rows = batch(layout, 512)
    rows.cells[:, 1] = rows.cells[:, 0]
    model = small(layout, temperature=temperature)
    fit(model, rows, 300)
    model.eval()
    told = torch.tensor([share for cell in layout.cells for share in cell.shares])
    before = model.sample(4096, Draw("drawn")).cells
    assert model.denoiser.logits is not None
    raking.rake(layout, model.denoiser.logits.bias, model.heat, model.cells, 0)
    after = model.sample(4096, Draw("drawn")).cells
    assert (shares(before, layout) - told).abs().max() > 0.1
    assert (shares(after, layout) - told).abs().max() < 0.025
    assert (after[:, 0] == after[:, 1]).float().mean() > 0.97


def test_noise_has_an_address() -> None:
    biases = []
    for _ in range(2):
        model = small(MIXED).eval()
        assert model.denoiser.logits is not None
        raking.rake(MIXED, model.denoiser.logits.bias, model.heat, model.cells, 3)
        biases.append(model.denoiser.logits.bias.detach().clone())
    assert torch.equal(*biases)


def test_a_try_is_not_raked_and_nor_is_what_takes_longer_to_draw_than_to_train() -> None:
    short, long = (Recipe.check({"training": {"steps": steps}}).training for steps in (100, 2000))
    wide = Layout(cells=(Cell(shares=(0.5, 0.5)),) * 300, values=0)
    assert raking.worth(long, MIXED)
    assert not raking.worth(short, MIXED) and not raking.worth(long, wide)
    assert not raking.worth(long, Layout(cells=(), values=2))
