"""Tables of images as the metrics see them: pixels, and classes read with one lens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.hashing import hash_values
from synth.data.image_columns import label_column, pixels
from synth.data.schema import Schema
from synth.errors import UserError
from synth.evaluation.frame import Lens

MEASURED = 10_000
MOST_BYTES = 2**29
"""Images of each table that are looked at, and bytes of them; of more as many are drawn at random."""
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Images:
    """Images that are looked at: ``pixels`` uint8 (n, height, width, channels), ``rows`` (n,) of their table,
    ``classes`` (n,) as ranks among those of real train, -1 for none of them, or None without labels."""

    pixels: NDArray[np.uint8]
    rows: NDArray[np.intp]
    keys: NDArray[np.uint64]
    classes: NDArray[np.intp] | None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, at: NDArray[np.intp]) -> Images:
        classes = None if self.classes is None else self.classes[at]
        return Images(self.pixels[at], self.rows[at], self.keys[at], classes)

    def draw(self, count: int, rng: np.random.Generator) -> Images:
        return self.take(np.sort(rng.permutation(len(self))[:count]))

    def labelled(self) -> Images:
        assert self.classes is not None
        return self.take(np.flatnonzero(self.classes >= 0))


def image_shape(schema: Schema) -> tuple[int, int, int]:
    assert schema.image is not None
    shape = schema[schema.image].shape
    assert shape is not None
    return shape


def most_measured(schema: Schema) -> int:
    """How many images of a table are looked at, and so how many synthetic ones are worth drawing."""
    return min(MEASURED, max(1, MOST_BYTES // math.prod(image_shape(schema))))


def label_lens(schema: Schema, tables: Mapping[str, pa.Table], notes: list[str]) -> Lens | None:
    """A lens of the labels alone, fitted on the tables that have them; None where there are none to learn."""
    label = label_column(schema)
    if label is None or schema[label].kind not in ("categorical", "boolean"):
        what = "no column names a class" if label is None else f"{label!r} is {schema[label].kind}, and no class"
        notes.append(f"{what}: classes, label agreement and utility were not measured")
        return None
    if label not in tables["the synthetic table"].column_names:
        notes.append(f"the synthetic table has no {label!r}: label agreement and utility were not measured")
        tables = {what: table for what, table in tables.items() if what != "the synthetic table"}
    lens = Lens.fit(Schema(columns=[schema[label]]), {what: _only(table, label) for what, table in tables.items()})
    known = lens.vocabularies[0].known
    if not 2 <= known <= MOST_CLASSES:
        notes.append(
            f"{label!r} has {known:,} classes, of which there must be 2 to {MOST_CLASSES:,}: classes, "
            "label agreement and utility were not measured"
        )
        return None
    return lens


def _only(table: pa.Table, name: str) -> pa.Table:
    return table.select([n for n in table.column_names if n == name])


def read_images(
    table: pa.Table, what: str, schema: Schema, lens: Lens | None, rng: np.random.Generator, notes: list[str]
) -> Images:
    name = schema.image
    if name not in table.column_names:
        raise UserError(f"{what} lacks the column {name!r}, which holds the images")
    if table.num_rows == 0:
        raise UserError(f"{what} has no rows: there is nothing to measure")
    rows, room = np.arange(table.num_rows), most_measured(schema)
    if table.num_rows > room:
        rows = np.sort(rng.permutation(table.num_rows)[:room])
        notes.append(
            f"{what}: {room:,} of its {table.num_rows:,} images are measured, drawn at random (exact copies are "
            "looked for among all)"
        )
        table = table.take(rows)
    column = table.column(name).combine_chunks()
    try:
        images = pixels(column, image_shape(schema))
    except UserError as error:
        raise UserError(f"{what}: column {name!r}: {error}") from error
    classes = None
    if lens is not None and lens.names[0] in table.column_names:
        codes = lens.read(table, what)[1][:, 0].astype(np.intp)
        classes = np.where(codes > lens.vocabularies[0].known, -1, codes - 1)
        if (strange := int((classes < 0).sum())) > 0:
            notes.append(f"{what}: {strange:,} images have no label, or one that real train lacks")
    return Images(images, rows, hash_values(column), classes)
