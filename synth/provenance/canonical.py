"""Hashes of a table's cells that outlive how it is written: a CSV or Parquet file, another type, a decimal more or fewer.

Numbers hash by value at the decimals of their schema, moments by the microsecond, and a category that looks like a number, a
truth value or nothing at all as that: the reader of a text file would have taken it for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.conform import cast
from synth.data.hashing import MISSING, hash_text, mix
from synth.data.schema import Column, Schema, is_number, plain_type
from synth.errors import UserError

_TRUTH = {"true": 1.0, "false": 0.0}
_NOTHING = ("", "nan", "null", "none", "na", "n/a")


def columns_of(schema: Schema) -> list[Column]:
    """Those by which rows are known again: all that a generator has learnt, but images."""
    return [column for column in schema.learnt if column.kind != "image"]


def cells(column: Column, array: pa.Array) -> NDArray[np.uint64]:
    """uint64 of shape (rows,), equal for equal values of columns of one name. UserError for values that the column's kind
    cannot have."""
    try:
        array = array.cast(plain_type(array.type))
        if column.kind == "numerical":
            hashes = _numbers(column, array)
        elif column.kind == "datetime":
            hashes = _moments(column, array)
        else:
            hashes = _categories(column, array)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as e:  # a time of day, bytes, lists
        raise UserError(f"column '{column.name}' holds {array.type}, which is not {column.kind}") from e
    return mix(hashes ^ np.uint64(hash_text(column.name)))


def combined(hashes: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """uint64 of shape (rows,): of these cells of each row, in any order."""
    return mix(np.asarray(np.sum(hashes, axis=0, dtype=np.uint64)))


def _numbers(column: Column, array: pa.Array) -> NDArray[np.uint64]:
    if not is_number(array.type):
        array = cast(array, pa.float64(), column.name, lambda row: f"row {row + 1}")
    values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return _words(values if column.decimals is None else np.round(values, column.decimals), column)


def _words(values: NDArray[np.float64], column: Column) -> NDArray[np.uint64]:
    """Of numbers, NaN where they are missing."""
    if column.dtype in ("float", "halffloat"):  # text of them reads as another double
        with np.errstate(over="ignore"):
            values = values.astype(np.float32).astype(np.float64)
    present = ~np.isnan(values)
    return np.where(present, mix((np.where(present, values, 0.0) + 0.0).view(np.uint64)), MISSING)  # no minus zero


def _moments(column: Column, array: pa.Array) -> NDArray[np.uint64]:
    moments = pa.timestamp("us")
    if pa.types.is_temporal(array.type):
        array = array.cast(moments, safe=False)
    else:
        array = cast(array, moments, column.name, lambda row: f"row {row + 1}")
    ticks = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return np.where(array.is_valid().to_numpy(zero_copy_only=False), mix(ticks.view(np.uint64)), MISSING)


def _categories(column: Column, array: pa.Array) -> NDArray[np.uint64]:
    if is_number(array.type) or pa.types.is_boolean(array.type):
        return _words(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), column)
    encoded = array.cast(pa.string()).fill_null("").dictionary_encode()
    words = np.array([_word(text, column) for text in encoded.dictionary.to_pylist()], np.uint64)
    return words[encoded.indices.to_numpy()] if len(words) else words


def _word(text: str, column: Column) -> int:
    text = text.strip()
    if text.lower() in _NOTHING:
        return int(MISSING)
    try:
        number = _TRUTH[text.lower()] if text.lower() in _TRUTH else float(text)
    except ValueError:
        return hash_text(text)
    return int(_words(np.array([number]), column)[0])
