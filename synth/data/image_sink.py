"""Images as they are given away: PNG files in a column of a table, or in a folder with a sub-folder for each class.

Both are read as a source again, with the same pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from synth.data.images import array_of, png
from synth.data.schema import Schema
from synth.errors import UserError

FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as data sets of images have them in Parquet
TEXT = ("csv", "ndjson")
# A name that a folder has everywhere, and that reading does not take for bookkeeping.
FOLDER = re.compile(r"(?![._])[^/\\:*?\"<>|\x00-\x1f]{1,200}(?<![. ])")


def check(schema: Schema, format: str) -> None:
    """UserError where a format cannot hold what the schema describes."""
    if schema.image is not None and format in TEXT:
        raise UserError(
            f"--format {format}: images are not written as text; write parquet, or a folder of files with "
            "--format png --out FOLDER/"
        )
    if schema.image is None and format == "png":
        raise UserError("--format png: this release draws rows of a table, not images; write parquet")


def file_schema(drawn: pa.Schema, schema: Schema) -> pa.Schema:
    """The Arrow schema of what ``encoded`` makes of batches that have ``drawn``, the schema's columns and perhaps others."""
    return pa.schema([pa.field(f.name, FILE) if f.name == schema.image else f for f in drawn])


def encoded(batches: Iterable[pa.RecordBatch], schema: Schema, first: int = 0) -> Iterator[pa.RecordBatch]:
    """The batches with their images as PNG files, named by their rows from ``first`` on; those of tables as they are."""
    shape = schema[schema.image].shape if schema.image is not None else None
    for batch in batches:
        arrays = list(batch.columns)
        if shape is not None:
            index = batch.schema.names.index(schema.image)
            files = map(png, array_of(arrays[index], shape))
            rows = [{"bytes": data, "path": _name(first + row)} for row, data in enumerate(files)]
            arrays[index] = pa.array(rows, FILE)
        yield pa.record_batch(arrays, schema=file_schema(batch.schema, schema))
        first += batch.num_rows


def write_folder(
    batches: Iterable[pa.RecordBatch], schema: Schema, folder: Path, seal: Callable[[int, bytes], bytes] | None = None
) -> int:
    """Write ``CLASS/000000.png`` …, numbered by row, into an empty folder, and return how many. ``seal`` makes of a row and its
    file the file that is written.

    Images without a class lie at the top. UserError for a class that cannot be the name of a folder.
    """
    assert schema.image is not None, "checked by `check`"
    [*labels] = [c.name for c in schema.columns if c.kind not in ("image", "id")]
    row = 0
    for batch in encoded(batches, schema):
        files = batch.column(schema.image).field("bytes").to_pylist()
        classes = batch.column(labels[0]).cast(pa.string()).to_pylist() if labels else [None] * len(files)
        for data, label in zip(files, classes, strict=True):
            place = folder / _folder(label)
            place.mkdir(parents=True, exist_ok=True)
            (place / _name(row)).write_bytes(data if seal is None else seal(row, data))
            row += 1
    return row


def _folder(label: str | None) -> str:
    for part in [] if label is None else label.split("/"):
        if not FOLDER.fullmatch(part):
            raise UserError(f"--format png: the class {label!r} cannot be the name of a folder; write parquet")
    return label or ""


def _name(row: int) -> str:
    return f"{row:06}.png"
