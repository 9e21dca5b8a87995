"""Rows that say nothing of where they come from, and were drawn here all the same: known again by the log and by watermarks.

One pass over the table, in bounded memory, and none where no log and no watermark fits its columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.schema import Column
from synth.data.source import Source
from synth.errors import UserError
from synth.provenance import marks, served
from synth.provenance.canonical import cells, combined
from synth.provenance.kept import Kept, below
from synth.provenance.served import Log, Prints
from synth.provenance.siphash import siphash
from synth.provenance.watermark import SURE, Detector, Found

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
    """What is known of a table: by logs, the most rows first, and the watermarks that were looked for, the surest first."""

    rows: Sequence[Known] = ()
    marks: Sequence[Found] = ()

    @property
    def sure(self) -> list[Found]:
        return [found for found in self.marks if found.sure]


def recognise(source: Source) -> Recognised:
    """Read a table and look its rows up. UserError for a log or a watermark that cannot be read."""
    there = set(source.schema.names)
    logs = [log for log in served.logs() if there.issuperset(column.name for column in log.head.columns)]
    looked = [mark for mark in marks.known() if any(there.issuperset(token) for token in mark.tokens)]
    if not logs and not looked:
        return Recognised()
    groups = dict[str, list[Log]]()  # by the columns that rows are known by: as a rule those of one table
    for log in logs:
        groups.setdefault(str(log.head.columns), []).append(log)
    kept = {told: Kept(min(log.head.level for log in group)) for told, group in groups.items()}
    prints, detector, first = [log.prints for log in logs[:1]], Detector(looked), 0
    needed = {c.name for log in logs for c in log.head.columns}.union(*(mark.needs for mark in looked))
    for batch in source.only([name for name in source.schema.names if name in needed]).batches():
        seen = dict[str, NDArray[np.uint64] | None]()
        for told, group in groups.items():
            found = _cells(group[0].head.columns, batch, seen)
            if len(found) == len(group[0].head.columns):
                kept[told].add(_fingerprints(prints[0], found, first))
        detector.add([_cells([c for c in mark.columns if c.name in mark.needs], batch, seen) for mark in looked])
        first += batch.num_rows
    known = [_known(log, kept[told], first, source) for told, group in groups.items() for log in group]
    return Recognised(sorted(filter(None, known), key=lambda one: -one.rows), detector.found())


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


def _known(log: Log, kept: Kept, rows: int, source: Source) -> Known | None:
    """What a log knows of a table's rows: None where that is nothing, or no more than chance.

    Only rows count that the table has once and the release drew once. By chance, a row x is so with the probability
    (np)e^(−np) · (Nq)e^(−Nq), if it comes with p and q in n and N rows; where f₂ and F₂ rows came up twice, which they do with
    (np)²e^(−np)/2 and so on, the sum over x is at most 2 √(f₂F₂) (Cauchy and Schwarz), whatever the real rows are like. Of
    copies, each draw may be of another row. What is more than both must not be so by chance, either (SURE, by a Poisson law).
    """
    from scipy.stats import poisson

    if source.fingerprint() in log.head.learnt:  # what is in both, the release has from there
        return None
    drawn = log.pairs()
    level = max(kept.level, log.head.level)
    ours, theirs = kept.pairs(level)[:, 0], below(drawn, level)[:, 0]
    words, counts = np.unique(theirs, return_counts=True)
    once, again = words[counts == 1], int((counts == 2).sum())
    uniques, times = np.unique(ours, return_counts=True)
    alone, pairs = uniques[times == 1], int((times == 2).sum())
    if not len(alone) or not len(once):
        return None
    found = int(np.isin(alone, once, assume_unique=True).sum())
    chance = min(2 * ((pairs + 1) * (again + 1)) ** 0.5 + len(theirs) * log.head.copies, len(alone))
    if poisson.sf(found - 1, chance) >= SURE:
        return None
    return Known(log.head.release, log.head.name, round((found - chance) / len(ours) * rows), rows)
