"""Write batches of rows to a file or a stream, one at a time, in any of the formats that sources are read from."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from cluster import storage
from cluster.location import is_remote, resolve, scrub, without_credentials
from synth.data.conform import without_nan
from synth.data.location import BESIDE, COMPRESSED
from synth.errors import UserError

GROUP_ROWS, GROUP_BYTES = 65_536, 64 << 20


class Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...
    def close(self) -> None: ...


class _Ndjson:
    """One JSON object a line; dates and decimals as text, missing as null, numbers to their last digit."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        self._sink, self._names = sink, schema.names
        self._object = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [_jsonable(name, c).to_pylist() for name, c in zip(self._names, batch.columns, strict=True)]
        lines = (self._object(dict(zip(self._names, row, strict=True))) + "\n" for row in zip(*columns, strict=True))
        self._sink.write("".join(lines).encode())

    def close(self) -> None:
        pass


def _jsonable(name: str, column: pa.Array) -> pa.Array:
    if pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type):
        return _spelt(name, column)
    if pa.types.is_floating(column.type):
        if pc.any(pc.is_inf(column)).as_py():
            raise UserError(f"column {name!r} holds infinities, which JSON has no number for; write parquet or arrow")
        # By way of text a float32 keeps its own digits: 0.1, and not 0.10000000149011612.
        return without_nan(column.cast(pa.string()).cast(pa.float64()))
    return column


def _spelt(name: str, column: pa.Array) -> pa.Array:
    """Moments or decimals as text; UserError for a moment that has none, tens of thousands of years away."""
    text = column.cast(pa.string())
    if pc.any(pc.starts_with(text, "<")).as_py():
        raise UserError(f"column {name!r} holds moments in years that text has no spelling for; write parquet or arrow")
    return text


class _Csv:
    """CSV by Arrow; decimals as text, which Arrow's writer does not know."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        fields = [pa.field(f.name, pa.string() if pa.types.is_decimal(f.type) else f.type) for f in schema]
        self._schema = pa.schema(fields)
        self._writer = pyarrow.csv.CSVWriter(sink, self._schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for name, column in zip(self._schema.names, batch.columns, strict=True):
            if pa.types.is_temporal(column.type):  # which the writer spells itself, but without a check
                _spelt(name, pa.array(pc.min_max(column).values(), column.type))
        self._writer.write_batch(batch.cast(self._schema))

    def close(self) -> None:
        self._writer.close()


class Groups:
    """Parquet in row groups of GROUP_ROWS rows, or of what first reaches GROUP_BYTES before compression, which compress and
    read better than one a batch; ``waiting`` are the rows, always fewer, that are held until there are so many."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        self._writer = pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd")
        self._held: list[pa.RecordBatch] = []
        self._bytes = self.waiting = 0

    def write_batch(self, batch: pa.RecordBatch) -> None:
        while batch.num_rows:
            part = batch.slice(0, GROUP_ROWS - self.waiting)
            batch = batch.slice(part.num_rows)
            self._held.append(part)
            self._bytes += part.nbytes
            self.waiting += part.num_rows
            if self.waiting == GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self._write()

    def close(self) -> None:
        if self._held:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        self._writer.write_batch(pa.concat_batches(self._held))
        self._held, self._bytes, self.waiting = [], 0, 0


FORMATS: dict[str, Callable[[Any, pa.Schema], Writer]] = {
    "parquet": Groups,
    "csv": _Csv,
    "ndjson": _Ndjson,
    "arrow": lambda sink, schema: pa.ipc.new_file(sink, schema),
}
PLAIN = ("csv", "ndjson")  # have no metadata
_SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson",
             ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow"}  # fmt: skip


def format_of(out: str, given: str | None) -> str:
    """The format to write: the one given, or by the name's ending."""
    if given is not None and given not in FORMATS:
        raise UserError(f"--format {given!r} is unknown; formats: {', '.join(FORMATS)}")
    name, ending = without_credentials(out), Path(out).suffix.lower()
    if ending in (*COMPRESSED, ".xz", ".zip"):
        raise UserError(
            f"--out {name!r}: samples are written uncompressed; leave {ending} out, and compress the file then"
        )
    found = given or _SUFFIXES.get(ending)
    if found is None:
        raise UserError(f"--out {name!r} does not tell the format; give --format {'|'.join(FORMATS)}")
    return found


def write(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, out: str, format: str, beside: bytes | None = None
) -> int:
    """Write all batches to ``out`` (``-`` is standard output) and return the rows written.

    A local file appears under its name only when it is complete. ``beside`` is what the file beside it is to say, in a format
    that has no place for it; it is never beside other rows, and these are never without it, whenever this is stopped.
    """
    rows = 0
    with _opened(out, beside) as sink:
        writer = FORMATS[format](sink, schema)
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
        writer.close()
    return rows


@contextmanager
def _opened(out: str, beside: bytes | None) -> Iterator[IO[bytes] | pa.NativeFile]:
    if out == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if is_remote(out):
        filesystem, path = resolve(out)
        try:
            if beside is not None:  # before the first row, for some stores show a file while it is written
                if storage.is_file(out):
                    filesystem.delete_file(path)
                storage.write_bytes(storage.append(out, BESIDE), beside)
            with filesystem.open_output_stream(path, compression=None) as stream:  # Arrow would go by the ending
                yield stream
        except OSError as e:
            name, reason = without_credentials(out), scrub(e.strerror or str(e))
            raise UserError(
                f"--out {name!r} cannot be written: {reason}; check the address, the network and the credentials"
            ) from e
        return
    final = Path(resolve(out)[1])
    said = final.with_name(final.name + BESIDE)
    partial, told = (path.with_name(f".{path.name}.partial-{os.getpid()}") for path in (final, said))
    try:
        with partial.open("wb") as file:
            yield file
        if beside is not None:
            told.write_bytes(beside)
            final.unlink(missing_ok=True)  # what the new origin says is not true of the rows that were there
            told.replace(said)
        partial.replace(final)
    except OSError as e:
        raise UserError(f"--out {out!r} cannot be written: {e.strerror or e}") from e
    finally:
        partial.unlink(missing_ok=True)
        told.unlink(missing_ok=True)
