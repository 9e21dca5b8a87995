"""When a run has collapsed: its samples cover less and less of what is real, while its loss sees nothing wrong; or they
keep to few of its modes from the start.

A run that never covered much has nothing to fall from, and may be one that learns slowly. Its modes tell the two apart,
as a mode counts as found from a tenth of its rows on. What has learnt little yet draws noise or blur, which lies
everywhere or far out: a GAN of 25 narrow Gaussians that finds them all had 96 % of the modes or more while it covered a
fifth of the rows. The same networks without what keeps them from collapsing covered as much at first, had 66 % of the
modes then and 42 % in the end (``benchmarks/modes.py``). So to have fewer modes than before, or few, is a collapse by
name. But where coverage rises, going on is better than any checkpoint that there is: a run is ended only where neither
figure rises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from synth.provenance.manifest import Diversity

ERRORS = 2.0  # standard errors of a difference between two checks that are no fall yet
LEAST = 0.1  # share of the higher of two shares, however many rows or modes are watched, that is none either
LEARNT = 0.25  # of what real rows cover: early on, a run that will learn well may wander between few modes
LOW = 0.5  # of what real rows cover and of their modes, below which that is little, and these are few
FAR = 0.5  # share of numbers beyond the outermost 1 % of real ones on either side from which samples lie far out
LATE = 0.5  # share of the training from which on that is no slow start


def below(low: float, high: float, count: int) -> bool:
    """Whether a share of ``count`` is lower than another by more than chance."""
    error = math.sqrt((low * (1 - low) + high * (1 - high)) / count)
    return low < high - max(ERRORS * error, LEAST * high)


def little(found: Diversity, real: Diversity) -> bool:
    """Whether samples cover little of what is real."""
    return found.coverage < LOW * real.coverage


def few(found: Diversity, real: Diversity) -> bool:
    """Whether that is because they keep to few modes, and not because most of their numbers are farther out than real
    ones: what lies out there is nearest to few modes, too."""
    return little(found, real) and found.modes < LOW * real.modes and (found.tails is None or found.tails < FAR)


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
        fell = below(coverage, self.best, rows)
        improves = loss is None or self.loss is None or loss < self.loss
        self.falls = self.falls + 1 if fell and improves and self.best >= LEARNT * real else 0
        if coverage > self.best:
            self.best, self.step, self.loss = coverage, step, loss
        return not fell

    def describe(self, coverage: float, loss: float | None) -> str:
        checks = f"over {self.falls} check" + "s" * (self.falls > 1)
        fall = f"coverage fell from {self.best:.2f} (step {self.step}) to {coverage:.2f} {checks}"
        return fall if loss is None else f"{fall} while the loss went from {self.loss:.4g} to {loss:.4g}"


@dataclass
class Modes:
    """The same of its modes.

    ``most`` is the highest share of them so far, found at ``step``; ``fewer`` counts the last successive checks that
    found less. ``stuck`` counts those after the step ``since`` that found little ``coverage`` and few ``modes``, and neither
    higher than they were then; ``since`` is None where the last check found more.
    """

    most: float = 0.0
    step: int = 0
    fewer: int = 0
    stuck: int = 0
    since: int | None = None
    coverage: float = 0.0
    modes: float = 0.0

    def seen(self, step: int, found: Diversity, real: Diversity, rows: int, modes: int, fraction: float) -> None:
        """Take in a check of so many ``rows`` and ``modes``, at a ``fraction`` of the training; ``real`` are other rows."""
        if found.modes > self.most:
            self.most, self.step = found.modes, step
        self.fewer = self.fewer + 1 if below(found.modes, self.most, modes) else 0
        if fraction < LATE or not few(found, real):
            self.since, self.stuck = None, 0
        elif self.since is None or below(self.coverage, found.coverage, rows) or below(self.modes, found.modes, modes):
            self.since, self.stuck, self.coverage, self.modes = step, 0, found.coverage, found.modes
        else:
            self.stuck += 1

    def describe(self, found: Diversity, real: Diversity, enough: int) -> str | None:
        """What a run that ends with ``found`` has come to; None where that is well. Where the coverage is not low, it takes
        ``enough`` successive checks with fewer modes."""
        if self.fewer and (little(found, real) or self.fewer >= enough):
            return f"a collapse, since they had {self.most:.0%} of the modes at step {self.step}"
        if few(found, real):
            return "a collapse onto few modes"
        return "most was not learnt" if little(found, real) else None
