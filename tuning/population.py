"""Population-based training, for long runs: recipes that change while they train.

Jaderberg et al. 2017, "Population Based Training of Neural Networks" (arXiv 1711.09846), by segments: each member of a
population trains for a segment and is scored; of those that have come as far, one of the worst quarter leaves its model for
that of one of the best quarter (exploit) and shifts the knobs that a model can change while it is trained (explore); the
others go on as they are.

A segment is a trial of its own that begins with a checkpoint of the one before, so that the record says who came from
whom, and a search goes on from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuning import space
from tuning.record import Trial
from tuning.search import Search

QUARTER = 0.25
REDRAWN = 0.25  # chance that a knob is drawn anew, where it is not shifted
SHIFT = 0.2  # of a knob's range


class Population(Search):
    """A search by ``members`` recipes: the default, those of the memory, and drawn ones; ``segment_s`` seconds of training
    each time."""

    def __init__(self, *arguments: Any, members: int, segment_s: float, **options: Any) -> None:
        options["first"] = options["first"][:members]
        super().__init__(*arguments, **options)
        self.members, self.segment_s = members, segment_s
        for trial in self.study.trials:
            if trial.until is None:
                trial.until = segment_s

    def new(self) -> Trial | None:
        """The next segment of the member that has come least far, or another member while there are too few."""
        trials = [t for t in self.study.trials if t.state != "failed"]
        continued = {t.parent for t in trials if t.origin == "population"}
        ends = [t for t in trials if t.number not in continued]
        ready = [t for t in ends if t.last is not None and t.state == "done"]
        if len(ends) < self.members or not ready:  # there may be more slots than members
            found = super().new()
            return None if found is None else found.model_copy(update={"until": self.segment_s})
        mine = min(ready, key=lambda t: (t.until or 0.0, t.number))
        number = len(self.study.trials)
        rng = np.random.default_rng([self.study.recipe.get("seed", 0), number])
        source = exploited(mine, trials, rng)
        return Trial(
            number=number, origin="population", parent=source.number, until=(source.until or 0.0) + self.segment_s,
            knobs=mine.knobs if source is mine else explored(source.knobs, rng, fixed=list(self.fixed)),
            why=f"trial {source.number} goes on" + ("" if source is mine else f", in the place of trial {mine.number}"),
        )  # fmt: skip


def exploited(mine: Trial, trials: list[Trial], rng: np.random.Generator) -> Trial:
    """The trial to go on with: one of the best quarter of those that have come as far, if this is one of the worst."""
    peers = [t for t in trials if t.last is not None and t.state == "done" and t.until == mine.until]
    ranked = sorted(peers, key=lambda t: t.last.score.value if t.last else 0.0)
    few = max(1, int(QUARTER * len(ranked)))
    if len(ranked) < 2 or mine not in ranked[:few]:
        return mine
    return ranked[-1 - int(rng.integers(few))]


def explored(knobs: space.Knobs, rng: np.random.Generator, *, fixed: Sequence[str] = ()) -> space.Knobs:
    """The knobs with those shifted, or drawn anew, that a model can change while it is trained, but for ``fixed`` ones."""
    found = dict(knobs)
    for key, range_ in space.space(knobs["family"], fixed=fixed).items():
        if key in space.moving(knobs["family"]):
            shifted = range_.unit(knobs[key]) + SHIFT * rng.choice([-1.0, 1.0])
            found[key] = range_.value(rng.random() if rng.random() < REDRAWN else shifted)
    return found
