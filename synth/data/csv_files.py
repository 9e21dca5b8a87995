"""CSV and TSV files, plain or compressed.

A first pass reads every value as a string and settles each column's type from all of them (see ``text_type``); the
passes after it convert. Missing are the empty field everywhere, and ``MISSING`` in columns of numbers, booleans and
dates. In a column of words, NA, None and ? are words like any other: they are learnt and come back as written, so that
Namibia's code and "no basement" survive; nothing is lost either way.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from synth.data.arrow_files import same_columns
from synth.data.location import Files, reading
from synth.data.schema import check_names, chosen
from synth.data.text_type import NUMBER, TextType, matches
from synth.errors import UserError

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
BLOCK = 4 << 20  # bytes; a row must fit in one block
HEAD = 1 << 20
SEP_LINE = re.compile(rb'(?:\xef\xbb\xbf)?"?sep=([,;\t|])"?\r?\n', re.IGNORECASE)  # which Excel reads and writes
QUOTED = re.compile(rb'(?:^|(?<=[,;\t|\n]))"(?:[^"]|"")*"')


class CsvFiles:
    """A table in CSV files with a header line each, comma-, tab-, semicolon- or bar-separated.

    ``as_text`` names the columns whose values stay strings whatever they look like.
    """

    def __init__(self, files: Files, columns: Sequence[str] | None, batch_rows: int, as_text: Sequence[str]) -> None:
        self.files = files
        self.batch_rows = batch_rows
        self.counts: list[int] = []
        self.notes: list[str] = []
        self._parsing: dict[str, tuple[pacsv.ReadOptions, pacsv.ParseOptions]] = {}
        header: list[str] = []
        for path in files.paths:
            names, self._parsing[path] = _header(files, path)
            header = header or names
            same_columns(header, names, files.name(path), files.name(files.paths[0]))
        if numbers := [n for n in header if matches(pa.array([n]), NUMBER)[0]]:
            self.notes.append(
                f"{files.name(files.paths[0])}: '{numbers[0]}' in its first line was taken as a column name"
            )

        types = {name: TextType() for name in chosen(header, columns, files.name(files.paths[0]))}
        strings = pacsv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), include_columns=list(types))
        rows = 0
        for path in files.paths:
            start = rows
            for batch in self._read(path, strings):
                for name, kind in types.items():
                    if name not in as_text:
                        kind.update(_without(batch.column(name), MISSING), rows)
                rows += batch.num_rows
            self.counts.append(rows - start)
        for name, kind in types.items():
            self._check(name, kind)
            if kind.doubt is not None:
                self.notes.append(f"column '{name}' {kind.doubt}; it was taken as categories")
        self.schema = pa.schema([(name, kind.arrow_type) for name, kind in types.items()])

    def units(self) -> list[int]:
        return self.counts

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]:
        typed = pacsv.ConvertOptions(
            column_types=self.schema,
            include_columns=self.schema.names,
            null_values=MISSING,
            true_values=TRUE,
            false_values=FALSE,
            strings_can_be_null=False,
        )
        for path in self.files.paths[units]:
            for batch in self._read(path, typed):
                columns = [_without(c, ("",)) if pa.types.is_string(c.type) else c for c in batch.columns]
                block = pa.record_batch(columns, schema=self.schema)
                for start in range(0, block.num_rows, self.batch_rows):
                    yield block.slice(start, self.batch_rows)

    def _read(self, path: str, convert: pacsv.ConvertOptions) -> Iterator[pa.RecordBatch]:
        with reading(self.files.name(path)), _decoding(self.files, path), self.files.open(path) as stream:
            yield from pacsv.open_csv(stream, *self._parsing[path], convert)

    def _check(self, name: str, kind: TextType) -> None:
        if (odd := kind.odd) is not None:
            raise UserError(
                f"{self.files.place(self.counts, odd.row)}: column '{name}' holds {odd.meant}s, but here stands "
                f"'{odd.value}' ({odd.others} of {kind.values} values are no {odd.meant}). Correct the cell, or leave "
                f"it empty if the value is missing; or take the column as categories with --categorical {name}, or "
                f"leave it out with --exclude {name}."
            )


def _header(files: Files, path: str) -> tuple[list[str], tuple[pacsv.ReadOptions, pacsv.ParseOptions]]:
    """The column names of a file's first line, where that is, and how its fields are separated."""
    name = files.name(path)
    with reading(name), files.open(path) as stream:
        head = stream.read(HEAD)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name}: is UTF-16. Convert it first: iconv -f UTF-16 -t UTF-8 {name} > utf8.csv")
    excel = SEP_LINE.match(head)
    delimiter = excel[1].decode() if excel else _delimiter(head, "\t" if ".tsv" in path.lower() else ",")
    read = pacsv.ReadOptions(block_size=BLOCK, skip_rows=1 if excel else 0)
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with reading(name), _decoding(files, path), files.open(path) as stream:
        names = pacsv.open_csv(stream, read, parse).schema.names
    check_names(names, name)
    return names, (read, parse)


def _delimiter(head: bytes, usual: str) -> str:
    """The sign that separates most names of the header; those in quotes are parts of a name."""
    lines = QUOTED.sub(b"", head.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")).split(b"\n", 2)[:2]
    # Of equals it is the one that the next line has more of, else the first.
    return max((usual, *",;\t|"), key=lambda sign: [line.count(sign.encode()) for line in lines])


def _without(column: pa.Array, missing: Sequence[str]) -> pa.Array:
    """The strings with those that mean missing turned into nulls."""
    absent = pc.is_in(column, value_set=pa.array(missing, pa.string()))
    return pc.if_else(absent, pa.scalar(None, pa.string()), column)


@contextmanager
def _decoding(files: Files, path: str) -> Iterator[None]:
    """Turn Arrow's complaint about bytes that are not UTF-8 into a UserError that says where they stand."""
    try:
        yield
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        if isinstance(error, pa.ArrowInvalid) and "UTF8" not in str(error):
            raise
        byte, offset, line = _first_undecodable(files, path)
        name = files.name(path)
        raise UserError(
            f"{name}, line {line}: is not UTF-8 (byte 0x{byte:02x} at offset {offset}). Convert it first, for example: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.csv"
        ) from error


def _first_undecodable(files: Files, path: str) -> tuple[int, int, int]:
    """The first byte that is not UTF-8, its offset in the (decompressed) file and its line, counted from 1."""
    offset, line, rest = 0, 1, b""
    with files.open(path) as stream:
        while True:
            chunk = stream.read(HEAD)
            data = rest + chunk
            try:
                data.decode()
                start = len(data)
            except UnicodeDecodeError as error:
                start = error.start
                if not chunk or start + 4 <= len(data):
                    return data[start], offset + start, line + data.count(b"\n", 0, start)
            assert chunk, "called for a file that Arrow could not decode"
            offset, line, rest = offset + start, line + data.count(b"\n", 0, start), data[start:]
