"""Which trials go on: asynchronous successive halving that knows how sure a score is.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934), in its stopping form: a trial
goes on from a rung if it is among the best third of those that have reached it. A value is the mean over a few draws; one
of the better half that lies below the cut by less than the standard error of the difference goes on, too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.stopper import Stopper

from tuning.record import Trial
from tuning.search import Search


class Halving(FIFOScheduler):
    """Decides on the trials of a search by what is recorded of them; ``factor``: one of how many goes on.

    The default recipe is never stopped: all others are measured by it in the end; nor is what is trained for longer.
    """

    def __init__(self, search: Search, factor: int) -> None:
        super().__init__()
        self.search, self.study, self.factor = search, search.study, factor

    def __getstate__(self) -> dict[str, Any]:
        """As of the search: Tune keeps copies."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self.search.on_trial_result(trial.trial_id, result)  # Tune asks the scheduler first
        if self.search.ended:
            return str(TrialScheduler.CONTINUE)
        mine = self.study.trials[trial.config["number"]]
        if mine.state != "running" or mine.origin in ("default", "longer", "sampling"):
            return str(TrialScheduler.CONTINUE)
        if goes_on(mine, self.study.trials, self.factor):
            return str(TrialScheduler.CONTINUE)
        mine.state = "stopped"
        return str(TrialScheduler.STOP)


class Ended(Stopper):
    """Has Ray Tune stop all trials once a search is ``ended``."""

    def __init__(self, search: Search) -> None:
        self.search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.search.ended


def goes_on(mine: Trial, trials: list[Trial], factor: int) -> bool:
    """Whether a trial goes on from the rung that it has reached last."""
    rung = len(mine.curve) - 1
    others = [t.curve[rung].score.value for t in trials if t.number != mine.number and len(t.curve) > rung]
    if not others:
        return True
    half, cut = np.quantile(others, [0.5, 1 - 1 / factor])
    slack = math.sqrt(2) * draw_error(trials, rung)  # of a difference of two
    return bool(mine.curve[rung].score.value >= max(half, cut - slack))


def draw_error(trials: list[Trial], rung: int) -> float:
    """The standard error of a value at a rung, from all trials that reached it together: of one trial's two draws alone it
    could be anything."""
    squares = [t.curve[rung].error ** 2 for t in trials if len(t.curve) > rung]
    return math.sqrt(sum(squares) / len(squares)) if squares else 0.0
