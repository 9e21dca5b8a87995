"""The reversible map between Arrow batches and what a generator sees, fitted on training rows alone, in one pass.

Memory of the fit: per column one quantile sketch and at most SUPPORT distinct numbers, or the counts of its categories;
and a sample of the rows, for what is found between columns.
The codec is JSON; its size depends on the categories and never on the rows.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from synth.data import ties
from synth.data.columns import Coder, Numbers
from synth.data.conditions import Conditions, Wanted
from synth.data.constraints import Pattern
from synth.data.crosses import find_crosses
from synth.data.fitting import ColumnFit
from synth.data.ids import fresh_ids
from synth.data.kept import Kept
from synth.data.pixels import Pixels
from synth.data.reduction import Arrays, Reduction
from synth.data.schema import Schema
from synth.errors import UserError
from synth.generators.layout import Encoded, Layout, Normal

WAYS = 8  # alternatives of a condition: what each is drawn for is estimated and decoded apart


class Codec(BaseModel):
    """``columns`` are the coders of the reduced columns (see ``synth.data.reduction``), in table order; the others are
    restored from these when rows are decoded, and ids made anew. ``crosses`` are the layout's.

    The schema is a file of its own in a release and no part of the codec's JSON.
    """

    model_config = ConfigDict(extra="forbid")

    table: Schema = Field(exclude=True)
    columns: list[Coder]
    crosses: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def reduction(self) -> Reduction:
        return Reduction(self.table)

    @cached_property
    def layout(self) -> Layout:
        names, target = [c.name for c in self.columns for _ in c.cells], self.table.target
        # One cell: a class, and no large vocabulary; or what a number has for one.
        place = names.index(target) if target is not None and names.count(target) == 1 else None
        return Layout(
            cells=tuple(cell for c in self.columns for cell in c.cells),
            values=sum(c.width for c in self.columns),
            target=place if self.table.task == "classification" else None,
            last=place if self.table.task == "regression" else None,
            normal=self._normal,
            crosses=self.crosses,
            image=next((c.image for c in self.columns if isinstance(c, Pixels)), None),
        )

    @property
    def _normal(self) -> tuple[Normal, ...]:
        """Numbers are shown by their normal scores, apart from point masses."""
        found, value, cell = list[Normal](), 0, 0
        for column in self.columns:
            if isinstance(column, Numbers) and (column.smooth or not column.cells):
                found.append(Normal(value=value, cell=cell if column.cells else None, states=column.smooth))
            value, cell = value + column.width, cell + len(column.cells)
        return tuple(found)

    def encodable(self, batch: pa.RecordBatch) -> np.ndarray:
        """(rows) boolean: which rows of a batch ``encode`` takes."""
        reduced = self.reduction.reduce(batch)
        every = [np.ones(batch.num_rows, dtype=bool), *(c.encodable(reduced[c.name]) for c in self.columns)]
        return np.logical_and.reduce(every)

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        """Cells (rows, C) int32 and values (rows, V) float64, uint8 of images, of a batch in the schema's types.

        Raises UserError for a category or a number that the training rows did not have.
        """
        return self._encoded(self.reduction.reduce(batch), batch.num_rows)

    @property
    def together(self) -> list[str]:
        """The columns of each cross, as a note has them."""
        names = [c.name for c in self.columns for _ in c.cells]
        return [" × ".join(dict.fromkeys(f"'{names[cell]}'" for cell in cross)) for cross in self.crosses]

    def crossed(self, rows: Arrays, seen: int, most: int) -> Codec:
        """The same with ``most`` crosses at most, which a sample of ``seen`` rows, reduced ones, shows."""
        if not rows or not most:
            return self
        trial = self.model_copy(deep=True)  # what coders keep for later is no part of a codec that has only been fitted
        sample = trial._encoded(rows, len(next(iter(rows.values()))))
        return self.model_copy(update={"crosses": find_crosses(trial.layout, sample, seen, most)})

    def _encoded(self, reduced: Arrays, rows: int) -> Encoded:
        parts = [
            c.encode(reduced[c.name], reduced[c.tied])
            if isinstance(c, Numbers) and c.tied is not None
            else c.encode(reduced[c.name])
            for c in self.columns
        ]
        empty = np.empty((rows, 0))
        cells = np.concatenate([empty.astype(np.int32), *(p[0] for p in parts)], axis=1)
        if self.layout.image is not None:
            return Encoded(cells, next(p[1] for c, p in zip(self.columns, parts, strict=True) if isinstance(c, Pixels)))
        return Encoded(cells, np.concatenate([empty, *(p[1] for p in parts)], axis=1))

    def decode(
        self, rows: Encoded, first: int = 0, wanted: Conditions | None = None, known: Arrays | None = None
    ) -> pa.RecordBatch:
        """A batch in the schema's types. ``first`` is the number of the first row, from which ids are made. Rows that were
        drawn as ``asked`` for what is ``wanted`` come out exactly so; values that are ``known`` stand."""
        arrays, cell, value = {}, 0, 0
        for c in self.columns:
            cells, values = len(c.cells), c.width
            own = rows.cells[:, cell : cell + cells], rows.values[:, value : value + values]
            if isinstance(c, Pixels):
                arrays[c.name] = c.decode(*own)
            elif isinstance(c, Numbers) and c.tied is not None:
                other = arrays[c.tied]
                if known is not None and c.tied in known:  # what is known stands, and is what this one equals
                    other = pc.coalesce(known[c.tied], other)
                arrays[c.name] = c.decode(*own, (wanted or {}).get(c.name), other)
            else:
                arrays[c.name] = c.decode(*own, (wanted or {}).get(c.name))
            cell, value = cell + cells, value + values
        arrays = self.reduction.restore(arrays, known)
        patterns = {c.columns[0]: c.pattern for c in self.reduction.constraints if isinstance(c, Pattern)}
        for column in self.table.columns:
            if column.name not in arrays:
                arrays[column.name] = fresh_ids(column, patterns.get(column.name), first, len(rows.cells))
        return pa.RecordBatch.from_arrays([arrays[n] for n in self.table.names], schema=self.table.arrow())

    def asked(self, wanted: Conditions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is asked of a row, as in ``Given``: states (S), low and high (V), float32. UserError where no training row
        can be so."""
        columns = [c for c in self.columns if not isinstance(c, Pixels)]
        if made := wanted.keys() - {c.name for c in columns}:
            name = min(made)
            texts = [c.text for c in self.reduction.constraints if name in c.columns]
            raise UserError(
                f"{wanted[name]}: '{name}' follows from other columns, by the constraint {' and '.join(map(repr, texts))}; "
                "put conditions on those"
            )
        parts = [c.asked(wanted.get(c.name, Wanted())) for c in columns]
        bounds = [(p.low, p.high) for c, p in zip(columns, parts, strict=True) if isinstance(c, Numbers)]
        low, high = np.asarray(bounds, np.float32).reshape(-1, 2).T
        return np.concatenate([np.empty(0, np.float32), *(p.states for p in parts)]), low, high

    def ways(self, wanted: Conditions) -> list[Conditions]:
        """The alternatives of a condition, each of which a row can be ``asked`` for: exactly one holds of a row that meets it.

        Most have one, themselves. Where a range is asked of a tied column, rows that are tied are asked for the range in the
        other column, which may be tied, too. UserError for more than WAYS.
        """
        found = [wanted]
        for column in reversed(self.columns):  # what a column is tied to comes before it
            if isinstance(column, Numbers):
                split = [(one, column.ways(one)) for one in found]
                found = [way for one, two in split for way in (two if all(map(self._can_be, two[1:])) else [one])]
            if len(found) > WAYS:
                text = " and ".join(str(asked) for name, asked in wanted.items() if found[-1][name].tied)
                raise UserError(
                    f"{text}: these columns often equal others, so there are {len(found)} ways or more for a row to be so, "
                    f"and at most {WAYS} are told apart; ask for less at once"
                )
        return found

    def _can_be(self, wanted: Conditions) -> bool:
        try:
            self.asked(wanted)
        except UserError:
            return False
        return True

    def decodes(self, wanted: Conditions) -> Conditions:
        """What of it decoding must know; cells say the rest."""
        known = [c for c in self.columns if c.name in wanted and not isinstance(c, Pixels)]
        return {c.name: wanted[c.name] for c in known if isinstance(c, Numbers) or c.base}

    def meets(self, batch: pa.RecordBatch, wanted: Conditions) -> np.ndarray:
        """(rows) boolean: which rows of a decoded batch are as wanted."""
        known = [c for c in self.columns if c.name in wanted and not isinstance(c, Pixels)]
        met = [c.meets(batch.column(c.name), wanted[c.name]) for c in known]
        return np.logical_and.reduce(met) if met else np.ones(batch.num_rows, bool)


class Fit:
    """What a pass over training rows has learnt so far: parts of a table may be looked at apart, and then merged."""

    def __init__(self, schema: Schema) -> None:
        self.schema, self.reduction = schema, Reduction(schema)
        whole = schema.image is not None  # the class is one cell
        self.columns = [ColumnFit(column, whole) for column in self.reduction.columns if column.kind != "image"]
        self.kept = Kept([column.name for column in self.columns] if schema.image is None else [])

    def update(self, batch: pa.RecordBatch) -> None:
        reduced = self.reduction.reduce(batch)
        self.kept.update(reduced)
        for column in self.columns:
            column.update(reduced[column.name])

    def merge(self, later: Fit) -> None:
        """Add what ``later`` has seen in the rows after these."""
        for mine, other in zip(self.columns, later.columns, strict=True):
            mine.merge(other)
        self.kept.merge(later.kept)

    def finish(self, *, ordered_up_to: int, atom_share: float, bins: int, crosses: int = 0) -> Codec:
        """The codec of what was seen.

        A numerical or datetime column with at most ``ordered_up_to`` distinct values, ten rows or more to each on
        average, becomes an ordered category. Any other keeps a continuous value. Where single numbers make up
        ``atom_share`` of its rows or more, it gets a cell beside it, whose states are those numbers and ``bins``
        intervals of about equal mass. Where it often equals an earlier column, at other numbers than those, that is one
        state more (see ``synth.data.ties``). ``crosses`` combinations of cells are told apart at most, those that say the
        most (see ``synth.data.crosses``).
        """
        rows, weights = self.kept.finish()
        tied = ties.find(self.reduction.columns, rows, weights, atom_share)
        coders: dict[str, Coder] = {
            c.name: c.finish(ordered_up_to, atom_share, bins, tied.get(c.name)) for c in self.columns
        }
        for column in self.reduction.columns:
            if column.shape is not None:
                coders[column.name] = Pixels(name=column.name, shape=column.shape)
        codec = Codec(table=self.schema, columns=[coders[column.name] for column in self.reduction.columns])
        return codec.crossed(rows, self.kept.seen, crosses)
