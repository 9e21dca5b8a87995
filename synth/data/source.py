"""Real data as a stream of Arrow batches, wherever it lies and however it is written."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeGuard

import numpy as np
import pyarrow as pa

from cluster.location import without_credentials
from synth.data.arrays import ArrayFiles, Arrays, are_images, encoded_objects
from synth.data.arrow_files import ArrowFiles
from synth.data.csv_files import CsvFiles
from synth.data.image_files import IMAGE, ImageFiles
from synth.data.location import Files, find, reading, texts
from synth.data.ndjson_files import NdjsonFiles
from synth.data.schema import check_names, chosen, file_bytes, index_notes, pandas_index, plain_type, rows_of_batch
from synth.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Location: TypeAlias = (
    "str | Path | Sequence[str | Path] | pa.Table | pd.DataFrame | np.ndarray | Mapping[str, np.ndarray]"
)
CHUNK = 1 << 20
IMAGE_VALUES = 1 << 14  # an encoded image counts as so many where a piece's size is told in values


class Reader(Protocol):
    """What each format offers; ``counts`` are the rows of each file, ``notes`` what the report must tell.

    A *unit* is the least that can be read on its own: a file or, in Parquet, a row group.
    """

    schema: pa.Schema  # of what ``batches`` reads: columns that it lacks stay on the disk
    counts: list[int]
    notes: list[str]

    def units(self) -> list[int]:
        """The rows of each unit, in order."""
        ...

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]: ...


class Said(NamedTuple):
    """What a file of so many ``rows``, None where they were not counted, says of itself: None where that could not be looked
    up. Where a file ``beside`` it does so, that may be of other rows: of those that were written over."""

    name: str
    metadata: dict[bytes, bytes] | None
    rows: int | None
    beside: str | None = None


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a source, from row ``first`` on, that can be sent to and read by another process."""

    source: Source
    first: int
    units: slice

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Each batch after the number of its first row."""
        first = self.first
        for batch in self.source.batches(self.units):
            yield first, batch
            first += batch.num_rows

    def place(self, first: int) -> Callable[[int], str]:
        """Where the rows of the batch stand whose first one is row ``first`` of the source, for messages."""
        return lambda row: self.source.place(first + row)


class Source:
    """A table of real data, read batch by batch in bounded memory, again and again in the same order.

    ``location`` is how messages name it. Dictionary-encoded and large strings arrive as plain strings.
    """

    def __init__(self, location: str, reader: Reader, files: Files | None) -> None:
        self.location = location
        self._reader = reader
        self._files = files

    @property
    def schema(self) -> pa.Schema:
        return self._reader.schema

    @property
    def notes(self) -> list[str]:
        """What was left out or assumed in reading, one sentence each."""
        return [*(self._files.notes if self._files else ()), *self._reader.notes]

    def said(self) -> list[Said]:
        """What each file says of itself: the metadata of its schema or, in a format that has none, what the file beside it
        does, a JSON object of texts; of a table in memory, its own. Looked up once."""
        return self._said

    @cached_property
    def _said(self) -> list[Said]:
        if isinstance(self._reader, _Memory):
            return [Said(self.location, self._reader.metadata, self.rows())]
        if self._files is None:
            return []
        counts: list[int | None] = list(self._reader.counts)
        if isinstance(self._reader, ArrowFiles):
            return list(map(Said, map(self._files.name, self._files.paths), self._reader.metadata, counts))
        found = self._files.beside()
        if self._files.format == "image":
            counts = [self.rows() if len(found) == 1 else None] * len(found)
        return [
            Said(name, None if said.content is None else texts(said), rows, said.name)
            for (name, said), rows in zip(found, counts, strict=True)
        ]

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]:
        """Batches of at most ``batch_rows`` rows, of type ``schema``; UserError naming the file that cannot be read."""
        return self._reader.batches(units)

    def only(self, names: Sequence[str]) -> Source:
        """The same rows with these of the columns alone: the others are not read."""
        narrow = copy(self)
        narrow._reader = copy(self._reader)
        wanted = set(names)
        narrow._reader.schema = pa.schema([field for field in self.schema if field.name in wanted])
        return narrow

    def whole(self) -> Piece:
        return Piece(self, 0, slice(None))

    def pieces(self, rows: int) -> list[Piece]:
        """Pieces of ``rows`` rows, or of a unit where that has more; in order, and together the whole source."""
        found, first, start, held = [], 0, 0, 0
        for unit, count in enumerate(self._reader.units()):
            if held and held + count > rows:
                found.append(Piece(self, first, slice(start, unit)))
                first, start, held = first + held, unit, 0
            held += count
        return [*found, Piece(self, first, slice(start, None))]

    @property
    def values(self) -> int:
        """How many values a row has; an image counts as many."""
        return sum(IMAGE_VALUES if pa.types.is_binary(f.type) else 1 for f in self.schema)

    def rows(self) -> int:
        """The number of rows, known since the source was opened."""
        return sum(self._reader.counts)

    def table(self) -> pa.Table:
        """The whole source in memory."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def place(self, row: int) -> str:
        """``FILE, row R`` for the zero-based ``row``, with R counted from 1 within its file, header apart."""
        return self._files.place(self._reader.counts, row) if self._files else f"{self.location}, row {row + 1}"

    def fingerprint(self) -> str:
        """SHA-256 in hex: of the files' bytes one after the other (as ``cat FILES | sha256sum`` gives), or of the
        Arrow IPC stream of a table in memory, or of images, whose folders tell something, too."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        if self._files is None or self._files.format == "image":
            with pa.PythonFile(_Digested(digest), "w") as sink, pa.ipc.new_stream(sink, self.schema) as writer:
                for batch in self.batches():
                    writer.write_batch(batch)
            return digest.hexdigest()
        for path in self._files.paths:
            with reading(self._files.name(path)), self._files.open(path, decompress=False) as stream:
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
        return digest.hexdigest()


class _Digested(io.RawIOBase):
    """A file that is only hashed."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)


class _Memory:
    """A table that the caller already holds."""

    def __init__(self, table: pa.Table, columns: Sequence[str] | None, batch_rows: int) -> None:
        self.metadata = dict(table.schema.metadata or {})
        index = pandas_index(table.schema)
        names = [name for name in table.column_names if name not in index]
        table = table.select(chosen(names, columns, "the table"))
        self.schema = pa.schema([pa.field(f.name, plain_type(f.type)) for f in table.schema])
        plain = pa.table([file_bytes(column) for column in table.columns], table.column_names)
        self._table = plain.cast(self.schema).combine_chunks()
        self._batch_rows = rows_of_batch(batch_rows, self.schema)
        self.counts = [table.num_rows]
        self.notes = index_notes(index, "the table")

    def units(self) -> list[int]:
        return self.counts

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(self.schema.names).to_batches(max_chunksize=self._batch_rows)


def open_source(
    location: Location,
    *,
    columns: Sequence[str] | None = None,
    batch_rows: int = 65_536,
    as_text: Sequence[str] = (),
) -> Source:
    """Open a table: a file, folder, glob or list of files, or one in memory.

    Files are Parquet, CSV / TSV, Arrow IPC / Feather, ORC or NDJSON (text also compressed), on a local path or any URI
    that PyArrow or fsspec knows; tables in memory are pandas or Arrow. Images are a folder of PNG, JPEG or WebP files (see
    ``image_files``), a column of encoded ones, NumPy files or arrays (see ``arrays``), or a data frame's column of arrays
    or Pillow's images; batches carry them encoded, as binary. ``columns`` restricts what is read. ``as_text``
    names CSV columns to be read as strings: those that are forced to be categories (so that 01 stays 01) or will be
    excluded (so that nothing in them can be wrong); names the file does not have are the business of inference.

    Raises UserError for whatever can be wrong with the files: missing, empty, without rows, damaged, not UTF-8, of
    differing schemas, with duplicate or empty column names, or a CSV column of numbers with text in it.
    """
    reader: Reader
    if isinstance(location, str | Path) or _are_paths(location):
        files = find(location)
        one = isinstance(location, str | Path)
        name = without_credentials(str(location)) if one else f"{files.name(files.paths[0])} and others"
        if files.format == "csv":
            reader = CsvFiles(files, columns, batch_rows, as_text)
        elif files.format == "ndjson":
            reader = NdjsonFiles(files, columns, batch_rows)
        elif files.format == "image":
            reader = images = ImageFiles(files, columns, batch_rows, as_text)
            files = images.files  # those that are read, in the order in which they are
        elif files.format == "arrays":
            reader = ArrayFiles(files, columns, batch_rows)
        else:
            reader = ArrowFiles(files, columns, batch_rows)
        source = Source(name, reader, files)
    elif isinstance(location, Mapping | np.ndarray) and are_images(
        arrays := {IMAGE: location} if isinstance(location, np.ndarray) else location
    ):
        source = Source("the arrays", Arrays(arrays, columns, batch_rows, "the arrays"), None)
    else:
        table = location if isinstance(location, pa.Table) else _from_pandas(_frame(location))
        check_names(table.column_names, "the table")
        source = Source("the table", _Memory(table, columns, batch_rows), None)
    if source.rows() == 0:
        raise UserError(f"{source.location}: holds column names but no rows. Give a table with data.")
    return source


def _are_paths(location: object) -> TypeGuard[Sequence[str | Path]]:
    return isinstance(location, list | tuple) and all(isinstance(one, str | Path) for one in location)


def _frame(location: object) -> pd.DataFrame:
    import pandas as pd

    if not isinstance(location, pd.DataFrame):
        raise UserError(
            f"a table cannot be a {type(location).__name__}: give a path or URI, a list of them, a pandas DataFrame "
            "(pandas.DataFrame(...) makes one from arrays and dicts) or a pyarrow Table."
        )
    return location


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    names = [str(name) for name in frame.columns]
    check_names(names, "the data frame")
    arrays = []
    for index, name in enumerate(names):
        try:
            images = encoded_objects(frame.iloc[:, index])
            arrays.append(pa.Array.from_pandas(frame.iloc[:, index]) if images is None else images)
        except (pa.ArrowException, OverflowError) as error:
            raise UserError(
                f"the data frame: column '{name}' mixes types or holds what Arrow cannot ({error}). "
                f"Give it one type, e.g. frame['{name}'].astype(str)."
            ) from error
    return pa.Table.from_arrays([pa.chunked_array([a]) if isinstance(a, pa.Array) else a for a in arrays], names)
