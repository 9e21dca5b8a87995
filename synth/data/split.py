"""The four disjoint parts of a source, decided row by row from what the row says.

A row's part follows from a keyed hash of its content. So it survives re-ordering, appending and re-batching, needs no
list of indices, and identical rows always land together: no row of ``test`` has a twin in ``train``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synth.data.hashing import hash_rows
from synth.errors import UserError

PARTS = ("train", "select", "confirm", "test")


@dataclass(frozen=True)
class Split:
    """Shares of the parts, which add up to 1, and the key of the hash. UserError names the shares that cannot be."""

    train: float = 0.7
    select: float = 0.1
    confirm: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in self.shares):
            raise UserError(f"split {self}: every share must lie between 0 and 1.")
        if not np.isclose(sum(self.shares), 1, rtol=0, atol=1e-9):
            raise UserError(f"split {self}: the shares add up to {sum(self.shares):.6g}, not to 1.")
        if self.train == 0:
            raise UserError(f"split {self}: the share of train is 0, so there would be nothing to learn from.")

    def __str__(self) -> str:
        return ",".join(f"{share:g}" for share in self.shares)

    @property
    def shares(self) -> tuple[float, ...]:
        return self.train, self.select, self.confirm, self.test

    def keeps_from(self, other: Split) -> bool:
        """Whether no row that this split keeps from training is a training row of the other, of the same columns."""
        return other.seed == self.seed and other.train <= self.train

    def assign(self, batch: pa.RecordBatch) -> np.ndarray:
        """int8 of shape (rows,): the index into ``PARTS`` of each row.

        Every column of the batch counts, by name: pass the columns that are learnt, so that rows which differ in an id
        alone stay together, and pass them conformed to the schema, so that 1 and "1" agree.
        """
        uniform = (hash_rows(batch, self.seed) >> np.uint64(11)) * 2.0**-53
        # Rounding takes the dust off the sums (0.7 + 0.1 + 0.1 + 0.1 < 1), so that an empty part never gets a row.
        edges = np.cumsum(self.shares)[:3].round(12)
        return np.searchsorted(edges, uniform, side="right").astype(np.int8)

    def check(self, counts: np.ndarray) -> None:
        """UserError if a part that should have rows got none; ``counts`` are the rows of each part (shape (4,))."""
        for name, share, count in zip(PARTS, self.shares, counts, strict=True):
            if share > 0 and count == 0:
                raise UserError(
                    f"split {self}: no row fell into {name} (of {int(np.sum(counts))} rows; identical rows stay "
                    f"together). Give {name} a larger share or 0, take another seed, or bring more rows."
                )
