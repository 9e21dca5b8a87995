"""Write batches of rows to a file or a stream, one at a time, in any of the formats that sources are read from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from cluster import storage
from synth.errors import UserError


class Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...
    def close(self) -> None: ...


class _Ndjson:
    """One JSON object a line; dates and decimals as text, missing as null."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        self._sink = sink
        self._text = [pa.types.is_temporal(t) or pa.types.is_decimal(t) for t in schema.types]

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [c.cast(pa.string()) if text else c for c, text in zip(batch.columns, self._text, strict=True)]
        frame = pa.RecordBatch.from_arrays(columns, batch.schema.names).to_pandas(types_mapper=_nullable)
        self._sink.write(frame.to_json(orient="records", lines=True, double_precision=15, force_ascii=False).encode())

    def close(self) -> None:
        pass


def _nullable(dtype: pa.DataType) -> Any:
    """pandas types that keep integers with missing values whole."""
    import pandas as pd

    return pd.ArrowDtype(dtype)


class _Csv:
    """CSV by Arrow; decimals as text, which Arrow's writer does not know."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        fields = [pa.field(f.name, pa.string() if pa.types.is_decimal(f.type) else f.type) for f in schema]
        self._schema = pa.schema(fields)
        self._writer = pyarrow.csv.CSVWriter(sink, self._schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch.cast(self._schema))

    def close(self) -> None:
        self._writer.close()


FORMATS: dict[str, Callable[[Any, pa.Schema], Writer]] = {
    "parquet": lambda sink, schema: pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd"),
    "csv": _Csv,
    "ndjson": _Ndjson,
    "arrow": lambda sink, schema: pa.ipc.new_file(sink, schema),
}
_SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson",
             ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow"}  # fmt: skip


def format_of(out: str, given: str | None) -> str:
    """The format to write: the one given, or by the name's ending."""
    if given is not None and given not in FORMATS:
        raise UserError(f"--format {given!r} is unknown; formats: {', '.join(FORMATS)}")
    found = given or _SUFFIXES.get(Path(out).suffix.lower())
    if found is None:
        raise UserError(f"--out {out!r} does not tell the format; give --format {'|'.join(FORMATS)}")
    return found


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, out: str, format: str) -> int:
    """Write all batches to ``out`` (``-`` is standard output) and return the rows written.

    A local file appears under its name only when it is complete.
    """
    rows = 0
    with _opened(out) as sink:
        writer = FORMATS[format](sink, schema)
        if format == "parquet":  # larger row groups than one block each compress and read better
            batches = _gathered(batches, 65_536)
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
        writer.close()
    return rows


def _gathered(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(b.num_rows for b in held) >= rows:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


@contextmanager
def _opened(out: str) -> Iterator[IO[bytes] | pa.NativeFile]:
    if out == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if "://" in out:
        filesystem, path = storage.resolve(out)
        with filesystem.open_output_stream(path) as stream:
            yield stream
        return
    final = Path(out)
    partial = final.with_name(f".{final.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(final)
    except OSError as e:
        raise UserError(f"--out {out!r} cannot be written: {e.strerror or e}") from e
    finally:
        partial.unlink(missing_ok=True)
