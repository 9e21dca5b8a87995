"""Gaps of a table, filled by a release: missing cells, whole columns that are missing, and rows of which little is known.

What is known stays as it is, to the last digit, also where the model has never seen it: then the rest of the row is drawn
as if it were not known, and a note says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth.data import conform
from synth.data.categories import Categories
from synth.data.codec import Codec
from synth.data.columns import Numbers
from synth.data.conditions import Conditions, Wanted
from synth.data.conform import Place
from synth.data.knowledge import Known, know, tied
from synth.data.pixels import Pixels
from synth.data.reduction import Arrays
from synth.data.schema import arrow_type
from synth.data.source import Source
from synth.errors import UserError
from synth.generators.base import Draw
from synth.provenance import lineage
from synth.provenance.manifest import Manifest
from synth.provenance.origin import Signed
from synth.sampling import AGAIN, BLOCK, Sampler, attempt


class Filling:
    """One table on its way through a release. ``batches`` yields it, and ``notes`` then say what was met."""

    def __init__(self, sampler: Sampler, source: Source, seed: int = 0) -> None:
        """Raises UserError for a table that has nothing to do with the release."""
        self.sampler, self.source, self.seed = sampler, source, seed
        codec, self.names = sampler.codec, set(source.schema.names)
        if codec.table.image is not None:
            raise UserError(f"{source.location}: a release of images has no gaps to fill")
        learnt = [c.name for c in codec.table.learnt]
        if not self.names & set(learnt):
            raise UserError(
                f"{source.location}: has none of the columns that the release has learnt: {', '.join(learnt[:20])}"
            )
        self.kept = [n for n in source.schema.names if n not in learnt]
        self.added = [n for n in codec.table.names if n not in self.names]
        self.filled, self.unseen, self.unused = Counter[str](), Counter[str](), Counter[str]()

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns as they are, then those that it lacks. A type that holds no drawn value is widened."""
        drawn = self.sampler.schema.arrow()
        known = {c.name for c in self.sampler.schema.learnt}
        fields = [
            pa.field(f.name, _wide_enough(f.type, drawn.field(f.name).type) if f.name in known else f.type)
            for f in self.source.schema
        ]
        return pa.schema([*fields, *(drawn.field(name) for name in self.added)])

    @property
    def notes(self) -> list[str]:
        """What was met, of the rows that have passed."""
        notes = [*self.source.notes, *(f"'{n}': {count:,} missing cells filled" for n, count in self.filled.items())]
        notes += [f"'{name}': the table has no such column; it was added" for name in self.added]
        notes += [
            f"'{name}': {count:,} values that the training rows do not have were kept, and taken for unknown by the model"
            for name, count in self.unseen.items()
        ]
        notes += [
            f"'{name}': {count:,} values, of whose lower bounds one is missing, were kept, and taken for unknown by the model"
            for name, count in self.unused.items()
        ]
        if self.kept:
            notes.append(f"not learnt by the release, and left as they are: {', '.join(self.kept[:20])}")
        return notes

    def origin(self, manifest: Manifest) -> Signed:
        """Of the filled table, by the release with this manifest: with a drawn cell none of its rows counts as real any more.
        OriginError where what the table says of itself was altered."""
        depth = max(claim.depth for claim in lineage.claims(self.source))
        there = self.source.fingerprint()
        return Signed.of(
            manifest, seed=self.seed, first=0, rows=self.source.rows(), key=there, asked={"filled": there}, depth=depth
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The filled table, at most BLOCK rows to a batch. A row depends on the release, the seed and the known values of
        the rows of its block."""
        for block, batch in enumerate(_blocks(self.source)):
            yield self._filled(batch, block)

    def _filled(self, batch: pa.RecordBatch, block: int) -> pa.RecordBatch:
        codec, first = self.sampler.codec, block * BLOCK

        def place(row: int) -> str:
            return self.source.place(first + row)

        given = self._given(batch, place)
        known = know(codec, given, batch.num_rows, place)
        self.unused.update(known.unused)
        uniform = Draw("fill", self.seed, block, "tied").uniform(batch.num_rows, len(codec.columns))
        known = tied(codec, known, uniform.numpy())
        asked = _asked(codec, known, batch.num_rows, self.unseen)
        drawn, broken = self.sampler.settled(
            batch.num_rows,
            lambda again: attempt(again, "fill", self.seed, block, device=self.sampler.device), asked,
            lambda rows: codec.decode(rows, first, _present(codec), known.whole),
        )  # fmt: skip
        for text, marks in broken.items():
            raise UserError(
                f"{place(int(marks.argmax()))}: of {AGAIN} completions of the row all break the constraint {text!r}. "
                "Correct what is given, or leave more of it empty."
            )
        arrays = []
        for field in self.schema:
            if field.name not in self.names:
                arrays.append(drawn.column(field.name))
                continue
            array = batch.column(field.name)
            if field.name in given:
                gaps = pc.is_null(array, nan_is_null=True)
                if gaps.true_count:
                    self.filled[field.name] += gaps.true_count
                    array = pc.if_else(gaps, drawn.column(field.name).cast(field.type), array.cast(field.type))
            arrays.append(array.cast(field.type))
        return pa.record_batch(arrays, schema=self.schema)

    def _given(self, batch: pa.RecordBatch, place: Place) -> Arrays:
        """The learnt columns that the table has, in the release's types."""
        found = {}
        for column in self.sampler.schema.learnt:
            if column.name in self.names:
                array = batch.column(column.name)
                if pa.types.is_null(array.type):
                    array = pa.nulls(len(array), pa.string())
                array = conform.cast(array, arrow_type(column.dtype), column.name, place)
                if column.kind == "numerical":
                    conform.refuse_infinity(array, column.name, place)
                found[column.name] = array
        return found


def _present(codec: Codec) -> Conditions:
    """That no column is missing, of those that ever are not."""
    return {c.name: Wanted(missing=False) for c in codec.columns if not isinstance(c, Categories) or c.values}


def _asked(codec: Codec, known: Known, rows: int, unseen: Counter[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arrays of a ``Given``: what is known of each row, and that nothing else is missing."""
    states, low, high = (np.repeat(a[None], rows, 0) for a in codec.asked(_present(codec)))
    state = value = 0
    for c in codec.columns:
        assert not isinstance(c, Pixels), "refused at the start"
        sizes, array = [len(cell.shares) for cell in c.cells], known.reduced[c.name]
        there = c.encodable(array) & array.is_valid().to_numpy(zero_copy_only=False)
        mask = pa.array(there)
        if isinstance(c, Numbers) and c.tied is not None:
            coded = c.encode(array.filter(mask), known.reduced[c.tied].filter(mask))
        else:
            coded = c.encode(array.filter(mask))
        at, (cells, values) = np.flatnonzero(there), coded
        states[at, state : state + sum(sizes)] = 0
        offsets = state + np.cumsum([0, *sizes])[:-1]
        states[at[:, None], cells + offsets.astype(np.int64)] = 1
        low[at, value : value + values.shape[1]] = high[at, value : value + values.shape[1]] = values
        if count := int((~there & array.is_valid().to_numpy(zero_copy_only=False)).sum()):
            unseen[c.name] += count
        if sizes and (allowed := known.allowed.get(c.name)) is not None:
            partly = allowed.any(1)
            states[partly, state : state + sum(sizes)] = allowed[partly]
        state, value = state + sum(sizes), value + isinstance(c, Numbers)
    return states, low, high


def _blocks(source: Source) -> Iterator[pa.RecordBatch]:
    """The rows in batches of BLOCK, however they are stored."""
    held: list[pa.RecordBatch] = []
    for batch in source.batches():
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, BLOCK - sum(b.num_rows for b in held))
            held.append(piece)
            start += piece.num_rows
            if sum(b.num_rows for b in held) == BLOCK:
                yield pa.concat_batches(held)
                held = []
    if held:
        yield pa.concat_batches(held)


def _wide_enough(kind: pa.DataType, drawn: pa.DataType) -> pa.DataType:
    """A type for both; text where the table holds text."""
    if pa.types.is_string(kind) or kind == drawn:
        return kind
    try:
        fields = [pa.schema([pa.field("x", one)]) for one in (kind, drawn)]
        return pa.unify_schemas(fields, promote_options="permissive").field("x").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return drawn
