"""Convolutional pyramids: images of any size go down and come back up, and no row sees another."""

from __future__ import annotations

import pytest
import torch

from synth.generators.convolutional import Block, Decoder, Encoder, patch, pyramid


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        ((8, 8), [(8, 8), (4, 4)]),
        ((28, 28), [(14, 14), (7, 7)]),
        ((32, 32), [(16, 16), (8, 8), (4, 4)]),
        ((64, 64), [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ((29, 45), [(15, 23), (8, 12), (4, 6)]),
        ((3, 5), [(3, 5)]),
    ],
)
def test_levels_halve_until_the_coarsest_is_small(side: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    assert pyramid(*side) == sizes


@pytest.mark.parametrize("image", [(1, 8, 8), (3, 28, 28), (2, 29, 45), (1, 3, 5)])
def test_images_of_any_size_go_down_and_come_back_up(image: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(image, 16, 1), Decoder(5, image, image[0], 16)
    maps = encoder(torch.randn(2, *image))
    assert [tuple(m.shape[2:]) for m in maps] == pyramid(*image[1:])
    assert [m.shape[1] for m in maps] == decoder.widths[::-1] and maps[-1][0].numel() == encoder.outputs
    x = decoder.begin(torch.randn(2, 5))
    assert x.shape == maps[-1].shape
    for level in range(1, len(maps)):
        x = decoder.rise(level, x)
        assert x.shape == maps[-1 - level].shape
    assert decoder.end(x).shape == (2, *image)


def test_every_pixel_is_seen_and_no_row_by_another() -> None:
    torch.manual_seed(0)
    image = (1, 29, 45)  # odd sides: the last row and column are in patches that are filled up
    encoder = Encoder(image, 16, 1)
    assert patch(29, 45) == 2
    rows = torch.randn(3, *image, requires_grad=True)
    encoder(rows)[-1][1].square().sum().backward()
    assert rows.grad is not None and rows.grad[1].ne(0).all() and not rows.grad[[0, 2]].any()


def test_a_block_begins_as_the_identity_and_learns_at_once() -> None:
    block, x = Block(32), torch.randn(2, 32, 4, 4)
    found = block(x)
    assert torch.equal(found, x)
    found.square().sum().backward()
    assert block.join.weight.grad is not None and block.join.weight.grad.any()
