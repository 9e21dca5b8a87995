"""The end of a search: its best recipes and the default, trained side by side for the rest of the budget, and then sampled
in other ways, which costs no training.

What the search compared were short trainings. A way of sampling is worth looking for only where it is used: what suits a
model after two minutes need not suit it after twenty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from synth.ranges import Range
from tuning import insight, space
from tuning.plan import TRIAL_S
from tuning.record import ENDING, Study, Trial
from tuning.search import Search

STEP = 0.25  # of a knob's range
CHANGED = 0.5  # chance that a knob is moved, once all were by themselves


class Longer(Search):
    """Trains what is ``first``, and then samples each of these models in other ways until the ``deadline``."""

    def __init__(
        self, study: Study, *, first: Sequence[Trial], fixed: Mapping[str, Any], deadline: float,
        on_change: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(
            study, families=(), fixed=fixed, first=first, propose=lambda *_: None, deadline=deadline, least_s=0.0,
            most=None, on_change=on_change,
        )  # fmt: skip

    @property
    def waiting(self) -> Trial | None:
        """What is left of the search waits in vain."""
        return next((t for t in self.study.trials if t.state == "waiting" and t.origin in ENDING), None)

    @property
    def over(self) -> bool:
        if self.ended:
            return True
        if self.waiting is not None and self.waiting.origin == "longer":
            return False  # however late
        return time.time() + TRIAL_S > self.deadline or not any(self._ranges(t) for t in models(self.study))

    def new(self) -> Trial | None:
        """Another way to sample the model of which the fewest were tried; None while all are still trained."""
        ready = [(len(ways(self.study, t)), t) for t in models(self.study) if t.state == "done" and self._ranges(t)]
        if not ready:
            return None
        tried, model = min(ready, key=lambda pair: (pair[0], pair[1].number))
        number = len(self.study.trials)
        rng = np.random.default_rng([int(self.study.recipe.get("seed", 0)), number])
        known = [model, *(t for t in ways(self.study, model) if t.last is not None)]
        best = max(known, key=insight.value)
        changed = changes(model.knobs, best.knobs, self._ranges(model), tried, rng)
        said = ", ".join(f"{key.partition('.')[2]} {value}" for key, value in changed.items())
        return Trial(
            number=number, origin="sampling", parent=model.number, knobs=model.knobs | changed,
            why=f"trial {model.number}, sampled with {said}",
        )  # fmt: skip

    def _ranges(self, trial: Trial) -> dict[str, Range]:
        """What can be changed of a trained model. A number has no classes whose temperature it were."""
        of = space.space(trial.family, fixed=list(self.fixed))
        useless = ".target_temperature" if self.study.task == "regression" else "-"
        return {key: of[key] for key in sorted(space.sampling(trial.family) & set(of)) if not key.endswith(useless)}


def recipes(study: Study, most: int) -> list[Trial]:
    """What is worth training for longer, as trials: the default, unless it failed, and those recipes whose values are the
    highest, ``most`` in all."""
    trained = [t for t in insight.sound(study) if t.origin not in ENDING]
    first = [t for t in trained if t.number == insight.DEFAULT]
    found: list[Trial] = []
    for t in [*first, *insight.ranked(study, trained)]:
        if len(found) < most and t.knobs not in [other.knobs for other in found]:  # of a population, there are segments
            found.append(t)
    return [
        Trial(number=0, origin="longer", parent=t.number, knobs=t.knobs, why=f"trial {t.number}'s recipe, for longer")
        for t in found
    ]


def models(study: Study) -> list[Trial]:
    """The trials that are trained for longer, as far as they did not fail."""
    return [t for t in study.trials if t.origin == "longer" and t.state != "failed"]


def ways(study: Study, model: Trial) -> list[Trial]:
    """The other ways in which a model was sampled."""
    return [t for t in study.trials if t.origin == "sampling" and t.parent == model.number]


def changes(
    base: space.Knobs, best: space.Knobs, ranges: Mapping[str, Range], tried: int, rng: np.random.Generator
) -> dict[str, Any]:
    """What to sample a model with next, after so many ways were ``tried``: each knob moved by itself, first down and then
    up; then several at once, around the best way so far."""
    moved = [
        {key: value}
        for sign in (-STEP, STEP)
        for key, range_ in ranges.items()
        if (value := range_.value(range_.unit(base[key]) + sign)) != base[key]
    ]
    if tried < len(moved):
        return moved[tried]
    around = {key: range_.unit(best[key]) for key, range_ in ranges.items()}
    while True:  # what is moved little, or beyond its range, may stay where it was
        shift = (rng.random(len(ranges)) < CHANGED) * rng.normal(0, STEP, len(ranges))
        found = {
            key: ranges[key].value(around[key] + d) if d else best[key] for key, d in zip(around, shift, strict=True)
        }
        if any(value != best[key] for key, value in found.items()):
            return found
