"""A table as the metrics see it: a matrix of numbers and a matrix of category codes, read with one lens.

The lens is fitted once on all tables that will be compared, so that a code means the same category in each of them and
a category that only the synthetic table has gets a code of its own instead of disappearing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth.data.schema import Kind, Schema
from synth.errors import UserError

GROUPS = 10
"""Rows are dealt into this many random groups, which the delete-a-group jackknife leaves out in turn."""
MAX_ROWS = 200_000
MAX_CELLS = 20_000_000
"""A frame holds at most this many rows and values (160 MB of float64); larger tables are drawn from at random."""
LARGEST = 1e150
"""Numbers beyond it count as it, and a note says so: the square of a larger one, or a range of two, is infinite."""


@dataclass(frozen=True)
class Vocabulary:
    """The categories of one column: those of real train by falling frequency, then those that only others have.

    Code 0 is a missing value, code ``i + 1`` is ``values[i]``.
    """

    values: pa.Array
    counts: NDArray[np.int64]
    """Rows of real train with each value, shape (len(values),); 0 for a value that real train lacks."""

    @property
    def known(self) -> int:
        """How many categories real train has; codes above it are unknown to real train."""
        return int(np.count_nonzero(self.counts))

    def label(self, code: int) -> str:
        return "missing" if code == 0 else str(self.values[code - 1].as_py())


@dataclass(frozen=True)
class Frame:
    """Rows ready for measuring.

    ``numbers``: float64 (n, p), numbers and dates (seconds since 1970), NaN where missing; ``codes``: int32 (n, q);
    ``group``: int64 (n,) in [0, GROUPS).
    """

    numbers: NDArray[np.float64]
    codes: NDArray[np.int32]
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: NDArray[np.intp]) -> Frame:
        return Frame(self.numbers[rows], self.codes[rows], self.group[rows])

    def draw(self, count: int, rng: np.random.Generator) -> Frame:
        """``count`` rows at random without replacement; all of them, in their order, if there are no more."""
        return self if count >= len(self) else self.take(rng.permutation(len(self))[:count])


@dataclass(frozen=True)
class Lens:
    """What is known about the columns before any row is compared.

    ``low``, ``high``, ``mean``, ``std``: float64 (p,), of the numbers of real train (0 where it has none); ``gaps``:
    bool (p,), whether any table misses a value there.
    """

    schema: Schema
    number_names: list[str]
    code_names: list[str]
    vocabularies: list[Vocabulary]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    gaps: NDArray[np.bool_]
    train_rows: int
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The compared columns, numbers first: the order of every per-column result."""
        return self.number_names + self.code_names

    @classmethod
    def fit(cls, schema: Schema, tables: Mapping[str, pa.Table]) -> Lens:
        """Look at every table; the first one is real train. Raises UserError for a table that lacks a column, has no
        rows, or holds a column that cannot be read as the schema says."""
        number_names, code_names = schema.of_kind("numerical", "datetime"), schema.of_kind("categorical", "boolean")
        for what, table in tables.items():
            _require(table, number_names + code_names, what)
        if not number_names + code_names:
            raise UserError("there is no column to compare: the schema has only id and text columns")
        notes = _left_out(schema, tables)
        vocabularies = [_vocabulary(name, {w: t.column(name) for w, t in tables.items()}) for name in code_names]
        stats, gaps = np.zeros((4, len(number_names))), np.zeros(len(number_names), dtype=bool)
        for i, name in enumerate(number_names):
            for t, (what, table) in enumerate(tables.items()):
                values = numbers_of(table.column(name), schema[name].kind, name, what)
                infinite = int(np.isinf(values).sum())
                if infinite:
                    notes.append(f"{what}: {infinite:,} infinite values in {name!r} count as missing")
                huge = int((np.abs(values) == LARGEST).sum())
                if huge:
                    notes.append(f"{what}: {huge:,} values in {name!r} beyond ±{LARGEST:.0e} count as that")
                present = values[np.isfinite(values)]
                gaps[i] |= len(present) < len(values)
                if t == 0 and len(present):
                    stats[:, i] = present.min(), present.max(), present.mean(), present.std()
                if t == 0 and len(present) == 0:
                    notes.append(f"{name!r} is missing in every row of {what}: only its missing share is compared")
        rows = next(iter(tables.values())).num_rows
        low, high, mean, std = stats
        return cls(schema, number_names, code_names, vocabularies, low, high, mean, std, gaps, rows, notes)

    def view(self, table: pa.Table, what: str, rng: np.random.Generator) -> tuple[Frame, list[str]]:
        """The table's frame, and a note if it was too large to be taken whole."""
        notes = []
        room = min(MAX_ROWS, MAX_CELLS // len(self.names))
        if table.num_rows > room:
            notes.append(
                f"{what}: measured on {room:,} of its {table.num_rows:,} rows, drawn at random (exact copies "
                "are counted over all rows)"
            )
            table = table.select(self.names).take(np.sort(rng.choice(table.num_rows, room, replace=False)))
        numbers, codes = self.read(table, what)
        return Frame(numbers, codes, rng.permutation(table.num_rows) % GROUPS), notes

    def read(self, table: pa.Table, what: str) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """All rows: numbers float64 (n, p) with NaN for what is missing or infinite, codes int32 (n, q)."""
        numbers = np.empty((table.num_rows, len(self.number_names)))
        for i, name in enumerate(self.number_names):
            numbers[:, i] = numbers_of(table.column(name), self.schema[name].kind, name, what)
        numbers[~np.isfinite(numbers)] = np.nan
        codes = np.empty((table.num_rows, len(self.code_names)), dtype=np.int32)
        for i, (name, vocabulary) in enumerate(zip(self.code_names, self.vocabularies, strict=True)):
            column = _plain(table.column(name), vocabulary.values.type)
            codes[:, i] = pc.index_in(column, value_set=vocabulary.values).fill_null(-1).to_numpy() + 1
        return numbers, codes


def _require(table: pa.Table, names: list[str], what: str) -> None:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise UserError(
            f"{what} lacks the column{'s'[: len(missing) > 1]} {', '.join(map(repr, missing))}; "
            f"it has {', '.join(map(repr, table.column_names[:20]))}"
        )
    if table.num_rows == 0:
        raise UserError(f"{what} has no rows: there is nothing to measure")


def _left_out(schema: Schema, tables: Mapping[str, pa.Table]) -> list[str]:
    notes = []
    unmeasured = schema.of_kind("id", "text")
    if unmeasured:
        notes.append(f"not measured, because they are ids or free text: {', '.join(unmeasured)}")
    for what, table in tables.items():
        extra = [name for name in table.column_names if name not in schema.names and name not in schema.excluded]
        if extra:
            notes.append(f"{what}: columns that the schema lacks were ignored: {', '.join(extra)}")
    return notes


def numbers_of(column: pa.ChunkedArray, kind: Kind, name: str, what: str) -> NDArray[np.float64]:
    """float64 (n,); a date is seconds since 1970. Unsafe casts: whole numbers beyond 2^53 are rounded on purpose."""
    try:
        if kind == "datetime":
            column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        values: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{what}: column {name!r} ({column.type}) cannot be read as {kind}: {error}") from error
    return (
        values / 1e6 if kind == "datetime" else np.where(np.isinf(values), values, np.clip(values, -LARGEST, LARGEST))
    )


def _plain(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column as ``kind``, with NaN turned into a missing value."""
    column = column.cast(kind)
    return pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column) if pa.types.is_floating(kind) else column


def _vocabulary(name: str, columns: Mapping[str, pa.ChunkedArray]) -> Vocabulary:
    """Categories under one type: that of real train if all tables can be cast to it (1.0 in a file is then the same as
    1), otherwise numbers, otherwise text."""
    first = next(iter(columns.values())).type
    for kind in (first.value_type if pa.types.is_dictionary(first) else first, pa.float64(), pa.string()):
        try:
            train, *others = (_plain(column, kind) for column in columns.values())
            break
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    else:
        raise UserError(f"column {name!r} holds {first}, which is not a category; exclude it")
    tally = pc.value_counts(train.drop_null())
    values, counts = tally.field("values"), tally.field("counts").to_numpy()
    # Not an array of strings: NumPy pads each to the longest.
    labels = [str(v) for v in values.to_pylist()]
    order = sorted(range(len(labels)), key=lambda i: (-counts[i], labels[i]))
    known = values.take(pa.array(order, pa.int64()))
    unseen = pc.unique(pa.chunked_array([chunk for other in others for chunk in other.chunks], kind).drop_null())
    unseen = unseen.filter(pc.invert(pc.is_in(unseen, value_set=known)))
    unseen = unseen.take(pa.array(sorted(range(len(unseen)), key=lambda i: str(unseen[i])), pa.int64()))
    padding = np.zeros(len(unseen), dtype=np.int64)
    return Vocabulary(pa.concat_arrays([known, unseen]), np.concatenate([counts[order], padding]))
