"""The image VAE: an exact likelihood of bytes, one bound for the whole batch, and collapse called by its name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from synth.family import ImageVaeRecipe
from synth.generators import latent
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.image_vae import STEP, ImageVAE, log_probability
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe

GREY = Layout(cells=(Cell(shares=(0.25, 0.75)),), values=64, target=0, image=(1, 8, 8))
COLOUR = Layout(cells=(), values=3 * 28 * 28, image=(3, 28, 28))
ODD = Layout(cells=GREY.cells, values=9 * 13, target=0, image=(1, 9, 13))


def small(layout: Layout, **options: Any) -> ImageVAE:
    torch.manual_seed(0)
    return ImageVAE(layout, **ImageVaeRecipe(**({"width": 16, "rungs": 1, "maps": 2} | options)).model_dump())


def batch(layout: Layout, rows: int = 8) -> Encoded:
    draw = Draw("batch")
    cells = (draw.uniform(rows, len(layout.cells)) * 2).long()
    return Encoded(cells, (draw.uniform(rows, layout.values) * 256).to(torch.uint8))


def two_images(rows: int) -> tuple[Encoded, torch.Tensor]:
    shown = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    shown[0, :, 2:6, 2:6], shown[1, :, :, 4:] = 255, 255
    cells = torch.arange(rows)[:, None] % 2
    return Encoded(cells, shown.flatten(1)[cells[:, 0]]), shown.flatten(1)


@pytest.mark.parametrize("layout", [GREY, COLOUR, ODD])
def test_samples_are_bytes_that_fit_the_layout_and_depend_on_the_draw_alone(layout: Layout) -> None:
    model = small(layout)
    first, again, other = model.sample(8, Draw(5)), model.sample(8, Draw(5)), model.sample(8, Draw(6))
    assert first.values.shape == (8, layout.values) and first.values.dtype == torch.uint8
    assert first.cells.shape == (8, len(layout.cells)) and first.cells.dtype == torch.long
    assert torch.equal(first.cells, again.cells) and torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)
    if layout.cells:
        assert torch.bincount(first.cells[:, 0]).tolist() == [2, 6]


@pytest.mark.parametrize("mean", [-1.3, -1.0, 0.123, 0.998, 40.0])
@pytest.mark.parametrize("scale", [STEP / 20, 0.02, 3.0])
def test_the_probabilities_of_all_bytes_are_those_of_the_rounded_logistic_and_sum_to_one(
    mean: float, scale: float
) -> None:
    images = torch.arange(256, dtype=torch.float64) * STEP - 1
    found = log_probability(images, *torch.tensor([mean, scale], dtype=torch.float64))
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-9)
    edges = torch.sigmoid((images[:-1] + STEP / 2 - mean) / scale)  # shares of the logistic below each edge
    expected = torch.diff(edges, prepend=edges.new_zeros(1), append=edges.new_ones(1))
    torch.testing.assert_close(found.exp(), expected)
    assert log_probability(images.float(), torch.tensor(mean), torch.tensor(scale)).isfinite().all()


def test_samples_of_pixels_follow_the_likelihood() -> None:
    model = small(GREY)
    for parameter in model.vae.decoder.pixels.parameters():
        parameter.data.zero_()  # all pixels alike
    model.vae.decoder.pixels.bias.data.fill_(-0.97)  # type: ignore[union-attr]
    values = model.sample(4000, Draw("pixels")).values.flatten()
    shares = torch.bincount(values.long(), minlength=256) / len(values)
    images = torch.arange(256) * STEP - 1
    expected = log_probability(images, torch.tensor(-0.97), model.vae.scale.detach()[:, 0]).exp()
    assert float((shares - expected).abs().max()) < 0.002 and float(shares[0]) > 0.3


@pytest.mark.parametrize("layout", [GREY, COLOUR])
def test_the_loss_is_the_bound_in_nats_a_pixel_and_moves_every_weight(layout: Layout) -> None:
    model, rows = small(layout, beta=0.5, cycles=0), batch(layout)
    with torch.no_grad():
        for p in model.parameters():
            if not p.any():
                p.normal_(std=0.1)
    ((player, loss),) = model.losses(model.players, rows, Draw(3), 0)
    images = rows.values.view(-1, *layout.image).float() / 127.5 - 1  # type: ignore[misc]
    classes = rows.cells[:, 0] if layout.cells else None
    parts = model.vae(images, classes, Draw(3).normal(8, model.vae.units))
    nats = 0.5 * latent.divergence(parts.mean, parts.log_variance).sum()
    nats = nats - log_probability(images, parts.means, parts.scale).sum()
    assert player == "vae" and float(loss.detach()) == pytest.approx(float(nats.detach()) / 8 / layout.values, rel=1e-5)
    loss.backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_first_nats_of_a_map_are_free_and_the_weight_of_the_divergence_rises() -> None:
    rows, maps, places = batch(GREY), 2, 8 * 8 + 4 * 4
    plain, free = small(GREY, cycles=1, period=10), small(GREY, cycles=0, free_bits=1000.0)
    for model in (plain, free):
        for rung in model.vae.ladder:
            rung.posterior.weight.data.zero_()  # type: ignore[union-attr]
            rung.posterior.bias.data.fill_(0.5)  # type: ignore[union-attr]
    variance = float((8 * torch.tensor(0.5 / 8).tanh()).exp())  # log-variances are bounded
    unit = (0.5**2 + variance - 1 - math.log(variance)) / 2
    at = {step: float(next(plain.losses(plain.players, rows, Draw(1), step))[1].detach()) for step in (0, 10)}
    assert at[10] - at[0] == pytest.approx(unit * places * maps / 64, rel=1e-4)
    all_free = float(next(free.losses(free.players, rows, Draw(1), 0))[1].detach())
    assert all_free - at[0] == pytest.approx(1000 * 2 * maps / 64, rel=1e-4)  # a constant: nothing to gain by less


def test_workers_with_unequal_shares_agree_on_the_whole_batchs_loss() -> None:
    model, rows = small(GREY), batch(GREY, 7)
    _, alone = next(model.losses(model.players, rows, Draw("train", total=7), 0))
    shared = [
        next(
            model.losses(
                model.players, Encoded(*(t[r::3] for t in rows)), Draw("train", part=slice(r, None, 3), total=7), 0
            )
        )
        for r in range(3)
    ]
    assert float(sum(loss.detach() for _, loss in shared)) / 3 == pytest.approx(float(alone.detach()), rel=1e-5)


def fit(model: ImageVAE, rows: Encoded, steps: int) -> list[float]:
    optimizer, seen = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0), []
    for step in range(steps):
        _, loss = next(model.losses(model.players, rows, Draw("fit", step), step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    return seen


def test_it_learns_two_images_and_draws_them_by_their_classes() -> None:
    model = small(GREY, cycles=0)
    rows, shown = two_images(16)
    seen = fit(model, rows, 80)
    assert seen[-1] < 0.3 * seen[0]
    drawn = model.sample(64, Draw("sample"))
    assert float((drawn.values.float() - shown[drawn.cells[:, 0]].float()).abs().mean()) / 255 < 0.1  # 0.5 at first


def test_collapse_is_called_by_its_name_and_use_of_the_latent_maps_is_not() -> None:
    layout = Layout(cells=(), values=64, image=(1, 8, 8))  # without the class, only z can tell the two images
    model = small(layout, cycles=0)
    rows = Encoded(torch.zeros(16, 0, dtype=torch.long), two_images(16)[0].values)
    fit(model, rows, 40)
    (said,) = model.remarks(rows)
    assert "posterior collapse" not in said and said[0] in "1234"
    for rung in model.vae.ladder:
        for parameter in rung.posterior.parameters():  # type: ignore[union-attr]
            parameter.data.zero_()  # the prior, whatever the image
    (said,) = model.remarks(rows)
    assert said.startswith("posterior collapse: 0 of 4 latent units")


def test_the_recipe_builds_it() -> None:
    recipe = Recipe.check({"family": "vae", "image": {"vae": {"width": 16, "maps": 3, "rungs": 2}}})
    model = build(recipe, GREY)
    assert isinstance(model, ImageVAE) and model.vae.shapes == [(3, 4, 4)] * 2 + [(3, 8, 8)] * 2
