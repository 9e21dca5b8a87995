"""Bytes to pictures and back, and classes in their shares."""

from __future__ import annotations

import torch

from synth.generators.base import Draw
from synth.generators.layout import Cell, Encoded, Layout
from synth.generators.pixels import drawn_classes, packed, unpacked


def test_every_byte_comes_back_and_what_lies_beyond_is_white_or_black() -> None:
    layout = Layout(cells=(), values=256, image=(1, 16, 16))
    batch = Encoded(torch.zeros(1, 0, dtype=torch.long), torch.arange(256, dtype=torch.uint8)[None])
    images, classes = unpacked(batch, layout)
    assert images.shape == (1, 1, 16, 16) and float(images.min()) == -1 and float(images.max()) == 1 and classes is None
    assert torch.equal(packed(images, None).values, batch.values)
    beyond = packed(torch.tensor([[[[-7.0, 1.001, 300.0]]]]), None)
    assert beyond.values.dtype == torch.uint8 and beyond.values.tolist() == [[0, 255, 255]]


def test_classes_are_drawn_in_their_shares_and_those_that_have_none_never() -> None:
    layout = Layout(cells=(Cell(shares=(0.0, 0.7, 0.0, 0.3)),), values=4, target=0, image=(1, 2, 2))
    drawn = drawn_classes(layout, 1000, Draw("classes"))
    assert drawn is not None and torch.bincount(drawn, minlength=4).tolist() == [0, 700, 0, 300]
    assert drawn_classes(Layout(cells=(), values=4, image=(1, 2, 2)), 3, Draw(1)) is None
