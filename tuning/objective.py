"""What a trial is worth: how well models trained on its samples do on real rows that it has not seen.

The rows are those of one part of the split, ``select`` while searching, and what is measured is what the certificate
measures: utility, the mean over downstream learners of their score when trained on the sample relative to that when trained
on real rows; and, because a generator that repeats a few useful rows, or the rows it learnt from, could be useful, too,
penalties for what it leaves uncovered and for rows that are nearer to those it learnt from than real rows are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.schema import Schema
from synth.errors import UserError
from synth.evaluation import diversity, privacy
from synth.evaluation.frame import Frame, Lens
from synth.evaluation.intervals import NORMAL_95, RESAMPLES, Estimate
from synth.evaluation.utility import Downstream, UnmeasuredError

COVERAGE = 0.1  # what it costs to cover nothing; to cover a tenth less than real rows do costs .01
COPYING = 0.5  # the same of the share of rows that are nearer to train than to other rows, above that of real rows by
# more than chance: by itself it is far noisier than utility, and would decide between honest generators
NEAR_ROWS, MOST_ASKED = 2_000, 4_000  # rows to cover, and rows of a sample whose neighbours are looked for


@dataclass(frozen=True)
class Score:
    """Of one sample: ``utility`` relative to real rows and its standard ``error`` over the held-out rows; ``coverage``
    relative to that of other real rows, more than which earns nothing; ``copying``, by how much more rows are nearer to
    train than to the held-out rows than real rows are, beyond the 95 % interval of the difference; ``resampled``: the
    utility on each resample of the held-out rows, which are the same for all scores of one objective."""

    utility: float
    error: float
    coverage: float
    copying: float
    resampled: NDArray[np.float64] = field(repr=False, compare=False)

    @property
    def value(self) -> float:
        """Utility less the penalties; higher is better."""
        return self.utility - COVERAGE * max(0.0, 1 - self.coverage) - COPYING * self.copying

    @property
    def privacy(self) -> float:
        """No row nearer to train than real ones are: 1; all: about a half."""
        return 1 - self.copying


def mean(scores: Sequence[Score]) -> Score:
    """Of several draws from one model, over the same held-out rows."""
    n = len(scores)
    return Score(**{f.name: sum(getattr(s, f.name) for s in scores) / n for f in fields(Score)})


def draw_error(scores: Sequence[Score]) -> float:
    """Standard deviation of the value from one draw to another; not a number for one draw."""
    return float(np.std([s.value for s in scores], ddof=1)) if len(scores) > 1 else math.nan


def excess(ours: Estimate, theirs: Estimate) -> float:
    """By how much one lies above the other, beyond the 95 % interval of the difference; 0 where it does not."""
    error = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    return max(0.0, ours.value - theirs.value - error)


class Objective:
    """Scores samples against rows of one part. What real rows do is measured once.

    Raises UserError where the part cannot judge: no target, or a target of one class in it.
    """

    def __init__(self, schema: Schema, real: pa.Table, held: pa.Table, *, part: str, seed: int) -> None:
        rng = np.random.default_rng([seed, len(part)])
        self.lens = Lens.fit(schema, {"real train": real, part: held})
        self.train, self.held = (self.lens.view(t, what, rng)[0] for t, what in ((real, "real train"), (held, part)))
        self.seed, rows = seed, min(NEAR_ROWS, len(self.train), len(self.held))
        self.some = self.train.draw(rows, rng)
        try:
            self.downstream = Downstream(self.lens, self.train, self.held, rng)
        except UnmeasuredError as e:
            raise UserError(
                f"recipes cannot be told apart on the {len(self.held):,} rows of {part}: {e}. Name a target that varies "
                "there with --target, or give the part a larger share with --split"
            ) from e
        self.covered = self._covered(self.held.draw(rows, rng), rng)

    @property
    def real(self) -> dict[str, float]:
        """What models trained on real rows score, the mean over the learners, by metric."""
        return {metric: found["mean"].value for metric, found in self.downstream.real.items()}

    def __call__(self, sample: pa.Table, seed: int = 0) -> Score:
        """The score of a sample; the same ``seed`` gives the same."""
        rng = np.random.default_rng([self.seed, seed])
        frame = self.lens.view(sample, "the sample", rng)[0]
        try:
            judged = self.downstream.judge(frame, rng)
        except UnmeasuredError:  # a sample of which a model learns nothing
            return Score(0.0, 0.0, 0.0, 0.0, np.zeros(RESAMPLES))
        near = privacy.closest(self.lens, self.train, frame.draw(MOST_ASKED, rng), self.held, rng)
        copying = 0.0 if near is None else excess(near[0].dcr_share, near[1].dcr_share)
        coverage = self._covered(frame.draw(len(self.some), rng), rng) / self.covered if self.covered else 1.0
        found = judged.relative
        return Score(found.value, (found.high - found.value) / NORMAL_95, coverage, copying, judged.resampled)

    def _covered(self, sample: Frame, rng: np.random.Generator) -> float:
        """The share of some train rows that the sample covers; 1 where there are too few rows to tell."""
        found = diversity.clouds(self.lens, self.some, [sample], rng)
        return 1.0 if found is None else found[0].coverage.value
