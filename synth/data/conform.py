"""Batches brought into the shape that a schema promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth.data.images import pixel_array
from synth.data.schema import Column, Schema, arrow_type, nearest, plain_type
from synth.errors import UserError

Place = Callable[[int], str]  # from a row's index in the batch to where that row stands, for messages


def conform(batch: pa.RecordBatch, schema: Schema, place: Place | None = None) -> pa.RecordBatch:
    """The batch with the schema's columns, in its order and types; NaN becomes missing, other columns are left out.

    Ids, which are never learnt, are all missing: what is not kept cannot leak. ``place`` says where a row stands
    (``lambda i: source.place(first_row + i)``).

    Images come as they were encoded, or as the pixels already; the rows of those that cannot be read are left out, which
    whoever looked at the source first (``survey``) has told.

    Raises UserError for a missing column, a value that its column's type cannot hold without loss, or an infinity.
    """
    place = place or (lambda row: f"row {row + 1}")
    arrays, there = [], set(batch.schema.names)  # made anew at each look, which a thousand columns would feel
    for column in schema.columns:
        kind = arrow_type(column.dtype)
        if column.kind == "id":
            array = pa.nulls(batch.num_rows, kind)
        elif column.kind == "image" and column.name in there:
            array = _pixels(batch.column(column.name), column)
        elif column.name in there:
            array = cast(batch.column(column.name), kind, column.name, place)
            if column.kind == "numerical":
                refuse_infinity(array, column.name, place)
        else:
            raise UserError(f"column '{column.name}' is missing.{nearest(column.name, batch.schema.names)}")
        arrays.append(array)
    whole = pa.record_batch(arrays, schema=schema.arrow())
    images = whole.column(schema.image) if schema.image is not None else None
    return whole.filter(images.is_valid()) if images is not None and images.null_count else whole


def _pixels(array: pa.Array, column: Column) -> pa.Array:
    """Images in the column's shape, null where they cannot be read."""
    assert column.shape is not None, "an image's column has a shape"
    kind = arrow_type(column.dtype)
    if array.type == kind:
        return array
    if plain_type(array.type) != pa.binary():
        raise UserError(
            f"column '{column.name}' should hold images of {column.shape}, encoded or as {kind}, and holds {array.type}."
        )
    return pixel_array(array.cast(pa.binary()), column.shape)


def cast(array: pa.Array, kind: pa.DataType, name: str, place: Place) -> pa.Array:
    """The array as ``kind``, NaN as null; UserError naming the first value that cannot be cast without loss."""
    array = without_nan(array.cast(plain_type(array.type)))
    try:
        return _convert(array, kind)
    except pa.ArrowNotImplementedError as error:
        raise UserError(f"column '{name}' holds {array.type}, which cannot become {kind}.") from error
    except pa.ArrowInvalid:
        row = _first_unfit(array, kind)
        raise UserError(
            f"{place(row)}: column '{name}' should hold {kind}, but here stands '{show(array[row])}'. "
            "Correct the cell, or leave it empty if the value is missing."
        ) from None


def show(value: pa.Scalar) -> str:
    """A value as messages print it; moments may lie beyond what Python's datetime holds."""
    return str(value.cast(pa.string()).as_py())


def without_nan(array: pa.Array) -> pa.Array:
    """Floating-point NaN as null and -0.0 as 0.0, which Arrow's look-ups tell apart; other types as they are."""
    if not pa.types.is_floating(array.type):
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), pc.add(array, pa.scalar(0.0, array.type)))


def refuse_infinity(array: pa.Array, name: str, place: Place) -> None:
    """UserError naming the first infinity."""
    if pa.types.is_floating(array.type) and (infinite := pc.is_inf(array).fill_null(False)).true_count:
        row = int(np.argmax(infinite.to_numpy(zero_copy_only=False)))
        raise UserError(
            f"{place(row)}: column '{name}' is {show(array[row])}. Replace infinities by a number, or leave the cell "
            f"empty if the value is missing; or leave the column out with --exclude {name}."
        )


def _convert(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(array.type) and not pa.types.is_string(kind):
        array = pc.utf8_trim_whitespace(array)
    elif pa.types.is_boolean(kind) and not pa.types.is_boolean(array.type):
        # By way of strings only 0 and 1 are booleans; straight on, every number would be.
        array = array.cast(pa.int64()).cast(pa.string())
    return array.cast(kind)


def _first_unfit(array: pa.Array, kind: pa.DataType) -> int:
    """Index of the first value that does not convert; there is one."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _convert(array[low:middle], kind)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low
