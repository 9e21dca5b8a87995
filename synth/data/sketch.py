"""Summaries of a column that are learnt in one pass, in memory that doesn't grow with the rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth.errors import UserError


class QuantileSketch:
    """Ranks and quantiles of a stream of numbers: exact for the first ``capacity`` values, then within a bound.

    After the design of KLL (Karnin, Lang and Liberty 2016, arXiv 1603.05346) without its coin: values wait at level 0,
    where each stands for itself; a full level is sorted and every second value moves up, where it stands for twice as
    many. A compaction at level h moves no rank by more than 2^h, and level h is compacted at most n / (2^h w) times,
    w = capacity / 8 being the width of the levels above the first. So with n values no rank is off by more than the
    share (1 + log2(n / w)) / w of them: 0.06 % for n = 5 million and 0.2 % for n = 10^14 at the default capacity.
    Alternating between odd and even values keeps real errors far below.

    The same values in the same order give the same sketch, however they were batched.
    """

    def __init__(self, capacity: int = 2**17) -> None:
        if capacity < 16:
            raise ValueError(f"a sketch needs room for 16 values or more, not {capacity}")
        self.capacity = capacity
        self.count = 0
        self.minimum = np.inf
        self.maximum = -np.inf
        self._width = capacity // 8
        self._waiting: list[np.ndarray] = []  # level 0, where there are `_room` places left
        self._room = capacity
        self._levels: list[np.ndarray] = []  # level h + 1 at index h
        self._odd: list[bool] = []  # which half the next compaction of each level keeps
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, values: np.ndarray) -> None:
        """Add finite numbers, of any shape; ValueError if one is not finite."""
        values = np.asarray(values, np.float64).ravel()
        if values.size == 0:
            return
        if not np.isfinite(values).all():
            raise ValueError("a sketch takes finite numbers; missing values are counted elsewhere")
        self.count += values.size
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        self._sorted = None
        self._wait(values)

    def merge(self, later: QuantileSketch) -> None:
        """Add what ``later``, of the same capacity, has seen; the bound holds for the two together."""
        self.count += later.count
        self.minimum, self.maximum = min(self.minimum, later.minimum), max(self.maximum, later.maximum)
        self._sorted = None
        for values in later._waiting:
            self._wait(values)
        for level, values in enumerate(later._levels, start=1):
            self._lift(level, values)

    def shift(self, by: float) -> None:
        """Add ``by`` to all that was seen."""
        self.minimum, self.maximum, self._sorted = self.minimum + by, self.maximum + by, None
        self._waiting, self._levels = [v + by for v in self._waiting], [v + by for v in self._levels]

    def quantiles(self, q: np.ndarray | float) -> np.ndarray:
        """float64 of q's shape: the smallest value seen that a share q or more is at most; 0 and 1 give the extremes."""
        values, below = self._ranks()
        q = np.asarray(q, np.float64)
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError("quantiles lie between 0 and 1")
        # The product may exceed a whole rank by a rounding error, which would skip to the next value.
        found = values[np.searchsorted(below, q * self.count * (1 - 1e-12))]
        return np.where(q == 0, self.minimum, np.where(q == 1, self.maximum, found))

    def _wait(self, values: np.ndarray) -> None:
        # Filling level 0 to the brim before every compaction is what makes batching immaterial.
        for start in range(0, values.size, self.capacity):
            rest = values[start : start + self.capacity]
            while rest.size > self._room:
                self._waiting.append(rest[: self._room].copy())
                rest = rest[self._room :]
                full, self._waiting, self._room = np.concatenate(self._waiting), [], self.capacity
                self._lift(1, self._half(0, full))
            if rest.size:
                self._waiting.append(rest.copy())
                self._room -= rest.size

    def _lift(self, level: int, values: np.ndarray) -> None:
        """Put values on a level above the first, and make room there if they are too many."""
        while len(self._levels) < level:
            self._levels.append(np.empty(0))
        held = np.concatenate([self._levels[level - 1], values])
        self._levels[level - 1] = held
        if held.size > self._width:
            # An odd one stays behind, so that weights always add up to the count.
            even = held.size - held.size % 2
            held.sort()
            self._levels[level - 1] = held[even:]
            self._lift(level + 1, self._half(level, held[:even]))

    def _half(self, level: int, values: np.ndarray) -> np.ndarray:
        while len(self._odd) <= level:
            self._odd.append(False)
        self._odd[level] = not self._odd[level]
        return np.sort(values)[int(self._odd[level]) :: 2]

    def _ranks(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted values and the cumulative weight up to and including each."""
        if self.count == 0:
            raise ValueError("the sketch has seen no values")
        if self._sorted is None:
            levels = [np.concatenate([*self._waiting, np.empty(0)]), *self._levels]
            values = np.concatenate(levels)
            weights = np.concatenate([np.full(v.size, 2**h, np.int64) for h, v in enumerate(levels)])
            order = np.argsort(values, kind="stable")
            self._sorted = values[order], np.cumsum(weights[order])
        return self._sorted


class Counter:
    """Exact counts of a column's values, of any Arrow type that can be grouped; missing values apart.

    ``name`` is the column's, for the UserError that more than ``limit`` distinct values raise.
    """

    def __init__(self, name: str, limit: int = 2**20) -> None:
        self.name = name
        self.limit = limit
        self.missing = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = 0

    def update(self, array: pa.Array) -> None:
        """Count one batch; every batch must have the same type."""
        self.missing += array.null_count
        tally = array.drop_null().value_counts()
        self._add(pa.table({"value": tally.field("values"), "count": tally.field("counts")}))

    def merge(self, later: Counter) -> None:
        """Add what ``later``, of the same column, has counted."""
        self.missing += later.missing
        for table in later._pending:
            self._add(table)

    def counts(self) -> tuple[pa.Array, np.ndarray]:
        """The distinct values, most frequent first and equals in ascending order, and their counts (int64)."""
        self._condense()
        if not self._pending:
            return pa.array([]), np.empty(0, np.int64)
        table = self._pending[0]
        order = pc.sort_indices(table, sort_keys=[("count", "descending"), ("value", "ascending")])
        table = table.take(order).combine_chunks()
        values = table["value"].chunk(0) if table.num_rows else pa.array([], table.schema.field("value").type)
        return values, table["count"].to_numpy()

    def _add(self, table: pa.Table) -> None:
        self._pending.append(table)
        self._pending_rows += table.num_rows
        if self._pending_rows > 2 * self.limit:
            self._condense()

    def _condense(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending).group_by("value").aggregate([("count", "sum")])
        table = table.select(["value", "count_sum"]).rename_columns(["value", "count"])
        if table.num_rows > self.limit:
            raise UserError(
                f"column '{self.name}' has more than {self.limit:,} distinct values, too many for categories. "
                f"Leave it out with --exclude {self.name}, or if it identifies rows, name it with --id {self.name}."
            )
        self._pending, self._pending_rows = [table], table.num_rows


class DistinctSketch:
    """The number of distinct values from their hashes: the k-minimum-values estimate (Bar-Yossef et al. 2002).

    Exact below ``capacity`` distinct hashes, then with a relative standard error of 1 / sqrt(capacity), 0.4 %.
    """

    def __init__(self, capacity: int = 2**16) -> None:
        self.capacity = capacity
        self._smallest = np.empty(0, np.uint64)

    def update(self, hashes: np.ndarray) -> None:
        """Add hashes (uint64, evenly spread)."""
        if self._smallest.size == self.capacity:
            hashes = hashes[hashes < self._smallest[-1]]
        self._smallest = np.unique(np.concatenate([self._smallest, np.unique(hashes)]))[: self.capacity]

    def merge(self, later: DistinctSketch) -> None:
        """Add what ``later``, of the same capacity, has seen."""
        self.update(later._smallest)

    @property
    def estimate(self) -> int:
        if self._smallest.size < self.capacity:
            return int(self._smallest.size)
        return round((self.capacity - 1) / (float(self._smallest[-1]) / 2.0**64))
