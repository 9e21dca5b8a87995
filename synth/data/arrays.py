"""NumPy arrays as a table: one of three or four dimensions holds images, those of one dimension are columns.

Images are handed on as encoded ones are, so that there is one path for both: as portable pixmaps, a header and the
pixels as they are.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from synth.data.image_files import IMAGE
from synth.data.location import Files, reading
from synth.data.schema import IMAGE_ROWS, check_names, chosen, plain_type
from synth.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


class Arrays:
    """A table of arrays of equal length in memory, by name of the column.

    Images are uint8 of (n, height, width), or with channels, (n, height, width, 1 or 3). UserError for others.
    """

    def __init__(self, arrays: Mapping[str, Any], columns: Sequence[str] | None, batch_rows: int, where: str) -> None:
        found = {str(name): _column(np.asarray(array), f"{where}: {name}") for name, array in arrays.items()}
        check_names(list(found), where)
        lengths = {name: len(array) for name, array in found.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {count:,}" for name, count in lengths.items())
            raise UserError(f"{where}: its arrays differ in length: {told}. Give those that belong together alone.")
        self._arrays = {name: found[name] for name in chosen(list(found), columns, where)}
        self.schema = pa.schema(
            [(n, a.type if isinstance(a, pa.Array) else pa.binary()) for n, a in self._arrays.items()]
        )
        self.counts = [next(iter(lengths.values()))]
        self.notes: list[str] = []
        self._rows = min(batch_rows, IMAGE_ROWS)

    def units(self) -> list[int]:
        return self.counts

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]:
        for start in range(0, self.counts[0] if self.counts[units] else 0, self._rows):
            parts = [self._arrays[name][start : start + self._rows] for name in self.schema.names]
            columns = [part if isinstance(part, pa.Array) else _pixmaps(part) for part in parts]
            yield pa.record_batch(columns, schema=self.schema)


class ArrayFiles:
    """A table in NumPy files: .npy with images, or .npz with images and what belongs to them."""

    def __init__(self, files: Files, columns: Sequence[str] | None, batch_rows: int) -> None:
        self.files, self._columns, self._batch_rows = files, columns, batch_rows
        opened = [self._open(path) for path in files.paths]
        self.schema = opened[0].schema
        for path, one in zip(files.paths, opened, strict=True):
            if one.schema != self.schema:
                raise UserError(f"{files.name(path)}: holds other arrays than {files.name(files.paths[0])}.")
        self.counts = [one.counts[0] for one in opened]
        self.notes: list[str] = []

    def units(self) -> list[int]:
        return self.counts

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]:
        for path in self.files.paths[units]:
            yield from (batch.select(self.schema.names) for batch in self._open(path).batches())

    def _open(self, path: str) -> Arrays:
        """A file's arrays: left on the disk where NumPy can, and never unpickled."""
        name = self.files.name(path)
        with reading(name):
            file: str | io.BytesIO = path
            if not isinstance(self.files.filesystem, pafs.LocalFileSystem):
                with self.files.open(path, decompress=False) as stream:
                    file = io.BytesIO(stream.read())
            try:
                found = np.load(file, mmap_mode="r" if file is path else None, allow_pickle=False)
                if isinstance(found, np.ndarray):
                    arrays = {IMAGE: found}
                else:
                    with found:
                        arrays = dict(found.items())
            except (ValueError, zipfile.BadZipFile, zlib.error) as e:
                raise UserError(
                    f"{name}: is no whole NumPy file of numbers or text ({e}). Write it with numpy.savez."
                ) from e
        if not are_images(arrays):
            raise UserError(f"{name}: holds no images: uint8 of (n, height, width) or (n, height, width, channels).")
        return Arrays(arrays, self._columns, self._batch_rows, name)


def are_images(arrays: Mapping[Any, Any]) -> bool:
    """Whether one of these is an array of images."""
    return any(isinstance(array, np.ndarray) and array.ndim >= 3 for array in arrays.values())


def encoded_objects(values: pd.Series) -> pa.Array | None:
    """A column of a data frame whose values are arrays or Pillow's images, as encoded ones; None if the first is neither.

    UserError, naming the row, for one that is of another kind than the first, and for one that cannot be encoded.
    """
    missing = values.isna().to_numpy()
    first = values.iloc[int(np.argmin(missing))] if not missing.all() else None
    known = next(((test, encode) for test, encode in _OBJECTS if test(first)), None)
    if known is None:
        return None
    test, encode = known
    files: list[bytes | None] = []
    for row, (value, gone) in enumerate(zip(values, missing, strict=True), start=1):
        place = f"the data frame, row {row}: column '{values.name}'"
        if not gone and not test(value):
            raise UserError(
                f"{place} should hold an image, as its first rows do, but here stands {value!r}. Correct it."
            )
        files.append(None if gone else encode(value, place))
    return pa.array(files, pa.binary())


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim >= 2


def _is_pillow(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "PIL"


def _pixmap(image: np.ndarray, place: str) -> bytes:
    column = _column(image[None], place)
    assert isinstance(column, np.ndarray), "images stay arrays"
    return bytes(_pixmaps(column)[0].as_py())


def _png(image: Any, place: str) -> bytes:
    file = io.BytesIO()
    try:
        image.save(file, "PNG")
    except OSError as e:
        raise UserError(f"{place}: {e}. Convert the image, such as image.convert('RGB').") from e
    return file.getvalue()


_OBJECTS = ((_is_array, _pixmap), (_is_pillow, _png))


def _column(array: np.ndarray, what: str) -> np.ndarray | pa.Array:
    """One column: (n,) in Arrow's type, or images (n, height, width, channels)."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        try:
            values = pa.array(array)
            return values.cast(plain_type(values.type))
        except pa.ArrowException as e:
            raise UserError(f"{what}: mixes types or holds what Arrow cannot ({e}). Give it one type.") from e
    if array.ndim not in (3, 4):
        raise UserError(
            f"{what}: has shape {array.shape}. For classes give one number an image, such as y.argmax(1), and for images "
            "three dimensions."
        )
    if array.dtype != np.uint8:
        raise UserError(
            f"{what}: images of {array.dtype}. Give uint8, such as (x * 255).round().astype('uint8') of numbers from 0 to 1."
        )
    array = array[..., None] if array.ndim == 3 else array
    if array.shape[-1] not in (1, 3) or 0 in array.shape[1:]:
        raise UserError(
            f"{what}: images of shape {array.shape[1:]}. Give (n, height, width) or (n, height, width, channels) with 1 or "
            "3 channels; x.transpose(0, 2, 3, 1) puts the channels last."
        )
    return array


def _pixmaps(images: np.ndarray) -> pa.Array:
    """Images (n, height, width, 1 or 3) as portable pixmaps, all at once."""
    n, height, width, channels = images.shape
    header = np.frombuffer(f"P{5 if channels == 1 else 6} {width} {height} 255\n".encode(), np.uint8)
    files = np.concatenate([np.tile(header, (n, 1)), images.reshape(n, height * width * channels)], axis=1)
    ends = np.arange(n + 1, dtype=np.int32) * files.shape[1]
    return pa.BinaryArray.from_buffers(pa.binary(), n, [None, pa.py_buffer(ends), pa.py_buffer(files)])
