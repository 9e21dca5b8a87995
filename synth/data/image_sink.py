"""Images as they are given away: PNG files in a column of a table, or in a folder with a sub-folder for each class.

Both are read as a source again, with the same pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from synth.data.images import array_of, png
from synth.data.schema import Schema, arrow_type
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


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow schema of what ``encoded`` gives."""
    kinds = [FILE if c.kind == "image" else arrow_type(c.dtype) for c in schema.columns]
    return pa.schema(list(zip(schema.names, kinds, strict=True)))


def encoded(batches: Iterable[pa.RecordBatch], schema: Schema, first: int = 0) -> Iterator[pa.RecordBatch]:
    """The batches with their images as PNG files, named by their rows from ``first`` on; those of tables as they are."""
    for batch in batches:
        arrays = list(batch.columns)
        for index, column in enumerate(schema.columns):
            if column.shape is not None:
                files = map(png, array_of(arrays[index], column.shape))
                rows = [{"bytes": data, "path": _name(first + row)} for row, data in enumerate(files)]
                arrays[index] = pa.array(rows, FILE)
        yield pa.record_batch(arrays, schema=arrow_schema(schema))
        first += batch.num_rows


def write_folder(batches: Iterable[pa.RecordBatch], schema: Schema, folder: Path) -> int:
    """Write ``CLASS/000000.png`` …, numbered by row, into an empty folder, and return how many.

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
            (place / _name(row)).write_bytes(data)
            row += 1
    return row


def _folder(label: str | None) -> str:
    for part in [] if label is None else label.split("/"):
        if not FOLDER.fullmatch(part):
            raise UserError(f"--format png: the class {label!r} cannot be the name of a folder; write parquet")
    return label or ""


def _name(row: int) -> str:
    return f"{row:06}.png"
