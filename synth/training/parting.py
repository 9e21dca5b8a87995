"""The rows of a source on their way to training: conformed, without those that break a constraint, and split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from synth.data.codec import Codec
from synth.data.conform import conform
from synth.data.reduction import Reduction
from synth.data.schema import Schema
from synth.data.source import Piece, Source
from synth.data.split import Split
from synth.errors import UserError
from synth.generators.layout import Encoded
from synth.recipe import Recipe

DECODED_BYTES = 64 << 20  # of the images that are decoded at a time


def split_of(recipe: Recipe) -> Split:
    assert recipe.split is not None, "resolved when the run begins"
    train, select, confirm, *test = recipe.split
    return Split(train, select, confirm, test[0] if test else 0.0, seed=recipe.seed)


def parted(
    piece: Piece, schema: Schema, split: Split, broken: Counter[str] | None = None
) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """The batches of a piece, without rows that break a constraint, each after the part of the split of each of its rows.

    ``broken`` counts the rows that break each constraint.
    """
    learnt, reduction = [c.name for c in schema.learnt], Reduction(schema)
    ids = {name for c in reduction.constraints for name in c.columns if schema[name].kind == "id"}
    for batch, rows in conformed(piece, schema):
        # Ids are let go when rows are conformed; here their own values are tested.
        whole = [batch.column(name) if name in ids else rows.column(name) for name in schema.names]
        found = reduction.broken(pa.record_batch(whole, schema.names))
        if broken is not None:
            broken.update({text: int(marks.sum()) for text, marks in found.items() if marks.any()})
        if any(marks.any() for marks in found.values()):
            rows = rows.filter(pa.array(~np.logical_or.reduce(list(found.values()))))
        yield split.assign(rows.select(learnt)), rows


def conformed(piece: Piece, schema: Schema) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The batches of a piece as they are read and as the schema has them, of images few enough to be decoded at a time."""
    step = as_many(schema, piece.source.rows(), DECODED_BYTES)
    for first, batch in piece.batches():
        for start in range(0, batch.num_rows, step):
            part = batch.slice(start, step)
            yield part, conform(part, schema, piece.place(first + start))


def judged(broken: Counter[str], train: Source, recipe: Recipe) -> list[str]:
    """Notes on the constraints that real rows break; UserError where a larger share of them does than the recipe allows."""
    rows = train.rows()
    said = {text: f"{text!r} is broken by {n:,} of {rows:,} rows ({n / rows:.2%})" for text, n in broken.items()}
    if refused := [said[text] for text, n in broken.items() if n > recipe.broken * rows]:
        share = math.ceil(max(broken.values()) / rows * 1000) / 1000
        remedy = f", or have such rows left out: --set broken={share:g}" if share < 1 else ""
        raise UserError(
            f"{train.location}: the constraint "
            + "; the constraint ".join(refused)
            + f". Correct the rows or the constraint{remedy}"
        )
    return [f"the constraint {text}; these rows were left out" for text in said.values()]


def as_many(schema: Schema, most: int, size: int) -> int:
    """``most`` rows, or fewer whose images have ``size`` bytes in all."""
    shape = schema[schema.image].shape if schema.image is not None else None
    return max(1, min(most, size // math.prod(shape))) if shape else most


def drawn(batch: pa.RecordBatch, share: float, draw: np.random.Generator) -> pa.RecordBatch:
    """All rows, or a random sample of about so many."""
    return batch if share >= 1 else batch.filter(pa.array(draw.random(batch.num_rows) < share))


def narrow(rows: Encoded, codec: Codec) -> Encoded:
    """Encoded rows with values as they are held."""
    return Encoded(rows.cells, rows.values.astype(codec.layout.dtype))
