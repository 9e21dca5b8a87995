"""Newline-delimited JSON files, plain or compressed: one object a line.

JSON carries its types, so a first pass only unifies them over all blocks of lines (whole numbers and fractions become
fractions, an absent key is a missing value); later passes read each block with the types so found.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from synth.data.location import Files, reading
from synth.data.schema import check_names, chosen
from synth.data.text_type import exact_as_double
from synth.errors import UserError

BLOCK = 4 << 20  # bytes read at a time


class NdjsonFiles:
    """A table in NDJSON files; columns stand in the order of their first appearance."""

    def __init__(self, files: Files, columns: Sequence[str] | None, batch_rows: int) -> None:
        self.files = files
        self.batch_rows = batch_rows
        self.counts: list[int] = []
        self.notes: list[str] = []
        # Where a column has its first whole number that a double does not hold: fine unless fractions stand beside it.
        wide: dict[str, tuple[str, int, int]] = {}
        schema = pa.schema([])
        for path in files.paths:
            rows = 0
            for block in self._blocks(path):
                table = self._parse(path, block)
                found = pa.schema([(f.name, _no_dates(f.type)) for f in table.schema])
                try:
                    schema = pa.unify_schemas([schema, found], promote_options="permissive")
                except pa.ArrowTypeError as error:
                    raise self._conflict(str(error)) from error
                for name, (row, number) in _beyond_double(table, block).items():
                    wide.setdefault(name, (path, rows + row, number))
                rows += table.num_rows
            self.counts.append(rows)
        check_names(schema.names, files.name(files.paths[0]))
        for name, (path, row, number) in wide.items():
            if pa.types.is_floating(schema.field(name).type):
                raise UserError(
                    f"{files.name(path)}, row {row + 1}: column '{name}' would lose digits of {number} as a number "
                    f"beside fractions, or beyond 64 bits: write it as a string."
                )
        self._whole = schema
        self.schema = pa.schema([schema.field(c) for c in chosen(schema.names, columns, files.name(files.paths[0]))])

    def units(self) -> list[int]:
        return self.counts

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]:
        for path in self.files.paths[units]:
            for block in self._blocks(path):
                table = self._parse(path, block, self._whole).select(self.schema.names).cast(self.schema)
                yield from table.combine_chunks().to_batches(max_chunksize=self.batch_rows)

    def _blocks(self, path: str) -> Iterator[bytes]:
        """Whole lines, at least one, about ``BLOCK`` bytes at a time."""
        rest = b""
        with reading(self.files.name(path)), self.files.open(path) as stream:
            while chunk := stream.read(BLOCK):
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                if lines.strip():
                    yield lines + newline
        if rest.strip():
            yield rest

    def _parse(self, path: str, block: bytes, schema: pa.Schema | None = None) -> pa.Table:
        options = pajson.ParseOptions(explicit_schema=schema)
        try:
            return pajson.read_json(io.BytesIO(block), pajson.ReadOptions(block_size=len(block) + 1), options)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise self._conflict(str(error)) from error

    def _conflict(self, reason: str) -> UserError:
        """Look for the line that Arrow could not take; slow, but only on the way out."""
        seen: dict[str, str] = {}
        for path in self.files.paths:
            row = 0
            for block in self._blocks(path):
                for line in block.split(b"\n"):
                    if not line.strip():
                        continue
                    row += 1
                    place = f"{self.files.name(path)}, row {row}"
                    try:
                        record = json.loads(line)
                    except ValueError:  # JSON and UTF-8 alike
                        return UserError(f"{place}: is not JSON in UTF-8. Each line must be one object: correct it.")
                    if not isinstance(record, dict):
                        return UserError(f"{place}: is not a JSON object. Each line must be one object: {{...}}.")
                    for name, value in record.items():
                        kind = _kind(value)
                        if kind is not None and seen.setdefault(name, kind) != kind:
                            return UserError(
                                f"{place}: column '{name}' holds {seen[name]}s, but here stands the {kind} "
                                f"'{value}'. Write the column with one type."
                            )
        return UserError(f"{self.files.name(self.files.paths[0])}: cannot be read as JSON lines ({reason}).")


def _beyond_double(table: pa.Table, block: bytes) -> dict[str, tuple[int, int]]:
    """For each column of numbers the row (in the block) and value of the first whole number that a double changes."""
    found: dict[str, tuple[int, int]] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_integer(field.type):
            whole = column.fill_null(0).to_numpy()
            changed = np.flatnonzero(~exact_as_double(whole))
            if len(changed):
                found[field.name] = int(changed[0]), int(whole[changed[0]])
    # Arrow has rounded the others already: what the text says is looked up where it has so many digits.
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    names = {json.dumps(name, ensure_ascii=plain) for name in floats for plain in (True, False)}
    if names and re.search(rb"(?:%s)\s*:\s*-?\d{16}" % b"|".join(re.escape(n.encode()) for n in names), block):
        # Python reads no number of thousands of digits; of so many the first tell enough.
        records = (json.loads(x, parse_int=lambda digits: int(digits[:40])) for x in block.split(b"\n") if x.strip())
        for row, record in enumerate(records):
            for name in floats:
                value = record.get(name)
                if isinstance(value, int) and int(float(value)) != value:
                    found.setdefault(name, (row, value))
    return found


def _no_dates(kind: pa.DataType) -> pa.DataType:
    """Arrow reads dates in some strings, block by block; whether a column holds dates is for inference to say."""
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _kind(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "boolean"
    return {int: "number", float: "number", str: "string", list: "list"}.get(type(value), "object")
