"""What can be read off a study: the best so far, the Pareto front, which knobs its value depended on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuning import space
from tuning.record import ENDING, Finalist, Scored, Study, Trial

FEWEST = 8  # scored trials, below which a forest sees patterns in noise
FOLDS, SHUFFLES, TREES = 5, 10, 50
DEFAULT = 0  # the number of the default recipe's trial, the first of every study
WITH_FAMILY = "family, with the knobs of its own"


def scored(study: Study) -> list[Trial]:
    """The trials of which a sample was scored, whatever became of them."""
    return [trial for trial in study.trials if trial.last is not None]


def searched(study: Study) -> list[Trial]:
    """The scored trials of the search itself, without what comes after it."""
    return [trial for trial in scored(study) if trial.origin not in ENDING]


def value(trial: Trial) -> float:
    """The value at the last rung that it reached, on select; it must have reached one."""
    assert trial.last is not None
    return trial.last.score.value


def sound(study: Study) -> list[Trial]:
    """The scored trials that did not fail: those that can be chosen."""
    return [trial for trial in scored(study) if trial.state != "failed"]


def ranked(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """Scored trials, those with the highest values first; of several objectives first those on their Pareto front."""
    if not trials:
        return []
    front = pareto(np.array([objectives(study, t) for t in trials])) | (len(study.objective) == 1)
    order = sorted(zip(trials, front, strict=True), key=lambda pair: (not pair[1], -value(pair[0]), pair[0].number))
    return [t for t, _ in order]


def best(study: Study) -> Trial | None:
    """The trial of the highest value; the earliest of equals."""
    return max(sound(study), key=value, default=None)


def default(study: Study) -> Trial | None:
    """The default recipe's trial, which all others are held against: the one that was trained for longer, once it is scored
    and unless it failed, or else the first; None as long as neither is scored."""
    longer = [t for t in study.trials if t.origin == "longer" and t.parent == DEFAULT and t.state != "failed"]
    return next((t for t in [*longer, *study.trials[: DEFAULT + 1]] if t.last is not None), None)


def released(study: Study) -> Finalist | None:
    return next((finalist for finalist in study.finalists if finalist.released), None)


def default_finalist(study: Study) -> Finalist | None:
    """The default recipe among the finalists; None where its trial could not be scored on confirm."""
    usual = default(study)
    return next((f for f in study.finalists if usual is not None and f.trial == usual.number), None)


def threshold(study: Study) -> float | None:
    """One standard error of the best finalist below it: what reaches this is not told apart from it."""
    top = max(study.finalists, key=lambda f: f.value, default=None)
    return None if top is None else top.value - top.error


def part(score: Scored, objective: str) -> float:
    """One of the parts of an objective, each of them better when higher: utility, coverage (of more than real rows have, 1),
    privacy (1 - copying)."""
    return {"utility": score.utility, "coverage": min(score.coverage, 1.0), "privacy": 1 - score.copying}[objective]


def objectives(study: Study, trial: Trial) -> list[float]:
    """What a trial reached last: the value, or of several objectives a number for each; higher is better."""
    assert trial.last is not None
    score = trial.last.score
    return [score.value] if len(study.objective) == 1 else [part(score, name) for name in study.objective]


def pareto(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the points (n, objectives), higher being better in each, no other point dominates: is at least as good in
    all objectives and better in one. Equal points are on the front together; one that is not finite is not on it. Bool (n,)."""
    known: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1))
    front = known.copy()
    for i in np.flatnonzero(known):
        others = points[known]
        front[i] = not ((others >= points[i]).all(axis=1) & (others > points[i]).any(axis=1)).any()
    return front


def trained(study: Study) -> list[float]:
    """Seconds of training that each trial added: those before the weights that it took over from its parent are the
    parent's, and one that only samples in another way added none."""
    by_number = {trial.number: trial for trial in study.trials}
    found = []
    for trial in study.trials:
        before, parent = 0.0, by_number.get(-1 if trial.parent is None else trial.parent)
        if trial.origin == "sampling" or trial.last is None:
            found.append(0.0)
            continue
        if trial.origin == "population" and parent is not None:
            before = max((rung.seconds for rung in parent.curve if rung.seconds < trial.curve[0].seconds), default=0.0)
        found.append(trial.last.seconds - before)
    return found


@dataclass(frozen=True)
class Importance:
    """``explained``: the share of the variance of the trials' ranks that a forest predicts of trials it has not seen, 0
    or less where it predicts nothing; ``knobs``: by how much of it that falls when a knob is shuffled, and the standard
    deviation over the shuffles, the largest first; ``trials``: how many there were to learn from."""

    explained: float
    knobs: list[tuple[str, float, float]]
    trials: int


def importance(trials: Sequence[Trial], seed: int = 0) -> Importance | None:
    """Which knobs the value depended on; None of fewer than 8 scored trials.

    Permutation importance (Breiman, Machine Learning 45, 2001, section 10) of random forests over ``space.vector``, on
    trials that the forest has not seen. Ranks are predicted, since one trial that diverged would outweigh the others. A knob
    is shuffled among the trials of families that have it; the family together with the knobs that it alone has.
    """
    from sklearn.ensemble import RandomForestRegressor

    trials = [trial for trial in trials if trial.last is not None and trial.origin not in ENDING]
    if len(trials) < FEWEST:
        return None
    from scipy.stats import rankdata

    X = np.stack([space.vector(trial.knobs) for trial in trials])
    y = rankdata([value(trial) for trial in trials]) / len(trials)
    total = float(((y - y.mean()) ** 2).mean())
    groups = _groups(X)
    if total == 0 or not groups:
        return Importance(0.0, [], len(trials))
    rng = np.random.default_rng(seed)
    shuffled = np.stack([_shuffle(X, columns, rng) for columns in groups.values() for _ in range(SHUFFLES)])
    whole, without = np.empty(len(y)), np.empty((len(shuffled), len(y)))
    for fold in np.array_split(rng.permutation(len(y)), FOLDS):
        seen = np.setdiff1d(np.arange(len(y)), fold)
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)
        forest.fit(X[seen], y[seen])
        whole[fold] = forest.predict(X[fold])
        without[:, fold] = forest.predict(shuffled[:, fold].reshape(-1, X.shape[1])).reshape(-1, len(fold))
    error = float(((whole - y) ** 2).mean())
    lost = (((without - y) ** 2).mean(axis=1) - error).reshape(len(groups), SHUFFLES) / total
    found = zip(groups, lost.mean(axis=1).tolist(), lost.std(axis=1).tolist(), strict=True)
    return Importance(1 - error / total, sorted(found, key=lambda knob: -knob[1]), len(trials))


def _groups(X: NDArray[np.float64]) -> dict[str, list[int]]:
    """The columns that are shuffled together, of what varies among the trials."""
    families = len(space.TABLES)
    keys = dict(enumerate(space.KEYS, start=families))
    groups = {key: [i] for i, key in keys.items() if np.unique(X[:, i][~np.isnan(X[:, i])]).size > 1}
    if len(np.unique(X[:, :families], axis=0)) > 1:
        own = [i for i in keys if np.isnan(X[:, i]).any()]
        groups = {WITH_FAMILY: [*range(families), *own]} | groups
    return groups


def _shuffle(X: NDArray[np.float64], columns: list[int], rng: np.random.Generator) -> NDArray[np.float64]:
    changed = X.copy()
    rows = np.arange(len(X)) if len(columns) > 1 else np.flatnonzero(~np.isnan(X[:, columns[0]]))
    changed[rows[:, None], columns] = X[rng.permutation(rows)[:, None], columns]
    return changed
