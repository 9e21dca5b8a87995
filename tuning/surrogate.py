"""What a recipe will reach on a table, predicted before it runs, from what recipes reached on others.

Gradient-boosted trees over meta-features, knobs and seconds of training, which tell a knob that a family lacks from any
value of it; how far they err on a table they have not seen is measured by leaving whole data sets out.

All of it computes in one thread: beside busy trials, threads that wait for each other take minutes for seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tuning import space
from tuning.distances import Floats
from tuning.features import NAMES
from tuning.memory import Past

FOLDS = 4  # of data sets, to measure how far predictions err
ABSENT = -2.0  # where a knob that a family lacks lies, far outside the unit interval
NEAR = 0.2  # share of all predictions by whose errors another one is judged: those most like it
TREES: dict[str, Any] = {
    "max_iter": 100, "learning_rate": 0.08, "max_leaf_nodes": 12, "min_samples_leaf": 12, "l2_regularization": 1.0,
    "early_stopping": False,
}  # fmt: skip


def rank_of(values: Sequence[float] | Floats, among: Sequence[float] | Floats) -> Floats:
    """Where values would rank among others, from 0 for the best, that is the highest, to 1 for the worst: the share of the
    others that are better, equal ones half. What is no number is worst."""
    ours, theirs = (np.nan_to_num(np.asarray(v, dtype=np.float64), nan=-math.inf) for v in (values, among))
    rising = np.sort(theirs)
    return 1 - (np.searchsorted(rising, ours, side="left") + np.searchsorted(rising, ours, side="right")) / 2 / len(
        rising
    )


def places(knobs: Sequence[space.Knobs]) -> Floats:
    """float64 (n, families + keys): ``space.vector`` of each, as the trees take it. They do take NaN, but not in a column that
    holds nothing else, as that of a knob of a family that nobody has tried does."""
    return np.nan_to_num(np.array([space.vector(k) for k in knobs]), nan=ABSENT)


def inputs(features: Mapping[str, float], seconds: Sequence[float] | Floats, where: Floats) -> Floats:
    """float64 (n, d): meta-features; the logarithms of the seconds, in all and for a row; the places of the knobs."""
    table, log = np.array([features[name] for name in NAMES]), np.log(seconds)
    return np.column_stack([np.tile(table, (len(where), 1)), log, log - features["log_rows"], where])


class Surrogate:
    """Predicts, of recipes on a table, where they rank among those tried there (0 best, 1 worst), and their value."""

    def __init__(self, pasts: Sequence[Past], *, seed: int = 0) -> None:
        """Fit, and measure the errors, which takes seconds for a thousand trials; one at least must have been scored."""
        x, value, rank, group = _points(pasts)
        self._seed = seed
        self._rank, self._value = self._trees(x, rank), self._trees(x, value)
        order = np.random.default_rng(seed).permutation(len(pasts))
        folds = order[group] % min(FOLDS, len(pasts))
        predicted = np.empty((2, len(x)))
        for fold in np.unique(folds):
            held = folds == fold
            for i, wanted in enumerate((rank, value)):
                # Of one data set alone nothing is known but that: the mean, and how they spread about it.
                alone = bool(held.all())
                predicted[i, held] = (
                    np.nanmean(wanted) if alone else _predicted(self._trees(x[~held], wanted[~held]), x[held])
                )
        self.rank_error = float(np.sqrt(np.mean(np.square(predicted[0] - rank))))
        scored = ~np.isnan(value)
        order = np.argsort(predicted[1, scored], kind="stable")
        self._seen, missed = predicted[1, scored][order], np.square(predicted[1] - value)[scored][order]
        self._missed = np.concatenate([[0.0], np.cumsum(missed)])

    def ranks(self, tables: Sequence[Mapping[str, float]], knobs: Sequence[space.Knobs], seconds: float) -> Floats:
        """float64 (tables, n), within [0, 1]: after so many seconds, on tables of these features."""
        where, same = places(knobs), np.full(len(knobs), seconds)
        x = np.concatenate([inputs(features, same, where) for features in tables])
        return np.clip(_predicted(self._rank, x), 0, 1).reshape(len(tables), len(knobs))

    def values(
        self, features: Mapping[str, float], knobs: Sequence[space.Knobs], seconds: float
    ) -> tuple[Floats, Floats]:
        """float64 (n,) each: the values after so many seconds, and their standard errors, which are those of predictions
        like these, for tables that were left out."""
        found = _predicted(self._value, inputs(features, np.full(len(knobs), seconds), places(knobs)))
        width = max(1, round(NEAR * len(self._seen)))
        start = np.clip(np.searchsorted(self._seen, found) - width // 2, 0, len(self._seen) - width)
        return found, np.sqrt((self._missed[start + width] - self._missed[start]) / width)

    def _trees(self, x: Floats, wanted: Floats) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        scored = ~np.isnan(wanted)
        with threadpool_limits(1):
            return HistGradientBoostingRegressor(random_state=self._seed, **TREES).fit(x[scored], wanted[scored])


def _predicted(model: Any, x: Floats) -> Floats:
    with threadpool_limits(1):
        found: Floats = model.predict(x)
        return found


def _points(pasts: Sequence[Past]) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """A point for every rung of every trial, and for one that failed, as of the longest: inputs (n, d), values (n,) with NaN
    for failures, ranks (n,), and of which data set (n,)."""
    x, values, ranks, groups = [], [], [], []
    for group, past in enumerate(pasts):
        among = [trial.value for trial in past.trials]
        longest = max(max(trial.seconds for trial in past.trials), 1.0)
        knobs, seconds, value = [], [], []
        for trial in past.trials:
            lost = [(longest, math.nan)] if trial.failed else []
            for at, reached in [*((p.seconds, p.value) for p in trial.curve), *lost]:
                knobs.append(trial.knobs)
                seconds.append(at)
                value.append(reached)
        x.append(inputs(past.features, seconds, places(knobs)))
        values.append(value)
        ranks.append(rank_of(value, among))
        groups.append(np.full(len(value), group))
    return np.concatenate(x), np.concatenate(values), np.concatenate(ranks), np.concatenate(groups)
