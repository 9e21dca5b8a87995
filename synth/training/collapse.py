"""When a run has collapsed: its samples cover less and less of what is real, while its loss sees nothing wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

ERRORS = 2.0  # standard errors of a difference between two checks that are no fall yet
LEAST = 0.1  # share of the best coverage, however many rows are watched, that is none either
LEARNT = 0.25  # of what real rows cover: early on, a run that will learn well may wander between few modes


@dataclass
class Collapse:
    """What a run remembers of its coverage from one check to the next, and in its checkpoints.

    ``best`` is the highest coverage so far, None before the first check; it was found at ``step``, with the mean ``loss``
    until there. ``falls`` counts the last successive checks that found less while the loss improved.
    """

    best: float | None = None
    step: int = 0
    loss: float | None = None
    falls: int = 0

    def seen(self, step: int, coverage: float, rows: int, real: float, loss: float | None) -> bool:
        """Take in a check of so many ``rows``; whether the coverage is at its best, as far as chance lets that be told.

        ``real`` is the coverage of other real rows. ``loss`` is the mean since the check before, None where losses say
        nothing, as in a game of two players. A fall while the loss rises does not count: that is trouble of another kind.
        """
        if self.best is None:
            self.best, self.step, self.loss = coverage, step, loss
            return True
        error = math.sqrt((coverage * (1 - coverage) + self.best * (1 - self.best)) / rows)
        fell = coverage < self.best - max(ERRORS * error, LEAST * self.best)
        improves = loss is None or self.loss is None or loss < self.loss
        self.falls = self.falls + 1 if fell and improves and self.best >= LEARNT * real else 0
        if coverage > self.best:
            self.best, self.step, self.loss = coverage, step, loss
        return not fell

    def describe(self, coverage: float, loss: float | None) -> str:
        checks = f"over {self.falls} check" + "s" * (self.falls > 1)
        fall = f"coverage fell from {self.best:.2f} (step {self.step}) to {coverage:.2f} {checks}"
        return fall if loss is None else f"{fall} while the loss went from {self.loss:.4g} to {loss:.4g}"
