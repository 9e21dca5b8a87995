"""Exact Euclidean neighbours in blocks of rows: bounded memory, and a repeated row is at distance zero, not near it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK = 512


def squared_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Blocks of squared distances from the rows of ``a`` (n, d) to all rows of ``b`` (m, d): (rows, float64 (rows, m)).

    |a - b|² = |a|² + |b|² - 2ab by one matrix product; what rounding leaves of a zero is snapped to zero, since equal
    rows and ties at zero are exactly what copies look like.
    """
    a2, b2 = np.einsum("ij,ij->i", a, a), np.einsum("ij,ij->i", b, b)
    tiny = 1e-12 * max(1.0, float(a2.max()), float(b2.max()))
    for start in range(0, len(a), BLOCK):
        rows = slice(start, min(start + BLOCK, len(a)))
        block = a[rows] @ b.T
        block *= -2
        block += a2[rows, None]
        block += b2
        block[block < tiny] = 0
        yield rows, block


def closest(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The distance from each row of ``a`` to its nearest row of ``b``, and which row that is: (n,) each."""
    distance, at = np.empty(len(a)), np.empty(len(a), dtype=np.intp)
    for rows, block in squared_distances(a, b):
        at[rows] = block.argmin(axis=1)
        distance[rows] = np.sqrt(np.take_along_axis(block, at[rows, None], axis=1)[:, 0])
    return distance, at


def nearest(a: NDArray[np.float64], b: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Distances from each row of ``a`` to its ``k`` nearest rows of ``b``, ascending: (n, k)."""
    out = np.empty((len(a), k))
    for rows, block in squared_distances(a, b):
        # A few passes of argmin are several times as fast as a partial sort.
        every = np.arange(len(block))
        for i in range(k):
            at = block.argmin(axis=1)
            out[rows, i] = block[every, at]
            block[every, at] = np.inf
    return np.sqrt(out)
