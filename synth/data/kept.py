"""A sample of a table's rows that depends on their contents alone, not on how they were batched or in which parts they were
looked at: the distinct rows with the smallest hashes, each with its count."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from synth.data.hashing import hash_rows
from synth.data.reduction import Arrays

ROWS = 2**15  # distinct rows that are kept at most
VALUES = 2**22  # and their values: with 1,000 columns, 4,194 rows
LAST = np.uint64(2**64 - 1)


class Kept:
    """What a pass keeps of the columns ``names``. Memory: VALUES values at most, twice while rows are added. Time: a hash of
    each row, and now and then a sort of those that are kept."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.seen = names, 0
        self._capacity = min(ROWS, VALUES // max(1, len(names)))
        self._highest = LAST  # rows with a greater hash are no longer kept
        self._held: list[tuple[np.ndarray, pa.Table, np.ndarray]] = []  # hashes, rows, counts

    def update(self, arrays: Arrays) -> None:
        if not self.names:
            return
        batch = pa.RecordBatch.from_arrays([arrays[name] for name in self.names], names=self.names)
        hashes = hash_rows(batch, 0)
        self.seen += len(hashes)
        keep = np.flatnonzero(hashes <= self._highest)
        rows = pa.Table.from_batches([batch.take(pa.array(keep))])
        self._add(hashes[keep], rows, np.ones(len(keep), np.int64))

    def merge(self, later: Kept) -> None:
        """Add what ``later``, of the same columns, has seen."""
        self.seen, self._highest = self.seen + later.seen, min(self._highest, later._highest)
        for held in later._held:
            self._add(*held)

    def _add(self, hashes: np.ndarray, rows: pa.Table, counts: np.ndarray) -> None:
        self._held.append((hashes, rows, counts))
        if sum(len(held[0]) for held in self._held) > 2 * self._capacity:
            self._condense()

    def _condense(self) -> None:
        hashes, rows, counts = zip(*self._held, strict=True)
        distinct, first, index = np.unique(np.concatenate(hashes), return_index=True, return_inverse=True)
        count = np.bincount(index, np.concatenate(counts), len(distinct)).astype(np.int64)
        if len(distinct) > self._capacity:
            distinct, first, count = (a[: self._capacity] for a in (distinct, first, count))
            self._highest = min(self._highest, distinct[-1])
        self._held = [(distinct, pa.concat_tables(rows).take(pa.array(first)), count)]

    def finish(self) -> tuple[Arrays, np.ndarray]:
        """The rows, by their hash, and weights (rows): of how many of all rows each stands for, the share."""
        if not self.seen:
            return {}, np.empty(0)
        self._condense()
        _, rows, counts = self._held[0]
        # Each kept row stands for those that were not: it was kept with the probability that its hash is low enough.
        chance = (float(self._highest) + 1) / 2.0**64 if self._highest < LAST else 1.0
        return {name: rows[name].combine_chunks() for name in self.names}, counts / self.seen / chance
