"""Which recipe is tried next, and the record of what became of those before: what Ray Tune calls a searcher.

The default recipe first, against which all others are held; then what worked on similar tables; then proposals of the
memory, and once there are enough of this study's own trials, those of a tree-structured Parzen estimator on them (Bergstra
et al. 2011; Optuna's) in turn.

The record is the state: every suggestion is made from it anew, so a search goes on from it as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.search import Searcher

from synth.ranges import Choice, Range
from tuning import insight, space
from tuning.record import Rung, Scored, Study, Trial

KNOWN = 16  # scored trials from which an estimator learns something: before, it draws evenly, or nearly so
HOPELESS = 8  # trials that failed before any was scored: what ails them all is no recipe
Propose = Callable[[Study, np.random.Generator], Trial | None]


class Search(Searcher):
    """Suggests trials for ``study`` until the ``deadline`` (seconds since 1970) leaves no time for one of ``least_s``
    seconds, or there are ``most``. ``first`` are the trials to start with; then come those of ``propose`` and, later, of the
    estimator, too. ``on_change`` is called when something is known that must not be lost."""

    def __init__(
        self,
        study: Study,
        *,
        families: Sequence[str],
        fixed: Mapping[str, Any],
        first: Sequence[Trial],
        propose: Propose,
        deadline: float,
        least_s: float,
        most: int | None,
        on_change: Callable[[], None],
    ) -> None:
        super().__init__(metric="value", mode="max")
        self.study, self.families, self.fixed = study, families, fixed
        self.propose, self.deadline, self.least_s, self.most = propose, deadline, least_s, most
        self.on_change = on_change
        study.trials.extend(first)
        self.numbers: dict[str, int] = {}
        self.ended = False  # by whoever carries it out: what becomes of trials from then on is not their doing

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial: one that waits, of which some may have begun before, or a new one; None for none at the moment."""
        if self.over:
            return str(Searcher.FINISHED)
        waiting = self.waiting
        if waiting is None:
            waiting = self.new()
            if waiting is None:
                return None
            self.study.trials.append(waiting)
        waiting.state = "running"
        self.numbers[trial_id] = waiting.number
        self.on_change()
        continued = waiting.parent if waiting.origin == "population" else None
        return {
            "number": waiting.number, "knobs": waiting.knobs, "model": waiting.model, "continued": continued,
            "until": waiting.until, "rung": len(waiting.curve),
        }  # fmt: skip

    @property
    def waiting(self) -> Trial | None:
        return next((t for t in self.study.trials if t.state == "waiting"), None)

    @property
    def over(self) -> bool:
        """Whether no further trial begins."""
        trials, waiting = self.study.trials, self.waiting
        if self.ended:
            return True
        if waiting is not None and waiting.origin == "default" and not waiting.curve:
            return False  # however late: without its score nothing can be said of the others
        if time.time() + self.least_s > self.deadline:
            return True
        if sum(t.state == "failed" for t in trials) >= HOPELESS and all(t.last is None for t in trials):
            return True
        return self.most is not None and len(trials) >= self.most and waiting is None

    def new(self) -> Trial | None:
        """A trial that nobody has tried."""
        number = len(self.study.trials)
        rng = np.random.default_rng([self.study.recipe.get("seed", 0), number])
        known = sum(t.last is not None for t in self.study.trials) >= KNOWN
        if (not known or number % 2) and (found := self.propose(self.study, rng)) is not None:
            return found.model_copy(update={"number": number})
        knobs = parzen(self.study, self.families, list(self.fixed), seed=int(rng.integers(2**31)))
        of = space.space(knobs["family"])
        knobs |= {key: value for key, value in self.fixed.items() if key in of}
        return Trial(number=number, origin="tpe", why="the estimator's, from this study's trials", knobs=knobs)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if not self.ended:
            self._note(self.study.trials[self.numbers[trial_id]], result)
            self.on_change()

    def _note(self, trial: Trial, result: dict[str, Any]) -> None:
        if "failure" in result:
            trial.state, trial.failure = "failed", result["failure"]
        elif "rung" in result and result["rung"] > len(trial.curve):
            trial.curve.append(rung_of(result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if self.ended:
            return
        trial = self.study.trials[self.numbers[trial_id]]
        if result is not None:
            self._note(trial, result)  # saved with the state, below: else a last rung would be run again
        if error:
            trial.state = "failed"
            trial.failure = trial.failure or "its process died: out of memory, or the node is gone"
        elif trial.state == "running":
            trial.state = "done"
        self.on_change()

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps copies of a searcher, which nobody needs here."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the state is the study's record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing either."""


def rung_of(result: dict[str, Any]) -> Rung:
    """What a trial has reported, as it is recorded."""
    scores = result["scores"]
    values = {name: float(np.mean([getattr(s, name) for s in scores])) for name in Scored.model_fields}
    return Rung(
        seconds=result["seconds"], cpu_s=result["cpu_s"], step=result["optimizer_step"], draws=len(scores),
        score=Scored(**values), error=float(result["error"]),
    )  # fmt: skip


def parzen(study: Study, families: Sequence[str], fixed: Sequence[str], *, seed: int) -> space.Knobs:
    """Knobs that Optuna's estimator proposes after the study's trials; of several objectives, those of the Pareto front
    are the good ones (Ozaki et al. 2022). A trial that was stopped counts with what it had reached, a failed one as the
    worst."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ways = ["maximize"] * len(study.objective)
    search = optuna.create_study(directions=ways, sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8))
    seen = [t for t in study.trials if t.last is not None or t.state == "failed"]
    reached = [insight.objectives(study, t) for t in seen if t.last is not None]
    worst = [min(column) for column in zip(*reached, strict=True)] if reached else [0.0] * len(ways)
    for trial in seen:
        if trial.family not in families:
            continue
        distributions: dict[str, BaseDistribution] = {"family": CategoricalDistribution(list(families))}
        params: dict[str, Any] = {"family": trial.family}
        for key, range_ in space.space(trial.family, fixed=fixed).items():
            distributions[name_of(trial.family, key)] = distribution(range_)
            params[name_of(trial.family, key)] = inside(range_, trial.knobs[key])
        values = worst if trial.last is None else insight.objectives(study, trial)
        search.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, values=values))
    asked = search.ask()
    family = asked.suggest_categorical("family", list(families))
    knobs: space.Knobs = {"family": family}
    for key, range_ in space.space(family, fixed=fixed).items():
        knobs[key] = asked_for(asked, name_of(family, key), range_)
    return knobs


def asked_for(trial: optuna.Trial, name: str, range_: Range) -> Any:
    if isinstance(range_, Choice):
        return trial.suggest_categorical(name, range_.options)
    if range_.whole:
        return trial.suggest_int(name, int(range_.low), int(range_.high), log=range_.log)
    return inside(range_, trial.suggest_float(name, range_.low, range_.high, log=range_.log))


def name_of(family: str, key: str) -> str:
    """A key's name in the estimator: knobs that families share are good at other values in each."""
    return f"{family}/{key}"


def distribution(range_: Range) -> BaseDistribution:
    if isinstance(range_, Choice):
        return CategoricalDistribution(range_.options)
    if range_.whole:
        return IntDistribution(int(range_.low), int(range_.high), log=range_.log)
    return FloatDistribution(range_.low, range_.high, log=range_.log)


def inside(range_: Range, value: Any) -> Any:
    """The nearest value in the range: the default of a recipe may lie outside of it, or between its options."""
    return range_.value(range_.unit(value))
