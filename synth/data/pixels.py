"""How images are shown to a generator: as their pixels, a value each."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from synth.data.image_columns import column_of
from synth.data.images import array_of
from synth.generators.layout import Cell


class Pixels(BaseModel):
    """A column of images of ``shape`` (height, width, channels), whose values come channel by channel, row by row."""

    model_config = ConfigDict(extra="forbid")

    name: str
    how: Literal["pixels"] = "pixels"
    shape: tuple[int, int, int]

    @property
    def cells(self) -> list[Cell]:
        return []

    @property
    def width(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def image(self) -> tuple[int, int, int]:
        """(channels, height, width), as a layout has it."""
        height, width, channels = self.shape
        return channels, height, width

    def encodable(self, array: pa.Array) -> np.ndarray:
        """(rows) boolean: all, for any pixels are."""
        return np.ones(len(array), bool)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """(rows, 0) int32 and (rows, values) uint8."""
        values = array_of(array, self.shape).transpose(0, 3, 1, 2)
        return np.empty((len(array), 0), np.int32), values.reshape(len(array), self.width)

    def decode(self, cells: np.ndarray, values: np.ndarray) -> pa.Array:
        """Arrow array of the pixels, from uint8 values."""
        assert values.dtype == np.uint8, "a generator of images draws whole numbers 0 … 255"
        return column_of(values.reshape(-1, *self.image).transpose(0, 2, 3, 1))
