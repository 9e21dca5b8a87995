"""The three downstream learners, with scikit-learn's defaults where those will do, for utility and two-sample tests."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEARNERS = ("boosting", "linear", "forest")
MAX_CELLS = 2_000_000


def affordable(columns: int, rows: int) -> int:
    """At most ``rows`` rows, fewer where the table is so wide that fitting would take minutes, but at least 1,000."""
    return min(rows, max(1000, MAX_CELLS // columns))


def fitted(
    learner: str, task: str, x: NDArray[np.float64], y: NDArray[Any], is_code: NDArray[np.bool_], seed: int
) -> Any:
    """A scikit-learn model fitted on ``x`` (n, d), which is ``features.mixed`` for the linear learner and
    ``features.coded`` with its ``is_code`` (d,) for the others; ``task`` is classification or regression."""
    classify = task == "classification"
    if learner == "boosting":
        kind = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
        model = kind(categorical_features=is_code, early_stopping=False, random_state=seed)
    elif learner == "linear":
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100) if classify else Ridge())
    else:
        kind = ExtraTreesClassifier if classify else ExtraTreesRegressor
        model = kind(100, min_samples_leaf=5, random_state=seed)
    with warnings.catch_warnings():
        # A hundred steps bound the time of a wide table; the ranking that an AUC measures has settled long before.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)
