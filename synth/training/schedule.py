"""How long to train, and the learning rate on the way.

Warm-up, a constant rate, then a linear fall to zero over the last ``decay`` share of the steps. A time budget only has
to fix the number of steps when the fall begins: what was done in (1 − decay) of the budget says how many fit. The run is
then reproducible from that number alone, which no schedule over wall-clock time is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from synth.recipe import TrainingRecipe


@dataclass
class Schedule:
    """``total`` optimizer steps, None until a time budget has fixed it."""

    recipe: TrainingRecipe
    total: int | None

    @classmethod
    def of(cls, recipe: TrainingRecipe) -> Schedule:
        return cls(recipe, recipe.steps)

    def observe(self, step: int, elapsed: float) -> None:
        """Fix the number of steps once the constant phase has used its share of the budget (seconds)."""
        budget = self.recipe.budget_s
        if self.total is None and budget is not None and elapsed >= (1 - self.recipe.decay) * budget:
            self.total = math.ceil(step / (1 - self.recipe.decay))  # so that the fall begins here

    def finished(self, step: int) -> bool:
        return self.total is not None and step >= self.total

    def rate(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0)."""
        fall = 1.0
        if self.total is not None:
            fall = min(1.0, (self.total - step) / (self.recipe.decay * self.total))
        return self.recipe.learning_rate * min(1.0, (step + 1) / self.recipe.warmup) * fall

    def fraction(self, step: int, elapsed: float) -> float:
        """How much of the training is done, 0 to 1."""
        if self.total is not None:
            return min(1.0, step / self.total)
        assert self.recipe.budget_s is not None
        return min(1.0, elapsed / self.recipe.budget_s)
