"""Rows that are asked for again are the same rows: they say nothing new, and look like a generator that repeats itself."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from synth.sampling import SMALL

REMEMBERED = 200_000  # blocks of rows, the latest


class Once:
    """Tells whether rows have been asked for before, by their place; remembers a bounded number of places, the same ones in
    every process that goes on from its ``state``."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.remembered = remembered
        self.places: OrderedDict[int, None] = OrderedDict()

    def new(self, seed: int, key: str | None, first: int, rows: int) -> bool:
        """Whether none of the blocks of these rows has come before, of a seed's table as a request with this ``key`` (see
        ``synth.asking``) asks for it, however that was written; from now on they have."""
        places = [_place(seed, key, block) for block in range(first // SMALL, -(-(first + rows) // SMALL))]
        fresh = not any(place in self.places for place in places)
        for place in places:
            self.places[place] = None
            self.places.move_to_end(place)
        while len(self.places) > self.remembered:
            self.places.popitem(last=False)
        return fresh

    def state(self) -> NDArray[np.uint64]:
        """What is remembered, the oldest first."""
        return np.fromiter(self.places, np.uint64, len(self.places))

    def restore(self, state: NDArray[np.uint64]) -> None:
        self.places = OrderedDict.fromkeys(map(int, state))


def _place(seed: int, key: str | None, block: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{key}/{block}".encode(), digest_size=8).digest())
