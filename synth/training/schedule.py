"""How long to train, and the learning rate on the way.

Warm-up, a constant rate, then a linear fall to zero over the last ``decay`` share of the steps. A time budget only has
to fix the number of steps when the fall begins: what was done in (1 − decay) of the budget says how many fit. Where the
steps after that take longer, the end is brought nearer and what is left of the fall becomes steeper. The recipe of the
release keeps when, so that the run is reproducible from steps alone, which no schedule over wall-clock time is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from synth.recipe import TrainingRecipe

LOOK = 0.25  # of the time that is left, from one look at the pace to the next: the nearer the end, the more often
SLACK = 0.02  # share of the steps that are left by which a pace may seem too slow without being so
MOST = 0.5  # share of the steps that are left by which one look brings the end nearer: the rate falls, and never drops
TOLD = 0.9  # share of the planned steps below which the notes say so


@dataclass
class Schedule:
    """``total`` optimizer steps, None until a time budget has fixed it. ``shortened`` are the (step, total until then)
    at which the end was brought nearer."""

    recipe: TrainingRecipe
    total: int | None
    shortened: list[tuple[int, int]] = field(default_factory=list)
    _seen: tuple[int, float] | None = None  # the step and the seconds of the last look at the pace

    @classmethod
    def of(cls, recipe: TrainingRecipe) -> Schedule:
        return cls(recipe, recipe.steps, list(recipe.shortened))

    def restore(self, total: int | None, shortened: Iterable[Iterable[int]]) -> None:
        """As a checkpoint has it; the pace is measured anew."""
        self.total, self.shortened, self._seen = total, [(step, end) for step, end in shortened], None

    def observe(self, step: int, elapsed: float) -> None:
        """Fix the number of steps once the constant phase has used its share of the budget (seconds)."""
        budget = self.recipe.budget_s
        if self.total is None and budget is not None and elapsed >= (1 - self.recipe.decay) * budget:
            self.total = _total(step, self.recipe.decay)  # so that the fall begins here

    def sooner(self, step: int) -> None:
        """Let the fall begin here, before the budget says so; if it has begun, take MOST of what is left of it away."""
        if self.total is None:
            self.total = _total(step, self.recipe.decay)
        elif step < self.total:
            self.shortened.append((step, self.total))
            self.total = step + max(int((1 - MOST) * (self.total - step)), 1)

    def hold(self, step: int, elapsed: float) -> None:
        """Bring the end nearer where the steps that are left do not fit into what the budget has left, at the pace since
        the last look. Once the budget is spent, every call does."""
        budget = self.recipe.budget_s
        if budget is None or self.total is None or step >= self.total:
            return
        if self._seen is None:
            self._seen = step, elapsed
        before, then = self._seen
        if step == before or elapsed - then < LOOK * (budget - then):
            return
        self._seen, left = (step, elapsed), self.total - step
        fit = int((budget - elapsed) * (step - before) / (elapsed - then))
        if fit < (1 - SLACK) * left:
            self.shortened.append((step, self.total))
            self.total = step + max(fit, int(MOST * left))

    def describe(self) -> str | None:
        """What became of a budget's plan, where the end was brought nearer by more than a few steps."""
        planned = self.shortened[0][1] if self.shortened else None
        if planned is None or self.total is None or self.total > TOLD * planned:
            return None
        return f"{self.total:,} of {planned:,} planned steps fit into the budget, as they took longer later on"

    def finished(self, step: int) -> bool:
        return self.total is not None and step >= self.total

    def last(self, step: int, share: float) -> bool:
        """Whether a step is among the last ``share`` of them, as far as their number is known."""
        total = next((planned for until, planned in self.shortened if step < until), self.total)
        return total is not None and step >= (1 - share) * total

    def rate(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0)."""
        return self.recipe.learning_rate * min(1.0, (step + 1) / self.recipe.warmup) * self._fall(step)

    def _fall(self, step: int) -> float:
        """Share of the rate that the fall has left: a line to zero at the end, from where it was when that was set."""
        if self.total is None:
            return 1.0
        ends = [*self.shortened, (step, self.total)]
        begin, height = (1 - self.recipe.decay) * ends[0][1], 1.0
        for until, end in ends:
            at = min(step, until)
            height *= min(1.0, (end - at) / (end - begin))
            if at == step:
                break
            begin = until
        return height

    def fraction(self, step: int, elapsed: float) -> float:
        """How much of the training is done, 0 to 1."""
        if self.total is not None:
            return min(1.0, step / self.total)
        assert self.recipe.budget_s is not None
        return min(1.0, elapsed / self.recipe.budget_s)


def _total(step: int, decay: float) -> int:
    """Of how many steps the last share ``decay`` begins after ``step``."""
    return math.ceil(step / (1 - decay))


def ended(step: int, total: int | None, shortened: Iterable[Iterable[int]], decay: float) -> list[tuple[int, int]]:
    """``shortened`` of a run of ``step`` steps, which may have been ended before its ``total`` was reached or known: with as
    many steps, it repeats the run."""
    planned = _total(step, decay) if total is None else total
    known = [(at, end) for at, end in shortened]
    return [*known, (step, planned)] if step < planned else known
