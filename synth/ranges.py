"""Where a knob of a recipe may lie when recipes are searched, each on a unit interval that a search can reason about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Number:
    """A number from ``low`` to ``high``, evenly on a logarithmic scale if ``log``, whole if ``whole``."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def unit(self, value: float) -> float:
        """Where a value lies, 0 at ``low`` and 1 at ``high``; beyond them for a value that does. On a logarithmic scale 0,
        which often means none, has no place: it counts as one range below ``low``."""
        if self.log and value <= 0:
            return -1.0
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low)

    def value(self, unit: float) -> float | int:
        """The value at a place on the unit interval, to three significant digits: what a person would write."""
        low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
        found = low + min(max(unit, 0.0), 1.0) * (high - low)
        found = math.exp(found) if self.log else found
        return round(found) if self.whole else float(f"{found:.3g}")


@dataclass(frozen=True)
class Choice:
    """One of a few numbers in rising order, such as powers of two."""

    options: tuple[Any, ...]

    def unit(self, value: Any) -> float:
        """The place of the nearest option, halfway between those it lies between."""
        below = sum(option < value for option in self.options)
        at = below if value in self.options else below - 0.5
        return at / (len(self.options) - 1)

    def value(self, unit: float) -> Any:
        return self.options[min(int(min(max(unit, 0.0), 1.0) * len(self.options)), len(self.options) - 1)]


Range = Number | Choice
