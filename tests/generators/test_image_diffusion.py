"""The image diffusion model: its losses, its sampler, and that it learns."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from synth.errors import UserError
from synth.family import ImageDiffusionRecipe
from synth.generators import noise
from synth.generators.augment import PARAMETERS
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.image_diffusion import ImageDiffusion
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe
from synth.training.engine import recompute

BACKBONES = ("unet", "dit")


def layout(image: tuple[int, int, int] = (1, 8, 8), classes: int = 3) -> Layout:
    channels, height, width = image
    cells = (Cell(shares=(1 / classes,) * classes),) if classes else ()
    return Layout(cells=cells, values=channels * height * width, target=0 if classes else None, image=image)


def small(of: Layout, backbone: str = "unet", *, moved: bool = True, **options: Any) -> ImageDiffusion:
    """A tiny model; unless ``moved`` is False, away from the zeros that it starts with."""
    torch.manual_seed(0)
    settings = ImageDiffusionRecipe().model_dump() | {"backbone": backbone, "width": 16, "depth": 1, "steps": 2}
    model = ImageDiffusion(of, **(settings | options))
    if moved:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def batch(of: Layout, rows: int = 8) -> Encoded:
    draw = Draw("batch")
    cells = [(draw.uniform(rows, 1)[:, 0] * size).long() for size in of.sizes]
    pixels = (draw.uniform(rows, of.values) * 256).to(torch.uint8)
    return Encoded(torch.stack(cells, 1) if cells else torch.zeros(rows, 0, dtype=torch.long), pixels)


def fit(model: ImageDiffusion, rows: Encoded, steps: int, rate: float = 2e-3) -> list[float]:
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=rate), []
    for step in range(steps):
        _, loss = next(model.losses(model.players, rows, Draw("fit", step), step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(
    ("image", "classes", "patch"),
    [((1, 8, 8), 3, None), ((1, 28, 28), 0, None), ((3, 9, 14), 2, 4), ((3, 40, 36), 2, None)],
)
def test_every_weight_takes_part_in_the_loss_and_samples_fit_the_layout(
    backbone: str, image: tuple[int, int, int], classes: int, patch: int | None
) -> None:
    of = layout(image, classes)
    model = small(of, backbone, augment_chance=1.0, patch=patch)
    (player, loss), *rest = model.losses(model.players, batch(of), Draw(1), 0)
    assert player == "denoiser" and not rest and loss.ndim == 0
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    drawn = model.sample(5, Draw(2))
    assert drawn.cells.shape == (5, len(of.cells)) and drawn.cells.dtype == torch.long
    assert drawn.values.shape == (5, of.values) and drawn.values.dtype == torch.uint8


@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_untrained_network_says_nothing(backbone: str) -> None:
    of = layout((3, 12, 12))
    model = small(of, backbone, moved=False)
    x = torch.randn(2, 3, 12, 12)
    raw = model.denoiser(x, torch.ones(2, 1, 1, 1), torch.zeros(2, dtype=torch.long), torch.zeros(2, PARAMETERS))
    assert raw.shape == x.shape and not raw.any()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_level_class_and_augmentation_are_told(backbone: str) -> None:
    model = small(layout(), backbone)
    x, one = torch.randn(1, 1, 8, 8), torch.ones(1, 1, 1, 1)
    label, nothing = torch.zeros(1, dtype=torch.long), torch.zeros(1, PARAMETERS)
    told = [(one, label, nothing), (2 * one, label, nothing), (one, label + 1, nothing), (one, label, nothing + 1)]
    answers = [model.denoiser(x * (sigma**2 + 1).sqrt(), sigma, label, done) for sigma, label, done in told]
    assert all(not torch.allclose(a, b, atol=1e-4) for a, b in itertools.combinations(answers, 2))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_samples_depend_on_the_draw_alone(backbone: str) -> None:
    model = small(layout(), backbone).train()  # nothing in it may drop anything by torch's global generator
    first, again, other = model.sample(6, Draw(5)), model.sample(6, Draw(5)), model.sample(6, Draw(6))
    assert torch.equal(first.cells, again.cells) and torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)
    losses = [next(model.losses(model.players, batch(layout()), Draw(d), 0))[1].item() for d in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_workers_of_unequal_shares_have_the_whole_batch_s_loss_and_gradients() -> None:
    of = layout()
    model, rows = small(of), batch(of, 7)
    gradients, losses = [], []
    for parts in (1, 2):
        model.zero_grad()
        total = torch.zeros(())
        for worker in range(parts):
            mine = slice(worker, None, parts)
            draw = Draw(3, part=mine, total=7) if parts > 1 else Draw(3)
            _, loss = next(model.losses(model.players, Encoded(rows.cells[mine], rows.values[mine]), draw, 0))
            (loss / parts).backward()  # as the mean over workers does
            total += loss.detach() / parts
        losses.append(total)
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_the_loss_is_edm_s() -> None:
    of = layout(classes=0)
    model, rows = small(of, augment=[]), batch(of)
    seen = []

    def denoiser(noisy: torch.Tensor, sigma: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        seen.append((noisy, sigma, model.denoiser(noisy, sigma, *told)))
        return seen[0][2]

    _, loss = next(model.losses({"denoiser": denoiser}, rows, Draw(4), 0))
    noisy, sigma, raw = seen[0]
    clean = (rows.values.float() / 127.5 - 1).view(8, 1, 8, 8) / 0.5
    # The squared error of the denoised image, weighted by (sigma² + sigma_data²)/(sigma sigma_data)² (Table 1).
    weight = (sigma**2 + 1) / sigma**2
    error = weight * (noise.denoised(raw, noisy, sigma) - clean) ** 2
    torch.testing.assert_close(loss, error.mean(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("untold", [0.25, 0.999])
def test_augmentation_and_labels_are_told_as_they_are(untold: float) -> None:
    of = layout()
    rows, seen = batch(of, 2000), []

    def denoiser(noisy: torch.Tensor, sigma: torch.Tensor, label: torch.Tensor, done: torch.Tensor) -> torch.Tensor:
        seen.append((noisy, label, done))
        return torch.zeros_like(noisy)

    options: dict[str, Any] = {"augment": ["flip"], "augment_chance": 0.3, "sigma_mean": -9.0, "label_dropout": untold}
    next(small(of, **options).losses({"denoiser": denoiser}, rows, Draw(1), 0))
    noisy, label, done = seen[0]
    images = (rows.values.float() / 63.75 - 2).view(-1, 1, 8, 8)
    flipped = done[:, 0] == 1
    assert abs(float(flipped.float().mean()) - 0.3) < 0.05 and not done[:, 1:].any()
    torch.testing.assert_close(
        noisy, torch.where(flipped[:, None, None, None], images.flip(3), images), atol=0.05, rtol=0
    )
    assert abs(float((label == 3).float().mean()) - untold) < 0.04
    assert torch.equal(label[label < 3], rows.cells[label < 3, 0])


def test_guidance_of_one_is_none_and_more_moves_away_from_the_unconditional() -> None:
    of = layout()
    plain, guided = small(of), small(of, guidance=3.0)
    torch.testing.assert_close(plain.state_dict(), guided.state_dict())
    assert not torch.equal(plain.sample(4, Draw(1)).values, guided.sample(4, Draw(1)).values)
    with torch.no_grad():  # untold and told alike: whatever the guidance, there is nothing to move away from
        for model in (plain, guided):
            assert model.denoiser.label is not None
            model.denoiser.label.weight[:] = model.denoiser.label.weight[0]
    same, other = plain.sample(4, Draw(1)).values.int(), guided.sample(4, Draw(1)).values.int()
    assert (same - other).abs().max() <= 1


def test_classes_come_in_their_shares() -> None:
    of = Layout(cells=(Cell(shares=(0.7, 0.2, 0.1)),), values=16, target=0, image=(1, 4, 4))
    drawn = small(of).sample(1000, Draw(1)).cells
    assert [abs(int(n) - e) <= 1 for n, e in zip(drawn[:, 0].bincount(), (700, 200, 100), strict=True)] == [True] * 3


def test_samples_are_drawn_in_groups_of_bounded_size() -> None:
    model = small(layout((1, 256, 256), 0), patch=16, width=16)
    rows: list[int] = []
    model.denoiser.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    model.group = 2
    assert model.sample(5, Draw(1)).values.shape == (5, 65536)
    assert set(rows) == {1, 2}
    assert small(layout((1, 256, 256), 0), patch=1).group * 256**2 <= 1 << 17 and small(layout()).group * 64 >= 1 << 15


def test_noise_grows_with_the_side_beyond_32() -> None:
    tiny, large = small(layout((1, 32, 32), 0)), small(layout((1, 128, 128), 0))
    assert large.reach == 4 * tiny.reach == 4
    black = Encoded(torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 128 * 128, dtype=torch.uint8))
    levels = []
    call = {"denoiser": lambda noisy, sigma, *_: levels.append(sigma) or torch.zeros_like(noisy)}
    next(large.losses(call, black, Draw(1), 0))
    next(tiny.losses(call, Encoded(black.cells, black.values[:, :1024]), Draw(1), 0))
    torch.testing.assert_close(levels[0], 4 * levels[1])


def test_noise_levels_fill_their_distribution_evenly() -> None:
    levels: list[torch.Tensor] = []
    call = {"denoiser": lambda noisy, sigma, *_: levels.append(sigma) or torch.zeros_like(noisy)}
    next(small(layout()).losses(call, batch(layout(), 100), Draw(1), 0))
    shares = torch.special.ndtr((levels[0].flatten().log() + 0.5) / 1.2)
    assert torch.equal((shares * 100).long().sort().values, torch.arange(100))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("side", [8, 28, 32, 64, 256])
def test_a_network_of_the_usual_size_suits_the_images(backbone: str, side: int) -> None:
    with torch.device("meta"):
        model = small(layout((3, side, side)), backbone, moved=False, width=None, depth=None)
        one = torch.ones(1, 1, 1, 1)
        raw = model.denoiser(torch.ones(1, 3, side, side), one, torch.ones(1).long(), torch.ones(1, PARAMETERS))
        assert raw.shape == (1, 3, side, side)
        assert 5e5 < sum(p.numel() for p in model.parameters()) < 6e7


@pytest.mark.parametrize("backbone", BACKBONES)
def test_products_in_bfloat16_hardly_change_the_loss(backbone: str) -> None:
    model = small(layout(), backbone)
    losses = []
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses.append(next(model.losses(model.players, batch(layout(), 16), Draw(1), 0))[1])
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[0], losses[1], rtol=0.01, atol=0)


def test_guidance_is_refused_where_labels_are_always_told() -> None:
    with pytest.raises(UserError, match=r"image.diffusion.*guidance=2.*label_dropout=0\.1"):
        Recipe.check({"image": {"diffusion": {"guidance": 2, "label_dropout": 0}}})


def test_a_model_comes_back_from_its_state() -> None:
    recipe = Recipe.check({"image": {"diffusion": {"width": 16, "depth": 1, "steps": 2}}})
    torch.manual_seed(0)
    model = build(recipe, layout())
    fit(model, batch(layout()), 2)
    torch.manual_seed(1)
    other = build(recipe, layout())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.sample(4, Draw(1)).values, model.sample(4, Draw(1)).values)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_what_is_computed_again_has_the_same_gradients(backbone: str) -> None:
    gradients = []
    for again in (False, True):
        model = small(layout(), backbone)
        if again:
            recompute(model.denoiser)
        next(model.losses(model.players, batch(layout()), Draw(1), 0))[1].backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(("backbone", "width", "copies"), [("unet", 16, 4), ("dit", 32, 16)])
def test_it_learns_which_images_there_are_of_each_class(backbone: str, width: int, copies: int) -> None:
    # Two images of each of two classes: halves of black and white, one above the other or side by side.
    upper, left = torch.zeros(4, 4), torch.zeros(4, 4)
    upper[:2], left[:, :2] = 255, 255
    images = torch.stack([upper, 255 - upper, left, 255 - left]).to(torch.uint8).view(4, 16)
    rows = Encoded(torch.tensor([0, 0, 1, 1]).repeat(copies)[:, None], images.repeat(copies, 1))
    model = small(layout((1, 4, 4), 2), backbone, moved=False, width=width, steps=8, augment=[], label_dropout=0.0)
    losses = fit(model, rows, 120, 4e-3)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    drawn = model.sample(64, Draw(1))
    far = (drawn.values.float()[:, None] - images.float()).abs().mean(2)
    nearest = far.argmin(1)
    assert (far.amin(1) < 40).float().mean() > 0.6  # of 128 between any two of them
    assert (nearest // 2 == drawn.cells[:, 0]).float().mean() > 0.85
    assert len(nearest.unique()) == 4


def test_dropout_of_the_backbones_is_off() -> None:
    for backbone in BACKBONES:
        rates = [m.p for m in small(layout(), backbone).modules() if isinstance(m, nn.Dropout)]
        assert not any(rates)
