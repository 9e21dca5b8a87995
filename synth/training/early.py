"""When more training buys nothing, as rows say that nothing is learnt from.

A table that is trained for long is learnt by heart: its loss goes on falling, that on other rows does not, and then rises.
While the learning rate is constant, that is the time for its fall, which brings most of what is gained in the end. During the
fall, the end is brought nearer, and never is the fall cut off: of 2,500 rows of Online Shoppers, pairs of columns came out
best at its end, where the loss on other rows had long been a tenth above its lowest. A look errs, and what is given up too
soon is lost: so a difference counts from ERRORS of its standard errors on, and one look decides nothing.

Who wants it asks for it (``training.early``), since the loss is not all there is to a release. After half an hour, samples of
Online Shoppers were worse than after four minutes; but those of MAGIC and Default were harder to tell from real rows, though
rows were being learnt by heart, and models learnt more from those of Beijing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

ERRORS = 2.0  # standard errors of a difference between two looks that are none yet
WAIT = 0.5  # share of the steps until the lowest loss, after which as many more than those bring no lower one
SEES = 0.2  # of what was gained since the first look: less of a gain than that may escape a look
FLAT, RISEN = 3, 3  # looks that have to agree that it falls no longer, in succession that it is higher


@dataclass
class Early:
    """What a run remembers of its loss on other rows, from one look to the next, and in its checkpoints.

    ``lowest`` are the losses by block at the ``step`` since when none was lower by more than chance: in ``flat`` looks that
    would have seen it, the last ``risen`` of all of which were higher by more than that. ``first`` is the mean of the first
    look, ``acted`` how often that was enough.
    """

    lowest: list[float] = field(default_factory=list)
    step: int = 0
    flat: int = 0
    risen: int = 0
    acted: int = 0
    first: float | None = None

    def seen(self, step: int, losses: Sequence[float]) -> None:
        """Take in a look after ``step``, at the same blocks of rows and noise as before."""
        if self.first is None:
            self.first = statistics.fmean(losses)
        if self.lowest:
            more, error = difference(self.lowest, losses)
            if more >= -ERRORS * error:
                gained = self.first - statistics.fmean(self.lowest)
                self.flat += ERRORS * error <= SEES * gained
                self.risen = self.risen + 1 if more > ERRORS * error else 0
                return
        self.lowest, self.step, self.flat, self.risen = list(losses), step, 0, 0

    def enough(self, step: int, *, falling: bool) -> bool:
        """Whether more buys nothing, at a constant rate or of what is left of a ``falling`` one."""
        if self.risen >= RISEN:
            return True
        return not falling and self.flat >= FLAT and step >= (1 + WAIT) * self.step

    def forgive(self) -> None:
        """It was enough: count anew, as what rose before may fall with the learning rate."""
        self.flat, self.risen, self.acted = 0, 0, self.acted + 1

    def describe(self, losses: Sequence[float]) -> str:
        """What was ``seen`` last."""
        more, error = difference(self.lowest, losses)
        now, then = statistics.fmean(losses), statistics.fmean(self.lowest)
        what = "has risen" if self.risen else "falls no longer"
        return f"{what}: {then:.4f} at step {self.step}, {now:.4f} now, a difference of {more:+.4f} ± {error:.4f}"


def difference(before: Sequence[float], now: Sequence[float]) -> tuple[float, float]:
    """By how much the mean over blocks is higher ``now``, and the standard error of that."""
    each = [b - a for a, b in zip(before, now, strict=True)]
    return statistics.fmean(each), statistics.stdev(each) / math.sqrt(len(each))
