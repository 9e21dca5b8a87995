"""Encoded rows in the run's storage, for tables that a worker should not hold: fixed-width rows, read from anywhere.

Each part is a NumPy file (``.npy``) of one array of records, so that rows a … b are one range of bytes, on a disk as in
an object store: a record holds a row's ``cells`` in the narrowest integers and its ``values``. Beside it lies
a file of the rows' keys (``copies.row_keys``), by which the certificate looks for copies.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from cluster import storage
from synth.generators.layout import Encoded, Layout

PART = 64 << 20  # bytes of a part
OPEN = 512  # parts that a worker has open at a time; systems allow a process about a thousand files
MAGIC = 10  # bytes before the header of a NumPy file, the last two of which hold its length


class Stored(BaseModel):
    """Where encoded rows lie: ``parts`` are the rows of each part by name, in the order of the source."""

    model_config = ConfigDict(extra="forbid")

    location: str
    parts: dict[str, int]
    layout: Layout

    @property
    def rows(self) -> int:
        return sum(self.parts.values())

    def keys(self) -> Iterator[np.ndarray]:
        """The rows' keys, uint64, a part at a time."""
        for name in self.parts:
            yield np.load(io.BytesIO(storage.read_bytes(storage.join(self.location, f"keys-{name}"))))


def record(layout: Layout) -> np.dtype:
    """Of a row: cells (C,) in the narrowest integers that hold them, values (V,) in the layout's type, all little-endian."""
    cell = np.min_scalar_type(-max(layout.sizes, default=1)).newbyteorder("<")
    return np.dtype(
        [("cells", cell, len(layout.cells)), ("values", np.dtype(layout.dtype).newbyteorder("<"), layout.values)]
    )


class Writer:
    """Writes the encoded rows of a piece of the source, in bounded memory.

    Parts are named by the number of the piece's first row, so a task that runs again writes the same files.
    """

    def __init__(self, location: str, layout: Layout, first: int) -> None:
        self.location, self.record, self.first = location, record(layout), first
        self.parts: dict[str, int] = {}
        self._rows: list[np.ndarray] = []
        self._keys: list[np.ndarray] = []

    def add(self, rows: Encoded, keys: np.ndarray) -> None:
        """``rows`` as ``Codec.encode`` gives them, and their keys (rows,) uint64. UserError where storage refuses."""
        records = np.empty(len(keys), self.record)
        records["cells"], records["values"] = rows.cells, rows.values
        self._rows.append(records)
        self._keys.append(keys)
        if sum(r.nbytes for r in self._rows) >= PART:
            self._flush()

    def finish(self) -> dict[str, int]:
        """The rows of each part that was written, by name."""
        self._flush()
        return self.parts

    def _flush(self) -> None:
        if sum(map(len, self._keys)):
            name = f"{self.first:015}-{len(self.parts):05}.npy"
            self.parts[name] = self._write(name, self._rows)
            self._write(f"keys-{name}", self._keys)
        self._rows, self._keys = [], []

    def _write(self, name: str, arrays: list[np.ndarray]) -> int:
        whole, file = np.concatenate(arrays), io.BytesIO()
        np.save(file, whole, allow_pickle=False)
        storage.write_bytes(storage.join(self.location, name), file.getvalue())
        return len(whole)


class Reader:
    """Rows of ``stored`` by number; may be called from several threads."""

    def __init__(self, stored: Stored) -> None:
        self.filesystem, self.path = storage.resolve(stored.location)
        self.record, self.names = record(stored.layout), list(stored.parts)
        self.ends = list(accumulate(stored.parts.values()))
        self.rows = stored.rows
        self._opened = lru_cache(OPEN)(self._open)

    def read(self, start: int, count: int) -> np.ndarray:
        """(count,) records from row ``start`` on, as if the first row came after the last one.

        Raises OSError where a part cannot be read or is shorter than it was.
        """
        found = []
        while count:
            start %= self.rows
            part = bisect_right(self.ends, start)
            begin = self.ends[part - 1] if part else 0
            here = min(count, self.ends[part] - start)
            file, header = self._opened(part)
            size = here * self.record.itemsize
            data = file.read_at(size, header + (start - begin) * self.record.itemsize)
            if len(data) != size:
                raise OSError(f"{self.path}/{self.names[part]} is shorter than it was written")
            found.append(np.frombuffer(data, self.record))
            start, count = start + here, count - here
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _open(self, part: int) -> tuple[pa.NativeFile, int]:
        """A part's file, which closes when nobody holds it any more, and the bytes before its first row."""
        file = self.filesystem.open_input_file(f"{self.path}/{self.names[part]}")
        return file, MAGIC + int.from_bytes(file.read_at(MAGIC, 0)[-2:], "little")
