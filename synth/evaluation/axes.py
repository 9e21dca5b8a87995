"""Where values lie in a picture, and which of them set its scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from synth.evaluation.charts import number


@dataclass(frozen=True)
class Axis:
    """From values to places; values beyond the ends lie on them."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], start: float, stop: float, *, log: bool = False, room: float = 0.06) -> Axis:
        """With a little room on both sides of finite ``values``; a decade around one that is alone on a log axis."""
        found = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
        low, high = min(found), max(found)
        if log:
            factor = (high / low) ** room if high > low else 3.0
            return cls(low / factor, high * factor, start, stop, True)
        pad = (high - low) * room if high > low else max(abs(high) * 0.01, 0.01)
        return cls(low - pad, high + pad, start, stop)

    def at(self, value: float) -> float:
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + (self.stop - self.start) * min(max(share, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values, two to seven of them on a linear axis, each with as many digits as tell it apart."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            digits = (1, 2, 5) if math.log10(self.high / self.low) < 3 else (1,)
            values = [d * 10.0**p for p in decades for d in digits if self.low <= d * 10.0**p <= self.high]
            return [(value, number(value)) for value in values]
        raw = (self.high - self.low) / 6
        power = math.floor(math.log10(raw))
        step = next(digit * 10.0**power for digit in (1, 2, 5, 10) if digit * 10.0**power >= raw)
        places = max(0, -math.floor(math.log10(step) + 1e-9))
        multiples = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return [(k * step, f"{k * step:,.{places}f}") for k in multiples]


def shown(values: Sequence[float], usual: float | None = None) -> list[float]:
    """The values that set the height of a plot: a few far below the others would flatten those between which one chooses.
    Half of the values and the best lie within the middle of it; the others are drawn on the lower edge."""
    ordered = sorted(values)
    if not ordered:
        return [] if usual is None else [usual]
    middle, top = ordered[len(ordered) // 2], ordered[-1]
    floor = top - max(4 * (top - middle), 0.02)
    return [v for v in ordered if v >= floor] + ([] if usual is None else [usual])


def below(values: Sequence[float], usual: float | None = None) -> int:
    """How many of the values such a plot has on its lower edge, being lower."""
    return sum(v < min(shown(values, usual)) for v in values)
