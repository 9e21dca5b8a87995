"""Images as a few numbers, which tables of images are watched by: what is bright where, colours, contrast and sharpness.

They say less than a trained network's features, and are the same on every machine and in every release.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.image_columns import pixels
from synth.data.schema import Column, Schema

GRID = 4  # fields of brightness along each side


class Gist:
    """Tables of ``schema``, with numbers in place of the images; those without images stay as they are.

    ``schema`` is what they are then.
    """

    def __init__(self, schema: Schema) -> None:
        self.image, self.schema = schema.image, schema
        if self.image is not None:
            shape = schema[self.image].shape
            assert shape is not None
            self.shape = shape
            self.names = [f"{self.image}: {what}" for what in _told(shape)]
            numbers = [Column(name=name, kind="numerical", dtype="float").model_dump() for name in self.names]
            others = [column.model_dump() for column in schema.columns if column.name != self.image]
            self.schema = Schema.model_validate(schema.model_dump() | {"columns": others + numbers})

    def __call__(self, table: pa.Table) -> pa.Table:
        if self.image is None or self.image not in table.column_names:
            return table
        numbers = described(pixels(table[self.image], self.shape))
        table = table.drop_columns([self.image])
        for name, column in zip(self.names, numbers.T, strict=True):
            table = table.append_column(name, pa.array(column))
        return table


def described(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (n, d), in 0 … 255, of images (n, height, width, channels): in the order of ``_told``."""
    count, height, width, channels = images.shape
    light = images.mean(axis=3, dtype=np.float32)
    across = np.abs(np.diff(light, axis=2)).mean(axis=(1, 2)) if width > 1 else np.zeros(count, np.float32)
    rows, columns = _edges(height), _edges(width)
    fields = np.add.reduceat(np.add.reduceat(light, rows, axis=1), columns, axis=2)
    fields /= np.outer(np.diff([*rows, height]), np.diff([*columns, width])).astype(np.float32)
    parts = [light.std(axis=(1, 2))[:, None], across[:, None]]
    parts += [images.mean(axis=(1, 2), dtype=np.float32)] if channels > 1 else []
    return np.hstack([*parts, fields.reshape(count, -1)]).astype(np.float32)


def _told(shape: tuple[int, int, int]) -> list[str]:
    height, width, channels = shape
    rows, columns = len(_edges(height)), len(_edges(width))
    names = ("red", "green", "blue") if channels == 3 else tuple(f"channel {k + 1}" for k in range(channels))
    fields = [
        f"brightness at row {i + 1} of {rows}, column {j + 1} of {columns}" for i in range(rows) for j in range(columns)
    ]
    return ["contrast", "sharpness", *(names if channels > 1 else ()), *fields]


def _edges(size: int) -> NDArray[np.intp]:
    """Where the fields along a side begin."""
    return np.linspace(0, size, min(GRID, size) + 1)[:-1].astype(np.intp)
