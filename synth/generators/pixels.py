"""Images between the bytes that a batch holds and what networks compute with, and the classes of images to be drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from synth.generators.base import Draw
from synth.generators.layout import Encoded, Layout


def unpacked(batch: Encoded, layout: Layout) -> tuple[Tensor, Tensor | None]:
    """Images (rows, C, H, W) float32 in [−1, 1], and their classes (rows,) int64 if they have any."""
    assert layout.image is not None
    images = batch.values.view(-1, *layout.image).float() / 127.5 - 1
    return images, batch.cells[:, 0].long() if layout.cells else None


def packed(images: Tensor, classes: Tensor | None) -> Encoded:
    """The bytes nearest to images (rows, C, H, W), white and black where they are brighter or darker than those."""
    values = ((images.flatten(1).float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    cells = values.new_zeros(len(values), 0, dtype=torch.long) if classes is None else classes[:, None]
    return Encoded(cells, values)


def drawn_classes(layout: Layout, rows: int, draw: Draw) -> Tensor | None:
    """(rows,) int64 classes in their shares of the training rows, as nearly as ``rows`` allow; None without classes."""
    if not layout.cells:
        return None
    uniform = draw.stratified(rows, 1)[:, 0]
    cumulated = torch.tensor(layout.cells[0].shares, device=uniform.device).cumsum(0)
    point = uniform * cumulated[-1]
    return torch.searchsorted(cumulated, point, right=True).clamp_max(len(cumulated) - 1)
