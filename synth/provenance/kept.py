"""A sample of hashes that does not grow: those below a threshold, which is halved when they become too many.

Which hashes are kept depends on themselves alone, so that two tables, sampled apart, keep the same of those that they share.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 1 << 20


class Kept:
    """Distinct pairs (hash, address), uint64 of shape (pairs, 2), of hashes below 2^(64 − level)."""

    def __init__(self, level: int = 0, most: int = MOST) -> None:
        self.level, self.most = level, most
        self._held: list[NDArray[np.uint64]] = []
        self._count = 0

    def add(self, pairs: NDArray[np.uint64]) -> None:
        self._held.append(below(pairs, self.level))
        self._count += len(self._held[-1])
        if self._count > 2 * self.most:
            self._settle()

    def pairs(self, level: int = 0) -> NDArray[np.uint64]:
        """What is kept, sorted; of a higher ``level``, what would be."""
        return below(self._settle(), level)

    def _settle(self) -> NDArray[np.uint64]:
        found = distinct(np.concatenate([np.empty((0, 2), np.uint64), *self._held]))
        while len(found) > self.most:
            self.level += 1
            found = below(found, self.level)
        self._held, self._count = [found], len(found)
        return found


def below(pairs: NDArray[np.uint64], level: int) -> NDArray[np.uint64]:
    """Those whose hash is below 2^(64 − level)."""
    return pairs[pairs[:, 0] <= np.uint64((1 << (64 - level)) - 1)] if level else pairs


def distinct(pairs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sorted, each once."""
    found = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    again = (found[1:] == found[:-1]).all(axis=1)
    return found[np.append(True, ~again)] if len(found) else found
