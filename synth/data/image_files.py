"""A folder of images: the class of each is the name of its sub-folder, or stands in a CSV file beside them.

``labels.csv`` or ``metadata.csv`` at the top of the folder names a file in each line, in any of its columns; its other
columns become columns of the table. Without it, an image's class is the path of the folder that it lies in, and there is
no class where all lie in one.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pyarrow.fs as pafs

from synth.data.csv_files import CsvFiles
from synth.data.images import MOST_BYTES
from synth.data.location import BESIDE_IMAGES, Files, reading
from synth.data.schema import IMAGE_ROWS, check_names, chosen
from synth.errors import UserError

IMAGE, LABEL = "image", "label"
READERS = 8  # threads, of which most wait for storage
AHEAD = 64  # files read at a time
BATCH = 32 << 20  # bytes from which a batch is full


class ImageFiles:
    """A table with a row for each image: its file's bytes, and its class or what the CSV file says of it."""

    def __init__(self, files: Files, columns: Sequence[str] | None, batch_rows: int, as_text: Sequence[str]) -> None:
        self.notes: list[str] = []
        self._root = files.folder or posixpath.commonpath([posixpath.dirname(path) for path in files.paths])
        table = self._listed(files, as_text)
        paths, beside = self._by_folder(files) if table is None else self._by_table(files, *table)
        self.files = replace(files, paths=tuple(paths))
        names = [IMAGE, *beside.column_names]
        check_names(names, files.name(self._root))
        wanted = chosen(names, columns, files.name(self._root))
        self.schema = pa.schema([f for f in [pa.field(IMAGE, pa.binary()), *beside.schema] if f.name in wanted])
        self._beside = beside.combine_chunks()
        self._rows = min(batch_rows, IMAGE_ROWS)
        self.counts = [1] * len(paths)

    def units(self) -> list[int]:
        return self.counts

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]:
        first, end, _ = units.indices(len(self.counts))
        if IMAGE not in self.schema.names:
            yield from self._beside.select(self.schema.names).slice(first, end - first).to_batches(self._rows)
            return
        held: list[bytes] = []
        size = 0
        for data in self._read(self.files.paths[first:end]):
            held.append(data)
            size += len(data)
            if len(held) == self._rows or size >= BATCH:
                yield self._batch(first, held)
                first, held, size = first + len(held), [], 0
        if held:
            yield self._batch(first, held)

    def _batch(self, first: int, images: list[bytes]) -> pa.RecordBatch:
        arrays = {IMAGE: pa.array(images, pa.binary())}
        for name in self._beside.column_names:
            arrays[name] = pa.concat_arrays(self._beside[name].slice(first, len(images)).chunks)
        return pa.record_batch([arrays[name] for name in self.schema.names], schema=self.schema)

    def _read(self, paths: Sequence[str]) -> Iterator[bytes]:
        with ThreadPoolExecutor(READERS, "images") as pool:
            for start in range(0, len(paths), AHEAD):
                yield from pool.map(self._bytes, paths[start : start + AHEAD])

    def _bytes(self, path: str) -> bytes:
        """A file's bytes; of one that is too large, enough to be seen to be."""
        with reading(self.files.name(path)), self.files.open(path, decompress=False) as stream:
            return bytes(stream.read(MOST_BYTES + 1))

    def _listed(self, files: Files, as_text: Sequence[str]) -> tuple[str, pa.Table] | None:
        """The CSV file's name and what it says."""
        found = files.filesystem.get_file_info([f"{self._root}/{name}" for name in BESIDE_IMAGES])
        here = [info.path for info in found if info.type == pafs.FileType.File]
        if not here:
            return None
        name = files.name(here[0])
        if len(here) > 1:
            raise UserError(f"{name}: stands beside {files.name(here[1])}: leave one of them.")
        rows = CsvFiles(replace(files, paths=(here[0],), format="csv"), None, 1 << 16, as_text)
        self.notes += rows.notes
        return name, pa.Table.from_batches(rows.batches(), rows.schema)

    def _by_folder(self, files: Files) -> tuple[list[str], pa.Table]:
        """The paths, and the class of each if there is more than one folder."""
        folders = [posixpath.dirname(path)[len(self._root) :].strip("/") for path in files.paths]
        if not any(folders):
            return list(files.paths), pa.table({})
        if stray := folders.count(""):
            self.notes.append(f"{files.name(self._root)}: {stray:,} images lie in no sub-folder, and have no class")
        return list(files.paths), pa.table({LABEL: pa.array([folder or None for folder in folders], pa.string())})

    def _by_table(self, files: Files, name: str, table: pa.Table) -> tuple[list[str], pa.Table]:
        """The paths in the order of the CSV file's lines, and its other columns."""
        there = {path[len(self._root) :].lstrip("/"): path for path in files.paths}
        if named := [c for c in table.column_names if _relative(c) in there]:
            raise UserError(
                f"{name}: its first line names an image ({named[0]}) and no columns. Put a line above it that does, such as "
                "file,label."
            )
        spelt = {c: [_relative(v) for v in table[c].to_pylist()] for c in table.column_names if _is_text(table[c])}
        hits = {column: sum(value in there for value in values) for column, values in spelt.items()}
        column = max(hits, key=lambda c: hits[c], default="")
        if not hits.get(column):
            raise UserError(
                f"{name}: no column names the images, such as '{next(iter(there))}'. Write their paths in the folder "
                "into a column, or take the file away and put the images of each class into a sub-folder."
            )
        if missing := [value for value in spelt[column] if value not in there]:
            told = ", ".join(value or "an empty cell" for value in missing[:3])
            raise UserError(
                f"{name}: column '{column}' names {len(missing):,} images that are not there ({told}"
                f"{', …' if len(missing) > 3 else ''}). Add the files or remove the lines."
            )
        if spare := len(there.keys() - set(spelt[column])):
            self.notes.append(f"{name}: {spare:,} images of the folder are not in it, and were left out")
        beside = table.drop_columns([column])
        self._check_once(name, spelt[column], beside)
        return [there[value] for value in spelt[column]], beside

    def _check_once(self, name: str, named: list[str], beside: pa.Table) -> None:
        """UserError for an image of two classes: it could be learnt from as the one and tested on as the other."""
        first: dict[str, int] = {}
        again = [(first[value], row) for row, value in enumerate(named) if first.setdefault(value, row) != row]
        if not again:
            return
        self.notes.append(
            f"{name}: {len(again):,} lines name an image again, which counts as often, such as '{named[again[0][1]]}'"
        )
        if beside.num_columns == 1:  # of more, those that are to be left out may well differ
            classes = beside.column(0).to_pylist()
            for one, other in again:
                if classes[one] != classes[other]:
                    raise UserError(
                        f"{name}: gives '{named[one]}' two classes, {classes[one]!r} and {classes[other]!r}. "
                        "Leave one of the lines."
                    )


def _is_text(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type))


def _relative(path: str | None) -> str:
    """A path in the folder as a listing has it."""
    return posixpath.normpath(path) if path else ""
