"""The reversible map between Arrow batches and what a generator sees, fitted on training rows alone, in one pass.

Memory of the fit: per column one quantile sketch and at most SUPPORT distinct numbers, or the counts of its categories.
The codec is JSON; its size depends on the categories and never on the rows.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import ndtri

from synth.data.categories import Categories, as_text
from synth.data.columns import Coder, Numbers
from synth.data.conditions import Conditions, Wanted
from synth.data.conform import without_nan
from synth.data.constraints import Pattern
from synth.data.ids import fresh_ids
from synth.data.numbers import Lattice, LatticeFit, ticks
from synth.data.pixels import Pixels
from synth.data.reduction import Arrays, Reduction
from synth.data.schema import Column, Schema, arrow_type
from synth.data.sketch import Counter, QuantileSketch
from synth.errors import UserError
from synth.generators.layout import Encoded, Layout, Normal

SUPPORT = 4096  # distinct numbers up to which samples repeat observed ones instead of any number on the lattice
KNOTS = 1000
EDGE = 3e-5  # quantiles are kept off 0 and 1: ±4 standard deviations


class Codec(BaseModel):
    """``columns`` are the coders of the reduced columns (see ``synth.data.reduction``), in table order; the others are
    restored from these when rows are decoded, and ids made anew.

    The schema is a file of its own in a release and no part of the codec's JSON.
    """

    model_config = ConfigDict(extra="forbid")

    table: Schema = Field(exclude=True)
    columns: list[Coder]

    @cached_property
    def reduction(self) -> Reduction:
        return Reduction(self.table)

    @cached_property
    def layout(self) -> Layout:
        names, target = [c.name for c in self.columns for _ in c.cells], self.table.target
        # A class: one cell, and no number or large vocabulary.
        classified = self.table.task == "classification" and target is not None and names.count(target) == 1
        return Layout(
            cells=tuple(cell for c in self.columns for cell in c.cells),
            values=sum(c.width for c in self.columns),
            target=names.index(target) if classified and target is not None else None,
            normal=self._normal,
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
        reduced = self.reduction.reduce(batch)
        parts = [c.encode(reduced[c.name]) for c in self.columns]
        empty = np.empty((batch.num_rows, 0))
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
            arrays[c.name] = c.decode(*own) if isinstance(c, Pixels) else c.decode(*own, (wanted or {}).get(c.name))
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
        self.columns = [_ColumnFit(column, whole) for column in self.reduction.columns if column.kind != "image"]

    def update(self, batch: pa.RecordBatch) -> None:
        reduced = self.reduction.reduce(batch)
        for column in self.columns:
            column.update(reduced[column.name])

    def merge(self, later: Fit) -> None:
        """Add what ``later`` has seen in the rows after these."""
        for mine, other in zip(self.columns, later.columns, strict=True):
            mine.merge(other)

    def finish(self, *, ordered_up_to: int, atom_share: float, bins: int) -> Codec:
        """The codec of what was seen.

        A numerical or datetime column with at most ``ordered_up_to`` distinct values, ten rows or more to each on
        average, becomes an ordered category. Any other keeps a continuous value. Where single numbers make up
        ``atom_share`` of its rows or more, it gets a cell beside it, whose states are those numbers and ``bins``
        intervals of about equal mass.
        """
        coders: dict[str, Coder] = {c.name: c.finish(ordered_up_to, atom_share, bins) for c in self.columns}
        for column in self.reduction.columns:
            if column.shape is not None:
                coders[column.name] = Pixels(name=column.name, shape=column.shape)
        return Codec(table=self.schema, columns=[coders[column.name] for column in self.reduction.columns])


class _ColumnFit:
    """What one pass keeps of one column."""

    def __init__(self, column: Column, whole: bool) -> None:
        self.column, self.name, self.whole = column, column.name, whole
        self.continuous = column.kind in ("numerical", "datetime")
        self.counter = Counter(column.name)
        self.lattice = LatticeFit(column)
        self.sketch = QuantileSketch()
        self.missing = 0
        self.few: tuple[np.ndarray, np.ndarray] | None = (np.empty(0), np.empty(0, np.int64))

    def update(self, array: pa.Array) -> None:
        if not self.continuous:
            self.counter.update(without_nan(array))
            self.missing = self.counter.missing
            return
        k = self.lattice.update(array)
        present = k[~np.isnan(k)]
        self.missing += len(k) - len(present)
        self.sketch.update(present)
        if self.few is not None:
            self._count(*np.unique(present, return_counts=True))

    def merge(self, later: _ColumnFit) -> None:
        if not self.continuous:
            self.counter.merge(later.counter)
            self.missing = self.counter.missing
            return
        apart = self.lattice.merge(later.lattice)
        self.missing += later.missing
        later.sketch.shift(apart)
        self.sketch.merge(later.sketch)
        if later.few is None:
            self.few = None
        elif self.few is not None:
            self._count(later.few[0] + apart, later.few[1])

    def _count(self, present: np.ndarray, times: np.ndarray) -> None:
        """Add distinct numbers, each so many times, to ``few`` while they are few."""
        assert self.few is not None
        values, index = np.unique(np.append(self.few[0], present), return_inverse=True)
        counts = np.bincount(index, np.append(self.few[1], times), len(values)).astype(np.int64)
        self.few = (values, counts) if len(values) <= SUPPORT else None

    def finish(self, ordered_up_to: int, atom_share: float, bins: int) -> Coder:
        if not self.continuous:
            values, counts = self.counter.counts()
            return self._categories(values, counts, ordered=False)
        lattice = self.lattice.finish()
        if self.few is not None:
            k, counts = self._on(lattice, self.few[0]), self.few[1]
            if len(k) <= max(1, min(ordered_up_to, counts.sum() // 10)):
                return self._categories(lattice.to_arrow(k), counts, ordered=True)
            return self._numbers(lattice, k, counts / counts.sum(), k, atom_share, bins)
        levels = (np.arange(KNOTS) + 0.5) / KNOTS
        grid = self._on(lattice, self.sketch.quantiles(np.concatenate([[0.0], levels, [1.0]])))
        knots, repeats = np.unique(grid, return_counts=True)
        return self._numbers(lattice, knots, repeats / repeats.sum(), np.empty(0), atom_share, bins)

    @staticmethod
    def _on(lattice: Lattice, distance: np.ndarray) -> np.ndarray:
        """Distances to the origin in steps of the lattice."""
        return distance if lattice.decimals is None else np.rint(distance / lattice.step)

    def _categories(self, values: pa.Array, counts: np.ndarray, *, ordered: bool) -> Categories:
        if as_text(arrow_type(self.column.dtype)):
            values = values.cast(pa.string())
        elif pa.types.is_temporal(values.type):
            values = ticks(values)
        return Categories(
            name=self.name,
            dtype=self.column.dtype,
            values=values.to_pylist(),
            ordered=ordered,
            whole=self.whole,
            missing=self.missing > 0,
            counts=[*counts.tolist(), *([self.missing] if self.missing else [])],
        )

    def _numbers(
        self, lattice: Lattice, knots: np.ndarray, shares: np.ndarray, support: np.ndarray, atom_share: float, bins: int
    ) -> Numbers:
        """``shares`` of the rows lie at or near each knot; a knot goes to the normal quantile of the middle of its share.

        Point masses, which cells stand for, take no part in the quantiles: the numbers between them fill the scale.
        """
        atom = shares >= atom_share
        between = np.where(atom, 0.0, shares)
        between = between / between.sum() if between.any() else shares
        middle = between.cumsum() - between / 2
        normal = ndtri(middle.clip(EDGE, 1 - EDGE))
        normal += np.arange(len(normal)) * 1e-9  # strictly increasing where clipping made ties
        mean = np.average(normal, weights=between)
        deviation = np.sqrt(np.average((normal - mean) ** 2, weights=between))

        # A smooth column is a value and no more: its joint with others is learnt better without bins to cross.
        # Otherwise a bin holds about the same share of all rows whatever the point masses take: finer ones are learnt by
        # heart, and what depends on them (a target, say) with them.
        cut = max(1, round(bins * shares[~atom].sum())) if atom.any() else 1
        group = np.floor(middle * cut).clip(max=cut - 1)
        starts = np.append(True, (group[1:] != group[:-1]) | atom[1:] | atom[:-1])
        last = np.append(np.flatnonzero(starts)[1:] - 1, len(knots) - 1)
        # The bin before a point mass ends just below it: all between the two knots is the bin's, and not the mass's.
        before = np.append(atom[1:], False)[last] & ~atom[last]
        upper = np.where(before, lattice.neighbour(np.append(knots[1:], np.inf)[last], -1), knots[last])
        states = np.add.reduceat(shares, np.flatnonzero(starts)) * (1 - self.missing / self._rows)
        if not len(support):
            # Numbers too rare for a knot may lie between two point masses: a state of theirs keeps the masses points.
            lone = np.flatnonzero(atom[1:] & atom[:-1] & (lattice.neighbour(knots[1:], -1) > knots[:-1])) + 1
            at = np.searchsorted(last, lone)
            upper = np.insert(upper, at, lattice.neighbour(knots[lone], -1))
            states = np.insert(states, at, 0.0)
        return Numbers(
            name=self.name,
            lattice=lattice,
            knots=knots.tolist(),
            normal=((normal - mean) / max(deviation, 1e-6)).tolist(),
            support=support.tolist(),
            upper=upper.tolist(),
            missing=self.missing > 0,
            shares=[*states.tolist(), *([self.missing / self._rows] if self.missing else [])],
        )

    @property
    def _rows(self) -> int:
        return self.sketch.count + self.missing
