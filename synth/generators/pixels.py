"""Images between the bytes that a batch holds and what networks compute with, and the classes of images to be drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from synth.generators.base import Draw
from synth.generators.given import Given, draw_states, log_masses
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


def drawn_classes(layout: Layout, rows: int, draw: Draw, given: Given | None = None) -> Tensor | None:
    """(rows,) int64 classes in their shares of the training rows, as nearly as ``rows`` allow, and of each row among those
    that are ``given``; None without classes."""
    if not layout.cells:
        return None
    uniform = draw.stratified(rows, 1)
    logits = _log_shares(layout, uniform.device).expand(rows, -1)
    return draw_states(logits, None if given is None else given.states, uniform, _one_cell(logits))[:, 0]


def log_class_chances(layout: Layout, given: Given) -> Tensor:
    """(rows,) log of the share of the training rows whose class is among those that are ``given``."""
    if not layout.cells:
        return torch.zeros(len(given.states), device=given.states.device)
    logits = _log_shares(layout, given.states.device).expand(len(given.states), -1)
    return log_masses(logits, given.states, _one_cell(logits), 1)[:, 0]


def _log_shares(layout: Layout, device: torch.device) -> Tensor:
    return torch.tensor(layout.cells[0].shares, device=device).log()


def _one_cell(logits: Tensor) -> Tensor:
    return torch.zeros(logits.shape[1], dtype=torch.long, device=logits.device)
