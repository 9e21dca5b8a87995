"""Augmentation: what is said to be done to an image is what is done to it."""

from __future__ import annotations

import pytest
import torch

from synth.generators.augment import KINDS, MOVE, PARAMETERS, TURN, ZOOM, augment
from synth.generators.base import Draw


def blob(x: float, y: float, height: int = 48, width: int = 48) -> torch.Tensor:
    """(1, height, width): a soft dot ``x`` pixels right of the middle and ``y`` below it."""
    down = torch.arange(height)[:, None] - (height - 1) / 2
    right = torch.arange(width) - (width - 1) / 2
    return torch.exp(-((right - x) ** 2 + (down - y) ** 2) / 8)[None]


def centre(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the mass of each image lies, in pixels right of and below its middle."""
    height, width = images.shape[-2:]
    mass = images[:, 0].clamp_min(0)
    right, down = torch.arange(width) - (width - 1) / 2, torch.arange(height)[:, None] - (height - 1) / 2
    return (mass * right).sum((1, 2)) / mass.sum((1, 2)), (mass * down).sum((1, 2)) / mass.sum((1, 2))


@pytest.mark.parametrize(("height", "width"), [(48, 48), (64, 40)])
def test_a_dot_ends_up_where_the_parameters_say(height: int, width: int) -> None:
    images = blob(6, -4, height, width).expand(300, -1, -1, -1)
    moved, done = augment(images, Draw(1), KINDS, 0.6)
    flip, right, down, larger, clockwise = done.unbind(1)
    angle, scale = TURN * clockwise, (ZOOM * larger).exp()
    x, y = 6 * (1 - 2 * flip), torch.full_like(flip, -4.0)
    expected_x = scale * (x * angle.cos() - y * angle.sin()) + MOVE * width * right
    expected_y = scale * (x * angle.sin() + y * angle.cos()) + MOVE * height * down
    # All of the dot is in view, and none of what is mirrored at the edges.
    inside = (
        (expected_x.abs() < width / 2 - 11) & (expected_y.abs() < height / 2 - 11) & (right.abs() < 2) & (scale > 0.9)
    )
    assert inside.sum() > 100
    found_x, found_y = centre(moved)
    torch.testing.assert_close(found_x[inside], expected_x[inside], atol=0.05, rtol=0)
    torch.testing.assert_close(found_y[inside], expected_y[inside], atol=0.05, rtol=0)


def test_a_mirrored_image_is_torch_flip_and_zeros_are_the_image_itself() -> None:
    images = torch.rand(200, 3, 7, 10, generator=torch.manual_seed(0))
    changed, done = augment(images, Draw(2), ["flip"], 0.5)
    flipped = done[:, 0] == 1
    assert 60 < flipped.sum() < 140 and not done[:, 1:].any()
    torch.testing.assert_close(changed[flipped], images[flipped].flip(3), atol=1e-5, rtol=0)
    assert torch.equal(changed[~flipped], images[~flipped])


@pytest.mark.parametrize("kinds", [(), ("rotate",)])
def test_nothing_is_done_without_kinds_or_chance(kinds: tuple[str, ...]) -> None:
    images = torch.rand(4, 1, 8, 8)
    changed, done = augment(images, Draw(3), kinds, 0.0 if kinds else 1.0)
    assert torch.equal(changed, images) and torch.equal(done, torch.zeros(4, PARAMETERS))


def test_each_kind_is_done_as_often_as_asked_and_no_other() -> None:
    images = torch.rand(4000, 1, 4, 4)
    columns = {"flip": [0], "translate": [1, 2], "scale": [3], "rotate": [4]}
    for kind, at in columns.items():
        _, done = augment(images, Draw(4), [kind], 0.25)
        assert torch.equal(done.any(0).nonzero()[:, 0], torch.tensor(at))
        assert abs(float((done[:, at] != 0).all(1).float().mean()) - 0.25) < 0.03
        if kind != "flip":
            assert abs(float(done[:, at][done[:, at] != 0].std()) - 1) < 0.06
    together, alone = (augment(images, Draw(4), kinds, 0.25)[1] for kinds in (KINDS, ["scale"]))
    assert torch.equal(together[:, 3], alone[:, 3])


def test_parts_of_a_batch_are_augmented_as_in_the_whole() -> None:
    images = torch.rand(9, 1, 8, 8)
    whole, done = augment(images, Draw(5), KINDS, 0.7)
    part = slice(1, None, 2)
    mine, said = augment(images[part], Draw(5, part=part, total=9), KINDS, 0.7)
    assert torch.equal(mine, whole[part]) and torch.equal(said, done[part])


def test_gradients_pass_and_nothing_dark_comes_into_view() -> None:
    images = torch.ones(64, 1, 8, 8, requires_grad=True)
    changed, done = augment(images, Draw(6), KINDS, 1.0)
    assert done.all()
    torch.testing.assert_close(changed, torch.ones_like(changed))
    changed.sum().backward()
    assert images.grad is not None and torch.isclose(images.grad.sum(), torch.tensor(64.0 * 64))
