"""Where a study's recipes come from besides the estimator: what the memory advises, and what is bred from the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuning import memory
from tuning.evolve import evolve
from tuning.plan import Plan
from tuning.prior import Prior, Recommendation, Suggestion, Told
from tuning.record import Study, Trial

PORTFOLIO = 4  # recipes of the memory that a study begins with
EVOLVED = 3  # of so many proposals one is bred, where that is asked for


def remembered(store: str | None) -> list[memory.Past]:
    """What is shipped, and the user's own studies, unless they are not to be asked."""
    return [*memory.shipped(), *(memory.recall(store) if store is not None else ())]


class Ideas:
    """Trials for ``study``, which has its table's meta-features, from what is ``remembered`` of others.

    ``evolved``: breed recipes beyond the hand-written spaces, too.
    """

    def __init__(
        self, study: Study, plan: Plan, families: Sequence[str], fixed: dict[str, object], pasts: list[memory.Past],
        *, evolved: bool = False,
    ) -> None:  # fmt: skip
        # Time on more CPUs is worth more; what is remembered was measured on one.
        seconds = plan.rungs[-1] * plan.cpus * plan.workers
        self.fixed, self.evolved = fixed, evolved
        self.prior = Prior(
            pasts, study.features, families, seconds=seconds, fixed=fixed, seed=int(study.recipe.get("seed", 0))
        )

    def first(self) -> list[Trial]:
        """The recipes to begin with, beside the default."""
        return [trial_of(found) for found in self.prior.portfolio(PORTFOLIO + 1) if found.origin == "portfolio"]

    def next(self, study: Study, rng: np.random.Generator) -> Trial | None:
        """The recipe to try next, by all that is known by now; None where nothing comes to mind."""
        told: list[Told] = [
            (t.knobs, math.nan if t.last is None else t.last.score.value)
            for t in study.trials
            if t.last is not None or t.state == "failed"
        ]
        running = [t.knobs for t in study.trials if t.state == "running" and not t.curve]
        if self.evolved and rng.integers(EVOLVED) == 0:
            found = evolve(rng, told, 1, prior=self.prior, fixed=self.fixed)
        else:
            found = self.prior.propose(rng, 1, told, running=running)
        return trial_of(found[0]) if found else None

    def recommend(self) -> Recommendation:
        return self.prior.recommend()


def trial_of(found: Suggestion) -> Trial:
    """A trial whose number is not known yet."""
    return Trial(number=0, origin=found.origin, why=found.why, knobs=found.knobs, expected=found.expected)
