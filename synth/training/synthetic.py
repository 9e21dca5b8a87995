"""Synthetic tables on their way to training: what is left out of them, how much each counts, and their encoded rows."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth.data.codec import Codec, Fit
from synth.data.schema import Schema
from synth.data.source import Source
from synth.data.split import PARTS, Split
from synth.errors import UserError
from synth.evaluation.copies import row_keys
from synth.generators.layout import Encoded
from synth.recipe import Recipe
from synth.training.chosen import spread, verified
from synth.training.mixing import NAME, Given, Mix, shares
from synth.training.parting import conformed, drawn, narrow, parted

TRAIN = PARTS.index("train")
JUDGED, AT_ONCE = (
    20_000,
    100_000,
)  # real rows that a judge learns from at most, and synthetic ones that it looks at together
TIMES = 100  # that a kind counts among the others in the codec at most


@dataclass
class Synthetic:
    """``tables`` are the rows of each source that are learnt from, in the schema's types; ``weights`` those that were given."""

    schema: Schema
    tables: dict[str, list[pa.RecordBatch]]
    weights: list[float | None]
    mix: Mix
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The rows of each table."""
        return {name: sum(batch.num_rows for batch in batches) for name, batches in self.tables.items()}

    def shares(self, real: int) -> tuple[float, list[float]]:
        """Of every batch, that of ``real`` rows and that of each table."""
        return shares(real, list(self.counts.values()), self.weights, self.mix)

    def joined(self, fit: Fit, real: int) -> Fit:
        """What ``real`` rows have shown, and what these do, each kind with its share; texts that only these have are told."""
        own, others = self.shares(real)
        fits = [fit]
        for name, batches in self.tables.items():
            fits.append(Fit(self.schema))
            for batch in batches:
                fits[-1].update(batch)
            self.notes += [f"{name}: {told}" for told in _new(fit, fits[-1])]
        return weighed(fits, np.array([own, *others]) / [real, *self.counts.values()])

    def encoded(self, codec: Codec, real: int) -> list[tuple[float, list[Encoded]]]:
        """The encoded rows of each table, after its share of every batch."""
        own, others = self.shares(real)
        told = [
            f"{share:.1%} {name} ({count:,})" for share, (name, count) in zip(others, self.counts.items(), strict=True)
        ]
        self.notes.append(f"of each batch {own:.1%} are real rows ({real:,}), {', '.join(told)}")
        pools = [[narrow(codec.encode(batch), codec) for batch in batches] for batches in self.tables.values()]
        return list(zip(others, pools, strict=True))


def _new(real: Fit, made: Fit) -> list[str]:
    """The texts of each column that no real row has."""
    told = []
    for known, column in zip(real.columns, made.columns, strict=True):
        values, counts = column.counter.counts()
        if column.continuous or not pa.types.is_string(values.type):
            continue
        new = pc.invert(pc.is_in(values, value_set=known.counter.counts()[0].cast(pa.string()))).to_numpy(False)
        if new.any():
            first = values.filter(pa.array(new))[0].as_py()
            told.append(
                f"'{column.name}' has {int(new.sum()):,} values that no real row has, such as {first!r}, in "
                f"{int(counts[new].sum()):,} rows; they are learnt, and will be drawn"
            )
    return told


def _off(batch: pa.RecordBatch, schema: Schema) -> Counter[str]:
    """How many numbers of each column have more decimals than the real rows', to which they are rounded."""
    found = Counter[str]()
    for column in schema.learnt:
        if (
            column.kind == "numerical"
            and column.decimals is not None
            and not pa.types.is_integer(batch[column.name].type)
        ):
            k = batch[column.name].cast(pa.float64(), safe=False).drop_null().to_numpy(False) * 10.0**column.decimals
            found[column.name] = int((np.abs(k - np.rint(k)) > 1e-3 + 1e-7 * np.abs(k)).sum())
    return +found


def weighed(fits: Sequence[Fit], weights: NDArray[np.float64]) -> Fit:
    """One fit of several kinds of rows, each counted so many times that its rows have about these ``weights`` (kinds,): what a
    codec says of marginals, from which some generators draw, is to be what batches show."""
    times = np.clip(np.rint(weights / weights.min()), 1, TIMES).astype(int)
    whole = copy.deepcopy(fits[0])
    for number, (kind, count) in enumerate(zip(fits, times, strict=True)):
        for _ in range(count - (number == 0)):
            whole.merge(copy.deepcopy(kind))  # which merging would change
    return whole


def gathered(
    sources: Mapping[str, Source], given: Sequence[Given], schema: Schema, split: Split, recipe: Recipe
) -> Synthetic | None:
    """The synthetic tables among ``sources``, without rows that break a constraint and without the twins of real rows that are
    held out, of which nothing that is trained may know, and of the others what the recipe's ``verify`` and ``subset`` leave;
    None where there are none.

    UserError for a table of which no row is left, and for missing values where no real row misses any.
    """
    made = {name: source for name, source in sources.items() if name.startswith(NAME)}
    if not made:
        return None
    held, found = _held_out(sources, schema, split), Synthetic(schema, {}, [one.weight for one in given], recipe.mix)
    for name, source in made.items():
        broken, off, twins = Counter[str](), Counter[str](), 0
        found.tables[name] = []
        for _, batch in parted(source.whole(), schema, split, broken):
            _check_gaps(batch, schema, source)
            twin = np.isin(row_keys(schema, batch), held)
            twins += int(twin.sum())
            if not twin.all():
                found.tables[name].append(batch.filter(pa.array(~twin)))
                off += _off(found.tables[name][-1], schema)
        found.notes += [f"{name} is {source.location}"]
        found.notes += [
            f"{name}: {count:,} rows break {text!r} and were left out" for text, count in broken.items() if count
        ]
        found.notes += [
            f"{name}: {count:,} values of '{column}' have more than the {schema[column].decimals} decimals of the real rows, "
            "and were rounded to them"
            for column, count in off.items()
        ]
        if twins:
            found.notes.append(f"{name}: {twins:,} rows are those of real rows that are held out, and were left out")
        if not found.counts[name]:
            raise UserError(f"{source.location}: no row of it is left to learn from: {'; '.join(found.notes[-2:])}")
    _choose(found, sources, split, recipe)
    return found


def _choose(found: Synthetic, sources: Mapping[str, Source], split: Split, recipe: Recipe) -> None:
    """Keep of each table what ``verify`` and then ``subset`` leave, see ``synth.training.chosen``."""
    ways = [(recipe.verify, verified, "passed judges of real rows"), (recipe.subset, spread, "lie far from each other")]
    if recipe.verify is None and recipe.subset is None:
        return
    if found.schema.image is not None:
        raise UserError("verify and subset are of tables, and these are images: leave them out")
    real = _real(sources["train"], found.schema, split, recipe.seed)
    for number, (name, batches) in enumerate(found.tables.items()):
        rows = pa.Table.from_batches(batches)
        for share, way, told in ways:
            if share is not None:
                mask = way(found.schema, real, rows, share, np.random.default_rng([recipe.seed, number]))
                found.notes.append(
                    f"{name}: {int(mask.sum()):,} of {len(rows):,} rows {told}, class by class, and are learnt from"
                )
                rows = rows.filter(pa.array(mask))
            if not len(rows):
                raise UserError(f"{sources[name].location}: no row of it is left to learn from: {found.notes[-1]}")
        found.tables[name] = rows.combine_chunks().to_batches()


def _real(source: Source, schema: Schema, split: Split, seed: int) -> pa.Table:
    """At most about JUDGED training rows."""
    rng, share = np.random.default_rng(seed), min(1.0, JUDGED / max(source.rows(), 1))
    batches = (
        drawn(rows.filter(pa.array(part == TRAIN)), share, rng) for part, rows in parted(source.whole(), schema, split)
    )
    return pa.Table.from_batches(batches, schema.arrow())


def _held_out(sources: Mapping[str, Source], schema: Schema, split: Split) -> NDArray[np.uint64]:
    """The keys of all real rows that are held out and of which none that is learnt from is a twin."""
    keys, learnt = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for part, batch in parted(sources["train"].whole(), schema, split):
        every = row_keys(schema, batch)
        keys.append(every[part != TRAIN])
        learnt.append(every[part == TRAIN])
    if "test" in sources:
        keys += [row_keys(schema, batch) for _, batch in conformed(sources["test"].whole(), schema)]
    return np.setdiff1d(np.concatenate(keys), np.concatenate(learnt))


def _check_gaps(batch: pa.RecordBatch, schema: Schema, source: Source) -> None:
    for column in schema.learnt:
        if not column.nullable and (missing := batch.column(column.name).null_count):
            row = pc.index(batch.column(column.name).is_null(), True).as_py()
            raise UserError(
                f"{source.location}: column '{column.name}' misses {missing:,} values, such as in row {row} of a batch, and no "
                "real row does: fill them, or leave these rows out"
            )
