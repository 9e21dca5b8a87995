"""The formats of an answer: which one the caller wants, and an encoder whose memory does not grow with the answer.

Rows are spelt as ``synth.data.sink`` spells them in files; here its writers give their bytes away as they come. Images come
as ``synth.data.image_sink`` makes them, PNG files in a column of structs; where a format is text, a cell is such a file
in base64. NaN is missing wherever a format is text.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from serving.problems import MOST_ECHO, Problem, cut
from synth.data import sink
from synth.data.conform import without_nan
from synth.data.schema import holds_file, nearest, plain_type

_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_RANGE = re.compile(r"[^\s/]+/[^\s/]+")


class _Array:
    """A JSON array with a row a line: JSON lines, whose only line ends are those between rows."""

    def __init__(self, out: IO[bytes], schema: pa.Schema) -> None:
        self._out, self._lines = out, io.BytesIO()
        self._writer = sink.FORMATS["ndjson"](self._lines, schema)
        self._before = b"\n"
        out.write(b"[")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._writer.write_batch(batch)
            self._out.write(self._before + _taken(self._lines)[:-1].replace(b"\n", b",\n"))
            self._before = b",\n"

    def close(self) -> None:
        self._out.write(b"\n]\n")


@dataclass(frozen=True)
class Format:
    """A format by its name; ``text`` has neither bytes nor metadata."""

    name: str
    media_type: str
    text: bool
    open: Callable[[IO[bytes], pa.Schema], sink.Writer]


_ALL = (
    Format("json", "application/json", True, _Array),
    Format("ndjson", "application/x-ndjson", True, sink.FORMATS["ndjson"]),
    Format("csv", "text/csv; charset=utf-8", True, sink.FORMATS["csv"]),
    Format("arrow", "application/vnd.apache.arrow.stream", False, pa.ipc.new_stream),
    Format("parquet", "application/vnd.apache.parquet", False, sink.FORMATS["parquet"]),
)
FORMATS = {format.name: format for format in _ALL}
"""By name, the first wherever several are as welcome."""


class Encoder:
    """The bytes of batches in a format: ``begin``, ``write`` each, ``end``, and all that they return is the answer.

    ``write`` gives a batch's bytes at once; those of Parquet when there are rows for a row group, of which less than one is
    kept, besides its footer, which has a few hundred bytes for each column of each. ``metadata`` goes into the schema of
    Arrow and Parquet; text has no place for it.

    Raises Problem 406 for a column that the format cannot hold; UserError, on ``write``, for a value (see
    ``synth.data.sink``).
    """

    def __init__(self, format: Format, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
        self._text = format.text
        if format.text:
            self._schema = pa.schema([_text_field(field, format) for field in schema])
        else:
            there = {} if schema.metadata is None else schema.metadata
            self._schema = schema.with_metadata({**there, **metadata})
        self._open = format.open
        self._out = io.BytesIO()

    def begin(self) -> bytes:
        self._writer = self._open(self._out, self._schema)
        return _taken(self._out)

    def write(self, batch: pa.RecordBatch) -> bytes:
        self._writer.write_batch(self._as_text(batch) if self._text else batch)
        return _taken(self._out)

    def end(self) -> bytes:
        self._writer.close()
        return _taken(self._out)

    @property
    def waiting(self) -> int:
        """Rows that were written and whose bytes were not given away yet."""
        return self._writer.waiting if isinstance(self._writer, sink.Groups) else 0

    def _as_text(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = zip(batch.columns, self._schema.types, strict=True)
        arrays = [_base64(c) if holds_file(c.type) else without_nan(c.cast(kind)) for c, kind in columns]
        return pa.record_batch(arrays, schema=self._schema)


def choose(format: str | None, accept: str | None) -> Format:
    """The format that a request names or, where it names none, that its Accept header does.

    Raises Problem 422 for a name that is unknown, 406 as ``negotiate`` does.
    """
    if format is None:
        return FORMATS[negotiate(accept)]
    if format not in FORMATS:
        raise Problem(
            422, "Unknown format", f"there is no format {cut(format, MOST_ECHO)!r}.{nearest(format, FORMATS)}",
            "/problems/unknown-format", "/format", f"choose one of {', '.join(FORMATS)}",
        )  # fmt: skip
    return FORMATS[format]


def negotiate(accept: str | None) -> str:
    """The format that an Accept header (RFC 9110, 12.5.1) wants most; json where there is no header.

    Of formats as welcome as each other, the one that is named more exactly, then the one named first. Ranges that are
    none match nothing. Raises Problem 406 where nothing matches.
    """
    if accept is None or not accept.strip():
        return next(iter(FORMATS))
    ranges = list(_ranges(accept))
    found = {name: _welcome(format.media_type.partition(";")[0], ranges) for name, format in FORMATS.items()}
    best = max(found, key=found.__getitem__)
    if found[best][0] == 0:
        types = ", ".join(format.media_type.partition(";")[0] for format in FORMATS.values())
        raise Problem(
            406, "No such format", f"Accept: {cut(accept, MOST_ECHO)}: none of these is written here",
            "/problems/not-acceptable", remedy=f"accept one of {types}; or name the request's format",
        )  # fmt: skip
    return best


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        if _RANGE.fullmatch(kind) and _QUALITY.fullmatch(quality):
            yield kind, float(quality)


def _welcome(media_type: str, ranges: list[tuple[str, float]]) -> tuple[float, int, int]:
    """The quality of the most exact range that matches, how exact that is, and how far in front it stands."""
    exact = {media_type: 2, media_type.partition("/")[0] + "/*": 1, "*/*": 0}
    matches = [(exact[kind], -place, quality) for place, (kind, quality) in enumerate(ranges) if kind in exact]
    exactness, place, quality = max(matches, default=(0, 0, 0.0))
    return quality, exactness, place


def _text_field(field: pa.Field, format: Format) -> pa.Field:
    if holds_file(field.type):
        return pa.field(field.name, pa.string())
    if pa.types.is_nested(field.type) or pa.types.is_binary(field.type) or pa.types.is_fixed_size_binary(field.type):
        others = [other.name for other in FORMATS.values() if not other.text]
        raise Problem(
            406, "The format cannot hold a column",
            f"column {cut(field.name, MOST_ECHO)!r} holds {field.type}, which {format.name} has no spelling for",
            "/problems/format-cannot-hold", remedy=f"choose {' or '.join(others)}",
        )  # fmt: skip
    return field.with_type(plain_type(field.type))


def _base64(files: pa.StructArray) -> pa.Array:
    contents = files.field("bytes").to_pylist()
    return pa.array([None if c is None else base64.b64encode(c).decode("ascii") for c in contents], pa.string())


def _taken(out: io.BytesIO) -> bytes:
    """What was written, which is then there no more."""
    content = out.getvalue()
    out.seek(0)
    out.truncate()
    return content
