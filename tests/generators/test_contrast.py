"""Two denoisers in one: logits and denoised values are extrapolated, a shadow like the model changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch

from synth.generators import noise
from synth.generators.base import Draw
from synth.generators.contrast import Contrast
from synth.generators.layout import Layout
from synth.generators.partial import Partial
from synth.generators.still import Still
from tests.generators.test_table_diffusion import MIXED, small

LAYOUT = Layout(cells=MIXED.cells, values=2, target=0)


def stirred(**options: object) -> object:
    """A model whose outputs are not the same for all rows, as they are at first."""
    torch.manual_seed(1)
    model = small(LAYOUT, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_what_two_say_is_extrapolated_by_the_formula() -> None:
    model = stirred(contrast=0.5)
    cells = torch.zeros(6, len(LAYOUT.cells), dtype=torch.long)
    hidden = torch.ones(4, len(LAYOUT.cells), dtype=torch.bool)
    values, sigma = torch.randn(2, 2, generator=torch.Generator().manual_seed(0)), torch.full((2, 1), 0.7)
    own, shadow = (net(cells, hidden, values, sigma) for net in (model.denoiser, model.shadow))
    contrast = model.sampled
    assert isinstance(contrast, Contrast)
    still = Still(contrast, LAYOUT, torch.float32)
    known = Partial(cells, torch.cat([hidden, hidden[:2] & False]), torch.zeros(6, 2), torch.zeros(6, 2).bool())
    shown = still.shown(known)
    x = still.masked(shown[:4])
    logits = torch.cat([still.logits(x, cell) for cell in range(len(LAYOUT.cells))], 1)
    raw = noise.target(still.denoised(shown[4:], values, 0.7), values, sigma)
    for a, b, found in zip(own, shadow, (logits, raw), strict=True):
        torch.testing.assert_close(found, 1.5 * a - 0.5 * b)


def test_a_shadow_that_is_the_model_changes_nothing_and_another_does() -> None:
    model, plain = stirred(contrast=1.0), stirred()
    plain.denoiser.load_state_dict(model.denoiser.state_dict())
    same = copy.deepcopy(model)
    same.shadow.load_state_dict(model.denoiser.state_dict())
    drawn, alike, other = (one.eval().sample(64, Draw("rows")) for one in (plain, same, model))
    assert torch.equal(drawn.cells, alike.cells)
    torch.testing.assert_close(drawn.values, alike.values, rtol=1e-3, atol=1e-3)
    assert not torch.equal(drawn.cells, other.cells)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_shadow_is_no_player(weight: float) -> None:
    model = small(LAYOUT, contrast=weight)
    assert list(model.players) == ["denoiser"] and (model.shadow is None) == (weight == 0)
    assert model.joins, "rows of two denoisers are drawn beside others as rows of one are"
