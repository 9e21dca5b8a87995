"""Rows that say nothing of where they come from, and were drawn here all the same: known again by the log and by watermarks.

One pass over the table, in bounded memory, and none where no log and no watermark fits its columns, or those alone that are of
releases which have learnt from this very table. Of a table of more than LOOKED_AT rows, so many are looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.schema import Column
from synth.data.source import Source
from synth.errors import UserError
from synth.provenance import marks, served
from synth.provenance.canonical import cells, combined
from synth.provenance.kept import MOST, Kept, below
from synth.provenance.served import Log, Prints
from synth.provenance.siphash import siphash
from synth.provenance.watermark import SURE, Detector, Found

LOOKED_AT = 5_000_000  # rows
HELD = 1 << 22  # fingerprints of all logs together
Cells = Mapping[str, NDArray[np.uint64]]


@dataclass(frozen=True)
class Known:
    """Of the ``of`` rows of a table, how many were drawn from a release here, as far as its log tells: beyond those that chance
    and copies of what it has learnt account for."""

    release: str
    name: str
    rows: int
    of: int

    @property
    def share(self) -> float:
        return self.rows / self.of

    def __str__(self) -> str:
        return f"{self.rows:,} of {self.of:,} rows were drawn from '{self.name}' ({self.release[:12]}) here"


@dataclass(frozen=True)
class Recognised:
    """What is known of a table: by logs, the most rows first, and the watermarks that were looked for, the surest first; and
    ``notes`` of what could not be looked at."""

    rows: Sequence[Known] = ()
    marks: Sequence[Found] = ()
    notes: Sequence[str] = ()

    @property
    def sure(self) -> list[Found]:
        return [found for found in self.marks if found.sure]


def recognise(source: Source) -> Recognised:
    """Read a table and look its rows up."""
    there, notes = set(source.schema.names), list[str]()
    logs = [log for log in served.logs(notes.append) if there.issuperset(c.name for c in log.head.columns)]
    looked = [mark for mark in marks.known(notes.append) if any(there.issuperset(token) for token in mark.tokens)]
    # What this table and a release have in common, the release has from there.
    learnt = {log.head.release for log in logs if source.fingerprint() in log.head.learnt}
    logs = [log for log in logs if log.head.release not in learnt]
    looked = [mark for mark in looked if mark.release not in learnt]
    if not logs and not looked:
        return Recognised(notes=notes)
    each = min(MOST, max(HELD // max(len(logs), 1), 1 << 16))
    wanted = [(log, log.prints, Kept(log.head.level, each)) for log in logs]
    detector, first = Detector(looked), 0
    needed = {c.name for log in logs for c in log.head.columns}.union(*(mark.needs for mark in looked))
    for batch in _spread(source.only([name for name in source.schema.names if name in needed])):
        seen = dict[str, NDArray[np.uint64] | None]()
        for log, prints, kept in wanted:
            found = _cells(log.head.columns, batch, seen)
            if len(found) == len(log.head.columns):
                kept.add(_fingerprints(prints, found, first))
        detector.add([_cells([c for c in mark.columns if c.name in mark.needs], batch, seen) for mark in looked])
        first += batch.num_rows
    if first < source.rows():
        notes.append(f"{source.location}: {first:,} of its {source.rows():,} rows, evenly spread, were looked up")
    known = list[Known]()
    for log, _, kept in wanted:
        try:
            known += _known(log, kept, source.rows())
        except UserError as e:
            notes.append(f"{e}. Nothing was looked up in it")
    return Recognised(sorted(known, key=lambda one: -one.rows), detector.found(), notes)


def _spread(source: Source) -> Iterator[pa.RecordBatch]:
    """The rows or, of more than LOOKED_AT, the first of each batch: a sample that misses no part of the table."""
    every = -(-source.rows() // LOOKED_AT)
    for batch in source.batches():
        yield batch.slice(0, -(-batch.num_rows // every))


def _cells(columns: Sequence[Column], batch: pa.RecordBatch, seen: dict[str, NDArray[np.uint64] | None]) -> Cells:
    """The hashes of the cells of those columns that are there and can be read as what they should be; ``seen`` holds what was
    hashed before."""
    found = dict[str, NDArray[np.uint64]]()
    for column in columns:
        told = str(column)
        if told not in seen:
            seen[told] = _hashed(column, batch)
        if (hashes := seen[told]) is not None:
            found[column.name] = hashes
    return found


def _hashed(column: Column, batch: pa.RecordBatch) -> NDArray[np.uint64] | None:
    if column.name not in batch.schema.names:
        return None
    try:
        return cells(column, batch.column(column.name))
    except UserError:  # another table's, which has the name alone in common
        return None


def _fingerprints(prints: Prints, found: Cells, first: int) -> NDArray[np.uint64]:
    words = siphash(prints.key, combined(list(found.values())))
    return np.stack([words, np.arange(first, first + len(words), dtype=np.uint64)], 1)


def _known(log: Log, kept: Kept, rows: int) -> list[Known]:
    """What a log knows of a table's rows: empty where that is nothing, or no more than chance.

    Only rows count that the table has once and the release drew once. By chance, a row x is so with the probability
    (np)e^(−np) · (Nq)e^(−Nq), if it comes with p and q in n and N rows; where f₂ and F₂ rows came up twice, which they do with
    (np)²e^(−np)/2 and so on, the sum over x is at most 2 √(f₂F₂) (Cauchy and Schwarz), whatever the real rows are like. Of
    copies, each draw may be of another row. What is more than both must not be so by chance, either (SURE, by a Poisson law).

    A table whose rows were made distinct, or are the cells of a grid, has no f₂ to tell. It is known by how few pairs of it
    agree: less than half of cn²/2, if two drawn rows agree with the chance c. Any of its rows then meets Nc of the log, or
    fewer: where all are distinct, the frequent ones are no longer the more frequent.
    """
    from scipy.stats import poisson

    drawn = log.pairs()
    level = max(kept.level, log.head.level)
    ours, theirs = kept.pairs(level)[:, 0], below(drawn, level)[:, 0]
    words, counts = np.unique(theirs, return_counts=True)
    once, again = words[counts == 1], int((counts == 2).sum())
    uniques, times = np.unique(ours, return_counts=True)
    alone, pairs = uniques[times == 1], int((times == 2).sum())
    if not len(alone) or not len(once):
        return []
    found = int(np.isin(alone, once, assume_unique=True).sum())
    chance = 2 * ((pairs + 1) * (again + 1)) ** 0.5
    agree = _agreeing(counts) / max(len(theirs) * (len(theirs) - 1), 1)
    if _agreeing(times) < agree * len(ours) ** 2 / 2:
        chance = max(chance, len(ours) * len(theirs) * agree)
    chance = min(chance + len(theirs) * log.head.copies, len(alone))
    if poisson.sf(found - 1, chance) >= SURE:
        return []
    return [Known(log.head.release, log.head.name, round((found - chance) / len(ours) * rows), rows)]


def _agreeing(counts: NDArray[np.int64]) -> float:
    """Ordered pairs of rows that are the same, where these are the counts of distinct ones."""
    return float((counts * (counts - 1)).sum())
