"""A column of images as an array of pixels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.images import array_of
from synth.data.schema import Schema
from synth.errors import UserError


def pixels(images: pa.Array | pa.ChunkedArray, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """uint8 (n, height, width, channels) of a column of ``fixed_size_binary``; a view of its memory where that is one
    piece, and read-only then. UserError for a column that holds something else, or lacks an image."""
    width = int(np.prod(shape))
    if images.type != pa.binary(width):
        raise UserError(
            f"the images are {images.type}, not the {width:,} bytes of {shape[0]} × {shape[1]} pixels of {shape[2]} "
            "channels each"
        )
    if images.null_count:
        raise UserError(f"{images.null_count:,} of {len(images):,} images are missing; leave their rows out")
    chunks = images.chunks if isinstance(images, pa.ChunkedArray) else [images]
    views = [array_of(chunk, shape) for chunk in chunks if len(chunk)] or [np.empty((0, *shape), np.uint8)]
    return views[0] if len(views) == 1 else np.concatenate(views)


def column_of(images: NDArray[np.uint8]) -> pa.Array:
    """The column of ``images`` (n, height, width, channels), without a copy where they are contiguous."""
    images = np.ascontiguousarray(images)
    width = int(np.prod(images.shape[1:]))
    return pa.Array.from_buffers(pa.binary(width), len(images), [None, pa.py_buffer(images)])


def label_column(schema: Schema) -> str | None:
    """The column that says what is on the images: the target, or the only other one that is learnt and has classes."""
    if schema.target is not None and schema.target != schema.image:
        return schema.target
    others = [c.name for c in schema.learnt if c.name != schema.image]
    return others[0] if len(others) == 1 and schema[others[0]].kind in ("categorical", "boolean") else None
