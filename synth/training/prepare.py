"""From a source to what training needs: schema, split, codec, encoded rows, and the rows that the certificate looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from synth.data import codec as codecs
from synth.data.codec import Codec
from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.schema import Schema, nearest
from synth.data.source import Source, open_source
from synth.data.split import PARTS, Split
from synth.errors import UserError
from synth.evaluation.copies import row_keys
from synth.generators.layout import Encoded
from synth.recipe import Recipe

MOST_EVALUATED = 200_000  # rows of a part that the certificate looks at; more are sampled, and a note says so


@dataclass
class Prepared:
    """``encoded`` are the training rows, batch by batch; ``real`` and ``test`` what the certificate compares;
    ``train_keys``, uint64 (rows,), what it looks for copies among: every training row, also those ``real`` lacks."""

    schema: Schema
    codec: Codec
    encoded: list[Encoded]
    real: pa.Table
    test: pa.Table
    train_keys: np.ndarray
    rows: dict[str, int]
    sources: dict[str, Source]
    notes: list[str] = field(default_factory=list)


def open_sources(data: Any, test: Any, recipe: Recipe) -> tuple[dict[str, Source], Schema]:
    """Open the tables and infer the schema; whatever is wrong with them is found here, before anything starts."""
    as_text = [*recipe.categorical, *recipe.exclude]
    split = _split(recipe)
    if test is not None and split.test:
        raise UserError(
            f"the split {split} keeps rows for the test, and --test names a file of them: give three shares, "
            "such as --split 1,0,0, or leave --test out"
        )
    if test is None and not split.test:
        raise UserError(f"the split {split} leaves no rows to certify on: give a fourth share, or --test FILE")
    sources = {"train": open_source(data, as_text=as_text)}
    schema = infer(
        sources["train"], target=recipe.target, categorical=recipe.categorical, numerical=recipe.numerical,
        datetime=recipe.datetime, ids=recipe.id, exclude=recipe.exclude,
    )  # fmt: skip
    if test is not None:
        # A category that looks like a number or a truth value in the other file is one all the same.
        sources["test"] = open_source(test, as_text=[*as_text, *schema.text_columns])
        for column in schema.learnt:
            if column.name not in (names := sources["test"].schema.names):
                where = f"{sources['test'].location}: column '{column.name}' of the training rows is missing"
                raise UserError(f"{where}.{nearest(column.name, names)}")
    return sources, schema


def prepare(sources: dict[str, Source], schema: Schema, recipe: Recipe) -> Prepared:
    """Split, fit the codec in one pass over the training rows, and encode them in another."""
    split, learnt = _split(recipe), [c.name for c in schema.learnt]

    def parts() -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        for batch in _conformed(sources["train"], schema):
            yield split.assign(batch.select(learnt)), batch

    def of(name: str) -> Iterator[pa.RecordBatch]:
        for part, batch in parts():
            yield batch.filter(pa.array(part == PARTS.index(name)))

    counts = np.zeros(len(PARTS), np.int64)

    def counted() -> Iterator[pa.RecordBatch]:
        for part, batch in parts():
            counts[:] += np.bincount(part, minlength=len(PARTS))
            yield batch.filter(pa.array(part == PARTS.index("train")))

    codec = codecs.fit(counted(), schema, **recipe.codec.model_dump())
    split.check(counts)
    if not codec.layout.cells and not codec.layout.values:
        raise UserError(
            f"{sources['train'].location}: every column holds one and the same value in all training rows, so there is "
            "nothing to learn. Bring rows that differ."
        )
    rows = dict(zip(PARTS, counts.tolist(), strict=True))
    test = _conformed(sources["test"], schema) if "test" in sources else of("test")
    rows["test"] = sources["test"].rows() if "test" in sources else rows["test"]
    keys: list[np.ndarray] = []

    def keyed() -> Iterator[pa.RecordBatch]:
        for batch in of("train"):
            keys.append(row_keys(schema, batch))
            yield batch

    real = _gathered(keyed(), rows["train"], schema, recipe.seed)
    held = _gathered(test, rows["test"], schema, recipe.seed)
    notes = list(schema.notes)
    for what, part, looked_up in (("train", real, "; exact copies are looked for among all"), ("test", held, "")):
        if part.num_rows < rows[what]:
            notes.append(
                f"the certificate is measured on {part.num_rows:,} of the {rows[what]:,} {what} rows, drawn at "
                f"random{looked_up}"
            )
    return Prepared(
        schema=schema,
        codec=codec,
        encoded=list(codecs.encode_all(codec, of("train"))),
        real=real,
        test=held,
        train_keys=np.concatenate(keys),
        rows=rows,
        sources=sources,
        notes=notes,
    )


def _split(recipe: Recipe) -> Split:
    assert recipe.split is not None, "resolved when the run begins"
    train, select, confirm, *test = recipe.split
    return Split(train, select, confirm, test[0] if test else 0.0, seed=recipe.seed)


def _conformed(source: Source, schema: Schema) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in source.batches():
        start = first
        yield conform(batch, schema, lambda row, start=start: source.place(start + row))  # type: ignore[misc]
        first += batch.num_rows


def _gathered(batches: Iterator[pa.RecordBatch], rows: int, schema: Schema, seed: int) -> pa.Table:
    """All rows, or of more than MOST_EVALUATED a random sample of about so many."""
    draw = np.random.default_rng([seed, rows])
    share = MOST_EVALUATED / max(rows, 1)
    kept = (b if share >= 1 else b.filter(pa.array(draw.random(b.num_rows) < share)) for b in batches)
    return pa.Table.from_batches(kept, schema=schema.arrow())
