"""What is asked of rows is granted by every family, exactly, and how rare it is is told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from synth.generators.base import Draw, Generator
from synth.generators.families import build
from synth.generators.given import Given
from synth.generators.layout import Cell, Layout
from synth.recipe import Recipe

TABLE = Layout(
    cells=(Cell(shares=(0.5, 0.3, 0.2)), Cell(shares=(0.7, 0.3)), Cell(shares=(0.1, 0.2, 0.3, 0.4), ordered=4)),
    values=2, target=1,
)  # fmt: skip
IMAGES = Layout(cells=(Cell(shares=(0.5, 0.3, 0.2)),), values=64, target=0, image=(1, 8, 8))
SMALL = {"width": 16, "blocks": 1}
ROWS = 256


def untrained(family: str, layout: Layout) -> Generator:
    """Whose weights are noise, so that all depends on all."""
    images = layout.image is not None
    of_images = {"width": 16} | ({"steps": 2} if family == "diffusion" else {})
    settings = {"image": {family: of_images}} if images else {family: SMALL}
    recipe = Recipe.check({"family": family, **settings}).suited(images=images)
    torch.manual_seed(0)
    generator = build(recipe, layout)
    for parameter in generator.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return generator.eval()


def free(layout: Layout, rows: int = ROWS) -> Given:
    values = 0 if layout.image is not None else layout.values
    ends = torch.full((rows, values), torch.inf)
    return Given(torch.ones(rows, sum(layout.sizes)), -ends, ends)


def restricted(rows: int = ROWS) -> Given:
    """The first cell is not 0, the target 1, and the first value from 0.2 to 1.5."""
    given = free(TABLE, rows)
    given.states[:, [0, 3]] = 0
    given.low[:, 0], given.high[:, 0] = 0.2, 1.5
    return given


def meets(cells: Tensor, values: Tensor) -> Tensor:
    return (cells[:, 0] > 0) & (cells[:, 1] == 1) & (values[:, 0] >= 0.2) & (values[:, 0] <= 1.5)


@pytest.mark.parametrize("family", ["diffusion", "gan", "vae"])
def test_rows_of_a_table_are_as_they_are_asked_for(family: str) -> None:
    generator, given = untrained(family, TABLE), restricted()
    given.low[::2, 1] = given.high[::2, 1] = 0.7  # known, of every other row
    given.states[::4, 5:] = torch.eye(4)[2]
    cells, values = generator.sample(ROWS, Draw("given"), given)
    assert bool(meets(cells, values).all())
    assert bool((values[::2, 1] == 0.7).all()) and bool((cells[::4, 2] == 2).all())
    assert len(values[1::2, 1].unique()) > 100 and len(cells[1::2, 2].unique()) == 4
    again = generator.sample(ROWS, Draw("given"), given)
    assert torch.equal(again.cells, cells) and torch.equal(again.values, values)


@pytest.mark.parametrize("family", ["diffusion", "vae"])
def test_how_rare_it_is_agrees_with_how_often_it_comes(family: str) -> None:
    """Of a GAN that has learnt nothing, a row does not do as the state that it is given says: there is no one answer."""
    generator = untrained(family, TABLE)
    often = torch.cat([meets(*generator.sample(1024, Draw("often", i))) for i in range(8)]).double()
    rare = generator.log_chances(Draw("rare"), restricted(2048)).double().exp()
    error = (often.var() / len(often) + rare.var() / len(rare)).sqrt()
    assert abs(often.mean() - rare.mean()) < 4 * error + 0.1 * often.mean()  # diffusion takes values for independent


def test_of_a_gan_one_restricted_cell_has_its_share_of_the_training_rows() -> None:
    given = free(TABLE, 8)
    given.states[:, 0] = 0
    generator = untrained("gan", TABLE)
    chance = generator.log_chances(Draw(1), given).exp()
    assert torch.allclose(chance, chance.new_full((8,), 0.5), atol=1e-5)
    given.low[:, 0] = 50.0
    assert bool((generator.log_chances(Draw(1), given) == -torch.inf).all())


def test_of_a_gan_a_bin_that_a_range_cuts_counts_by_its_share_and_once() -> None:
    given = free(TABLE, 8000)
    given.states[:, :3] = torch.tensor([0.1, 1.0, 0.0])
    generator = untrained("gan", TABLE)
    chance = generator.log_chances(Draw(1), given).exp()
    assert torch.allclose(chance, chance.new_full((8000,), 0.05 + 0.3), atol=1e-5)
    cells = generator.sample(8000, Draw(2), given).cells
    assert float((cells[:, 0] == 0).float().mean()) == pytest.approx(0.05 / 0.35, abs=0.02)
    assert not (cells[:, 0] == 2).any()


def test_a_gan_that_is_certain_is_asked_for_the_opposite() -> None:
    generator, given = untrained("gan", TABLE), free(TABLE, 64)
    generator.generator.logits.bias.data[5:] = torch.tensor([0.0, 300.0, 0.0, 0.0])  # type: ignore[union-attr]
    given.states[:, 0], given.states[:, 6] = 0, 0  # of the first cell it is told; the third it says by itself
    drawn, chance = generator.sample(64, Draw(1), given), generator.log_chances(Draw(1), given)
    assert not (drawn.cells[:, 2] == 1).any() and bool(drawn.values.isfinite().all())
    assert float(chance.max()) < -200 and bool(chance.isfinite().all())


def test_a_vae_whose_values_lie_far_from_a_range_still_says_the_class() -> None:
    generator, given = untrained("vae", TABLE), free(TABLE)
    bias = generator.vae.mixtures.head.bias.data.view(2, 3, -1)  # type: ignore[union-attr]
    bias[0, 1], bias[0, 2] = -1.0, -9.0  # a hundred deviations below
    given.low[:, 0] = 0.5
    cells, values = generator.sample(ROWS, Draw(1), given)
    assert bool(((values[:, 0] >= 0.5) & (values[:, 0] < 1)).all())
    assert torch.bincount(cells[:, 1], minlength=2).min() > 0.1 * ROWS


@pytest.mark.parametrize("family", ["diffusion", "gan", "vae"])
def test_images_are_of_the_classes_that_are_asked_for(family: str) -> None:
    generator, given = untrained(family, IMAGES), free(IMAGES, 64)
    given.states[:, 0] = 0
    given.states[:8, 1] = 0
    cells, values = generator.sample(64, Draw(3), given)
    assert set(cells[:8, 0].tolist()) == {2} and set(cells[8:, 0].tolist()) == {1, 2}
    assert values.shape == (64, 64) and values.dtype == torch.uint8
    chance = generator.log_chances(Draw(1), given).exp()
    assert torch.allclose(chance, torch.tensor([0.2] * 8 + [0.5] * 56))
