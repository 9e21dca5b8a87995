"""Rows that are asked for again are the same rows: they say nothing new, and look like a generator that repeats itself."""

from __future__ import annotations

from collections import OrderedDict

from synth.sampling import SMALL

REMEMBERED = 500_000  # blocks of rows, the latest


class Once:
    """Tells whether rows have been asked for before, by their place; remembers a bounded number of places."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.remembered = remembered
        self.places: OrderedDict[int, None] = OrderedDict()

    def new(self, seed: int, text: str, first: int, rows: int) -> bool:
        """Whether none of the blocks of these rows, of a seed's table as ``text`` asks for it, has come before; from now on
        they have."""
        places = [hash((seed, text, block)) for block in range(first // SMALL, -(-(first + rows) // SMALL))]
        fresh = not any(place in self.places for place in places)
        for place in places:
            self.places[place] = None
            self.places.move_to_end(place)
        while len(self.places) > self.remembered:
            self.places.popitem(last=False)
        return fresh
