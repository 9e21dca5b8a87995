"""Exact copies: rows of the sample that equal a row of real train, looked up by one 64-bit key a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.hashing import MISSING, hash_text, hash_values, mix
from synth.data.schema import Schema
from synth.evaluation.frame import Lens, numbers_of
from synth.evaluation.intervals import Estimate, share

HASHED_ROWS = 100_000
COUNTED_KEYS = 10_000_000


@dataclass(frozen=True)
class Keys:
    """The ``row_keys`` of ``rows`` train rows, as many as there may be: read block by block, again and again."""

    blocks: Callable[[], Iterator[NDArray[np.uint64]]]
    rows: int

    @classmethod
    def of(cls, keys: NDArray[np.uint64]) -> Keys:
        return cls(lambda: iter([keys]), len(keys))


def row_keys(schema: Schema, rows: pa.RecordBatch | pa.Table) -> NDArray[np.uint64]:
    """uint64 (n,), equal for rows that are equal in every compared column, numbers at the decimals of the schema.

    ``rows`` conform to the schema. Eight bytes a row: so the copies of a train part of any size can be looked for. Of
    images the pixels alone are compared: one that is copied under another label is copied all the same.
    """
    table = pa.table(rows) if isinstance(rows, pa.RecordBatch) else rows
    if schema.image is not None:
        return np.concatenate([np.zeros(0, np.uint64), *map(hash_values, table.column(schema.image).chunks)])
    numbers, codes = schema.of_kind("numerical", "datetime"), schema.of_kind("categorical", "boolean")
    total = np.zeros(table.num_rows, np.uint64)
    for name in numbers:
        values = numbers_of(table.column(name), schema[name].kind, name, "the real table")
        total += _named(_number_hashes(values, schema[name].decimals), name)
    for name in codes:
        parts = [hash_values(chunk) for chunk in table.column(name).chunks]
        total += _named(np.concatenate([np.zeros(0, np.uint64), *parts]), name)
    return mix(total)


def frame_keys(lens: Lens, numbers: NDArray[np.float64], codes: NDArray[np.int32]) -> NDArray[np.uint64]:
    """The same keys, of what ``Lens.read`` gives."""
    total = np.zeros(len(numbers), np.uint64)
    for name, values in zip(lens.number_names, numbers.T, strict=True):
        total += _named(_number_hashes(values, lens.schema[name].decimals), name)
    for name, values, vocabulary in zip(lens.code_names, codes.T, lens.vocabularies, strict=True):
        total += _named(np.append(MISSING, hash_values(vocabulary.values))[values], name)
    return mix(total)


def _number_hashes(values: NDArray[np.float64], decimals: int | None) -> NDArray[np.uint64]:
    present = np.isfinite(values)
    rounded = np.where(present, values, 0.0)
    rounded = rounded if decimals is None else np.round(rounded, decimals)
    return np.where(present, mix((rounded + 0.0).view(np.uint64)), MISSING)  # + 0.0: minus zero is zero


def _named(hashes: NDArray[np.uint64], name: str) -> NDArray[np.uint64]:
    return mix(hashes ^ np.uint64(hash_text(name)))


def exact_copies(
    lens: Lens, train: pa.Table, sample: pa.Table, train_keys: Keys | None = None
) -> tuple[Estimate, Estimate]:
    """Share of rows of ``sample`` that equal a row of train in every compared column, and what fresh rows would have.

    Every row is looked up among all rows of train: thinning the reference would hide the very copies that are sought.
    ``train_keys`` are those of all of them where ``train`` is a sample. The baseline is the share of train
    rows that have a twin in train, which estimates the chance that a fresh row equals a train row (Good 1953). Test
    rows can't tell it: a split by content leaves none of them with a twin in train. Beyond COUNTED_KEYS rows it is
    estimated from every k-th key, whose rows have all of their twins among them.
    """
    if train_keys is None:
        train_keys = Keys.of(_table_keys(lens, train, "the real table"))
    return copies(_table_keys(lens, sample, "the synthetic table"), train_keys)


def copies(looked_up: NDArray[np.uint64], train_keys: Keys) -> tuple[Estimate, Estimate]:
    """``exact_copies`` of rows that are known by their keys."""
    copied, every = np.zeros(len(looked_up), bool), np.uint64(-(-train_keys.rows // COUNTED_KEYS))
    counted = []
    for block in train_keys.blocks():
        copied |= np.isin(looked_up, block)
        counted.append(block[block % every == 0])
    counts = np.unique(np.concatenate(counted), return_counts=True)[1]
    return share(int(copied.sum()), len(looked_up)), _twins(counts)


def _twins(counts: NDArray[np.int64]) -> Estimate:
    """Share of rows that aren't alone, from the rows of each distinct kind; the interval is Wilson's for as many rows
    as leave the variance of Esty (1983): twins come in pairs, so they are fewer witnesses than they are rows."""
    rows, once, twice = int(counts.sum()), int((counts == 1).sum()), int((counts == 2).sum())
    alone = once * (1 - once / rows)
    witnesses = rows / (1 + 2 * twice / alone) if alone else rows
    return share((1 - once / rows) * witnesses, witnesses)


def _table_keys(lens: Lens, table: pa.Table, what: str) -> NDArray[np.uint64]:
    """A block of rows at a time."""
    table = table.select(lens.names)
    starts = range(0, table.num_rows, HASHED_ROWS)
    return np.concatenate([frame_keys(lens, *lens.read(table.slice(start, HASHED_ROWS), what)) for start in starts])
