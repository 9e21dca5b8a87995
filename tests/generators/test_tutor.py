"""Guidance by a classifier's gradients: it learns the target, its criterion rises along them, and no step is too long."""

from __future__ import annotations

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.layout import Cell, Encoded, Layout
from synth.generators.tutor import CAP, CRITERIA, Tutor
from tests.generators.test_table_diffusion import small

LAYOUT = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.5, 0.5))), values=2, target=1)


def rows(count: int, seed: int = 0) -> Encoded:
    """The class is that of the first value's sign, more or less; the other cell and value say nothing."""
    source = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 2, generator=source)
    label = (values[:, 0] + 0.5 * torch.randn(count, generator=source) > 0).long()
    return Encoded(torch.stack([torch.randint(0, 2, (count,), generator=source), label], 1), values)


@pytest.fixture(scope="module")
def tutor() -> Tutor:
    torch.manual_seed(0)
    found = Tutor(LAYOUT, 1, 64, 2, 2)
    optimizer = torch.optim.Adam(found.parameters(), 3e-3)
    for step in range(300):
        optimizer.zero_grad()
        found.loss(rows(256, step), Draw("learn", step)).backward()
        optimizer.step()
    return found.eval()


def test_it_learns_the_target_and_does_not_look_at_it(tutor: Tutor) -> None:
    held, low = rows(2000, 999), torch.full((2000, 1), 0.05)
    logits = tutor.logits(held.cells, held.values, low)
    assert float((logits.argmax(1) == held.cells[:, 1]).float().mean()) > 0.8
    other = held.cells.clone()
    other[:, 1] = 1 - other[:, 1]
    assert torch.equal(tutor.logits(other, held.values, low), logits)


@pytest.mark.parametrize("name", CRITERIA)
def test_its_criterion_rises_along_its_gradient_and_no_step_is_too_long(name: str, tutor: Tutor) -> None:
    held, sigma = rows(500, 998), 0.4
    level = torch.full((500, 1), sigma)
    before = tutor.criterion(name, held.cells, held.values, level)
    step = tutor.shift(name, 0.05, held.cells, held.values, sigma)
    after = tutor.criterion(name, held.cells, held.values + step, level)
    assert float((after > before).float().mean()) > 0.95
    far = tutor.shift(name, 1e6, held.cells, held.values, sigma)
    assert float(far.norm(dim=1).max()) <= CAP * sigma * 1.001
    assert not tutor.shift(name, 1.0, held.cells, held.values, 50.0).any(), "rows drown there"


def test_entropy_is_that_of_the_chances(tutor: Tutor) -> None:
    held, level = rows(100, 997), torch.full((100, 1), 0.1)
    chances = tutor.logits(held.cells, held.values, level).softmax(1)
    entropy = torch.distributions.Categorical(chances).entropy()
    torch.testing.assert_close(tutor.criterion("entropy", held.cells, held.values, level), entropy)
    own = chances.gather(1, held.cells[:, 1:])[:, 0]
    torch.testing.assert_close(tutor.criterion("hardness", held.cells, held.values, level), 1 - own)
    torch.testing.assert_close(tutor.criterion("loss", held.cells, held.values, level), -own.log())


def test_a_sampler_that_is_guided_draws_rows_that_are_less_sure(tutor: Tutor) -> None:
    plain, guided = small(LAYOUT).eval(), small(LAYOUT, tutored=2.0, criterion="entropy").eval()
    guided.load_state_dict(plain.state_dict() | {f"tutor.{n}": t for n, t in tutor.state_dict().items()}, strict=False)
    assert guided.tutor is not None and list(guided.players) == ["denoiser"] and guided.joins
    if tutor.classes.weight.shape == guided.tutor.classes.weight.shape:
        guided.tutor.load_state_dict(tutor.state_dict())
    drawn = [one.sample(1000, Draw("rows")) for one in (plain, guided)]
    assert torch.equal(drawn[0].cells, drawn[1].cells), "cells have no gradient"
    level = torch.full((1000, 1), 0.05)
    unsure = [tutor.criterion("entropy", one.cells, one.values, level).mean() for one in drawn]
    assert unsure[1] > unsure[0] + 0.02
