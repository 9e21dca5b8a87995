"""Hashes of values and rows that depend on content alone: not on Arrow, pandas or machine, nor on how a type is stored.

Numbers hash by value (1, 1.0, True and decimal 1.00 agree, as do 0.0 and -0.0), moments by the instant (a date and its
midnight agree, whatever the unit), strings by their UTF-8 bytes, images by their pixels; NaN is missing.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth.data.schema import is_number

NANOSECONDS = 1_000_000_000
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": NANOSECONDS}


def mix(words: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): a bijection of uint64 without visible structure."""
    words = np.asarray(words, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(words ^ (words >> np.uint64(31)))


def hash_text(text: str) -> int:
    """64 bits of BLAKE2b over the UTF-8 bytes."""
    return _hash_bytes(text.encode())


def _hash_bytes(content: bytes | memoryview) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


MISSING = np.uint64(hash_text("\0missing"))


def hash_values(array: pa.Array) -> np.ndarray:
    """uint64 of shape (len(array),): equal values have equal hashes, in any array of any batch.

    Numbers are hashed as doubles, so integers beyond 2^53 that round to the same double agree; of images, the pixels.
    TypeError for nested types, binary strings of any length and times of day, which no schema admits.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return hash_values(array.dictionary_decode())
    if pa.types.is_null(kind):
        return np.full(len(array), MISSING)
    present = pc.is_valid(array).to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(kind) or is_number(kind):
        numbers = array.cast(pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False) + 0.0
        present = present & ~np.isnan(numbers)
        hashes = mix(numbers.view(np.uint64))
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        hashes = _hash_moments(array)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = array.fill_null("").dictionary_encode()
        words = np.fromiter((hash_text(v) for v in encoded.dictionary.to_pylist()), np.uint64, len(encoded.dictionary))
        hashes = words[encoded.indices.to_numpy()] if len(words) else words
    elif pa.types.is_fixed_size_binary(kind):
        width, content = kind.byte_width, memoryview(array.buffers()[1])
        starts = range(array.offset * width, (array.offset + len(array)) * width, width)
        hashes = np.fromiter((_hash_bytes(content[at : at + width]) for at in starts), np.uint64, len(array))
    else:
        raise TypeError(f"values of type {kind} have no hash")
    return np.where(present, hashes, MISSING)


def _hash_moments(array: pa.Array) -> np.ndarray:
    if pa.types.is_date32(array.type):
        array = array.cast(pa.timestamp("s"))
    elif pa.types.is_date64(array.type):
        array = array.cast(pa.timestamp("ms"))
    unit = _UNITS[array.type.unit]
    ticks = array.view(pa.int64()).fill_null(0).to_numpy()
    seconds, rest = np.divmod(ticks, unit)
    return mix(mix(seconds.view(np.uint64)) ^ (rest * (NANOSECONDS // unit)).view(np.uint64))


def hash_rows(batch: pa.RecordBatch, key: int) -> np.ndarray:
    """uint64 of shape (rows,): a hash of each row's values under their column names, keyed by the integer ``key``.

    The order of the columns doesn't matter, their names do.
    """
    total = np.zeros(batch.num_rows, np.uint64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        total = total + mix(hash_values(column) ^ np.uint64(hash_text(f"{key}/{name}")))
    return mix(total)
