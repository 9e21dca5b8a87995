"""Utility: do models trained on the synthetic rows work on real ones? (train on synthetic, test on real: TSTR)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.evaluation import features
from synth.evaluation.frame import Frame, Lens
from synth.evaluation.intervals import NORMAL_95, RESAMPLES, Estimate, auc, multiplicities
from synth.evaluation.learners import LEARNERS, affordable, fitted

TRAIN_ROWS = 50_000
TEST_ROWS = 20_000
MAX_CLASSES = 10


@dataclass(frozen=True)
class Utility:
    """Scores on real test rows, by learner and, as ``mean``, over the learners.

    ``synthetic`` and ``real`` map a metric (``auc``, or ``rmse`` and ``r2``) to its scores when trained on synthetic
    and on real rows. ``relative``: the mean over learners of AUC(synthetic) / AUC(real), or of RMSE(real) /
    RMSE(synthetic), so that 1 is as good as real and less is worse. Both models are scored on the same test rows, so
    its interval holds the test rows' noise already and the baseline is 1 and exact. What another draw of training rows
    would do to either model is left out. ``resampled`` (RESAMPLES,) is ``relative`` on each bootstrap resample of the test
    rows, the same for every sample that one ``Downstream`` judges: two samples are compared by its differences.
    """

    synthetic: dict[str, dict[str, Estimate]]
    real: dict[str, dict[str, Estimate]]
    relative: Estimate
    resampled: NDArray[np.float64]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """Features for trees (with codes) and for the linear model, and the target: class indices or float64 (n,)."""

    coded: NDArray[np.float64]
    mixed: NDArray[np.float64]
    target: NDArray[Any]


class UnmeasuredError(ValueError):
    """Nothing can be scored; the message says why."""


class Downstream:
    """Three learners trained on real rows and scored on held-out ones, to hold those trained on one sample after another
    against; see ``utility``. Raises UnmeasuredError where nothing can be scored."""

    def __init__(self, lens: Lens, real: Frame, test: Frame, rng: np.random.Generator) -> None:
        self.lens, self.notes = lens, list[str]()
        target, task = lens.schema.target, lens.schema.task
        if target is None or task is None:
            raise UnmeasuredError("no target is named: utility was not measured")
        self.target, self.task = target, task
        if target not in lens.names or len(lens.names) < 2:
            raise UnmeasuredError(f"utility was not measured: {target!r} cannot be predicted from the columns compared")
        self.read, notes = _reader(lens, target, task)
        self.notes += notes
        train, held = self._part("real", real, TRAIN_ROWS, rng), self._part("test", test, TEST_ROWS, rng)
        if np.ptp(held.target) == 0 or np.ptp(train.target) == 0:
            raise UnmeasuredError(f"utility was not measured: {target!r} is constant in real train or test rows")
        self.held, self.score = held, _classification if task == "classification" else _regression
        weights, self.seed = multiplicities(len(held.target), rng), int(rng.integers(2**31))
        self.once = np.vstack([np.ones((1, len(held.target)), dtype=np.uint8), weights])
        self.theirs = self._scores(train)
        self.real = _summary(self.theirs)

    def judge(self, sample: Frame, rng: np.random.Generator) -> Utility:
        """Of models trained on the sample."""
        synthetic = self._part("synthetic", sample, TRAIN_ROWS, rng)
        if np.ptp(synthetic.target) == 0:
            self.notes.append(
                f"utility: {self.target!r} is constant in the synthetic rows; a model trained on them knows nothing"
            )
        ours, theirs = self._scores(synthetic), self.theirs
        with np.errstate(divide="ignore", invalid="ignore"):  # of few test rows a resample can have an AUC of 0
            if self.task == "classification":
                ratios = np.mean([ours[k]["auc"] / theirs[k]["auc"] for k in LEARNERS], axis=0)
            else:
                # A perfect fit on either side leaves 0 / 0: as good as each other.
                tiny = 1e-12 * float(np.ptp(self.held.target))
                ratios = np.mean([(theirs[k]["rmse"] + tiny) / (ours[k]["rmse"] + tiny) for k in LEARNERS], axis=0)
        if not np.isfinite(ratios[0]) or np.isfinite(ratios[1:]).sum() < RESAMPLES / 2:
            raise UnmeasuredError("utility was not measured: too few test rows")
        return Utility(_summary(ours), self.real, _estimate(ratios), ratios[1:], list(self.notes))

    def _part(self, what: str, frame: Frame, most: int, rng: np.random.Generator) -> _Part:
        """The rows of a frame that have a target, at most so many."""
        values, lens = self.read(frame), self.lens
        present = np.flatnonzero(~np.isnan(values))
        if len(present) < len(frame):
            self.notes.append(
                f"utility: {len(frame) - len(present):,} {what} rows whose {self.target!r} is missing (or is no "
                "class of real train) were left out"
            )
        count = features.encodable(lens, affordable(len(lens.names), most))
        if len(present) > count:
            self.notes.append(f"utility: {count:,} of the {what} rows were used, drawn at random")
            present = rng.permutation(present)[:count]
        if len(present) == 0:
            raise UnmeasuredError(f"utility was not measured: no {what} row has the target {self.target!r}")
        rows, y = frame.take(present), values[present]
        coded, self.is_code = features.coded(lens, rows, without=self.target)
        return _Part(coded, features.mixed(lens, rows, without=self.target), y)

    def _scores(self, part: _Part) -> dict[str, dict[str, NDArray[np.float64]]]:
        return {k: self.score(k, part, self.held, self.is_code, self.once, self.seed) for k in LEARNERS}


def utility(
    lens: Lens, real: Frame, sample: Frame, test: Frame, rng: np.random.Generator
) -> tuple[Utility | None, list[str]]:
    """Train three learners on each of ``sample`` and ``real`` with default settings, score them on ``test``.

    Classification: ROC AUC, one class against the rest, averaged over the classes of real train that the test rows
    have. A class that the training rows lack is never predicted: it scores 0.5. Regression: RMSE in the target's unit
    (seconds for a date) and R². Intervals: bootstrap over the test rows, the same resamples for every model, so that
    ``relative`` is a paired comparison. Where nothing can be scored the result is None, and the notes say why.
    """
    notes = list[str]()
    try:
        downstream = Downstream(lens, real, test, rng)
        notes = downstream.notes
        return downstream.judge(sample, rng), notes
    except UnmeasuredError as e:
        return None, [*notes, str(e)]


def _reader(lens: Lens, target: str, task: str) -> tuple[Callable[[Frame], NDArray[np.float64]], list[str]]:
    """From a frame to its target, float64 (n,) with NaN where it is missing; a class is its rank by frequency."""
    if task == "regression":
        column = lens.number_names.index(target)
        return lambda frame: frame.numbers[:, column], []
    column = lens.code_names.index(target)
    known = lens.vocabularies[column].known
    pooled = known > MAX_CLASSES
    notes = [f"utility: {target!r} has {known:,} classes; those beyond the {MAX_CLASSES - 1} commonest are one class"]

    def read(frame: Frame) -> NDArray[np.float64]:
        codes = frame.codes[:, column]
        ranks = np.minimum(codes - 1, MAX_CLASSES - 1).astype(np.float64)
        return np.where((codes == 0) | (codes > known), np.nan, ranks)

    return read, notes if pooled else []


def _classification(
    learner: str, part: _Part, test: _Part, is_code: NDArray[np.bool_], weights: NDArray[np.uint8], seed: int
) -> dict[str, NDArray[np.float64]]:
    """``auc``: (B,), for each row of ``weights``."""
    present = np.unique(test.target)
    if np.ptp(part.target) == 0:
        return {"auc": np.full(len(weights), 0.5)}
    fit_on, score_on = (part.mixed, test.mixed) if learner == "linear" else (part.coded, test.coded)
    model = fitted(learner, "classification", fit_on, part.target, is_code, seed)
    probability = dict(zip(model.classes_, model.predict_proba(score_on).T, strict=True))
    nothing = np.zeros(len(test.target))
    # With two classes both are the same area; one is enough.
    wanted = present[1:] if len(present) == 2 else present
    areas = [auc(probability.get(k, nothing), test.target == k, weights) for k in wanted]
    return {"auc": np.mean(areas, axis=0)}


def _regression(
    learner: str, part: _Part, test: _Part, is_code: NDArray[np.bool_], weights: NDArray[np.uint8], seed: int
) -> dict[str, NDArray[np.float64]]:
    """``rmse`` and ``r2``: (B,), for each row of ``weights``."""
    fit_on, score_on = (part.mixed, test.mixed) if learner == "linear" else (part.coded, test.coded)
    predicted = fitted(learner, "regression", fit_on, part.target, is_code, seed).predict(score_on)
    y, w = test.target, weights.astype(np.float64)
    rows = w.sum(axis=1)
    square = w @ (y - predicted) ** 2 / rows
    # Every resample is divided by the variance of all test rows: that of a resample may be 0.
    return {"rmse": np.sqrt(square), "r2": 1 - square / y.var()}


def _estimate(values: NDArray[np.float64]) -> Estimate:
    """The value on all test rows, which comes first, and the normal interval of the bootstrap's standard error, over
    the resamples that have a value."""
    resamples = values[1:][np.isfinite(values[1:])]
    return Estimate.around(float(values[0]), NORMAL_95 * float(resamples.std(ddof=1)), (-np.inf, np.inf))


def _summary(scores: dict[str, dict[str, NDArray[np.float64]]]) -> dict[str, dict[str, Estimate]]:
    metrics = scores[LEARNERS[0]]
    return {
        metric: {
            **{k: _estimate(scores[k][metric]) for k in LEARNERS},
            "mean": _estimate(np.mean([scores[k][metric] for k in LEARNERS], axis=0)),
        }
        for metric in metrics
    }
