"""What kind of table it is, in a few numbers by which tables can be told near or far: meta-features.

Simple, statistical and information-theoretic ones, and landmarks, which are the scores of learners that cost nothing
(Pfahringer, Bensusan, Giraud-Carrier, ICML 2000; Feurer et al., NeurIPS 2015, table 1 of the supplement). None of them
says where a table lies or what is in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.schema import Schema
from synth.errors import UserError
from synth.evaluation import features as matrices
from synth.evaluation.frame import Frame, Lens
from synth.evaluation.intervals import auc

ROWS, CELLS = 30_000, 3_000_000  # rows that are looked at, and values of them: fewer rows of a wide table
LANDMARK_ROWS, FOLDS = 2_000, 2
CLASSES = 10  # the rarer ones count as one
CORRELATED = 50  # columns of numbers between which correlations are looked for
FEW = 256  # distinct values up to which a column of numbers is one of few

NAMES = (
    "log_rows",
    "log_columns",
    "numerical",
    "categorical",
    "log_cardinality_mean",
    "log_cardinality_max",
    "missing",
    "point_mass",
    "few_values",
    "skew",
    "tails",
    "correlation_mean",
    "correlation_max",
    "regression",
    "log_classes",
    "balance",
    "landmark_stump",
    "landmark_tree",
    "landmark_linear",
    "landmark_neighbour",
)


def describe(schema: Schema, real: pa.Table, *, seed: int = 0) -> dict[str, float]:
    """The meta-features of a table's training rows, by name (``NAMES``), all finite.

    ``numerical`` and ``categorical`` are shares of the columns, dates among the numbers. Of columns of numbers, means:
    ``point_mass``, the share of the commonest value; ``few_values``, whether it has at most 256; ``skew``, Bowley's between
    the quantiles 5, 50 and 95 %, in size; ``tails``, ln of (q99 - q1) / (q75 - q25), and 0 where the middle half is one value.
    ``correlation_*`` are of ranks, in size. ``balance``: the entropy of the classes relative to that of equal ones, 1 for
    regression. Landmarks, cross-validated on at most 2,000 rows: 2 AUC - 1, the mean over classes, or R², and at least 0.

    Raises UserError without a target.
    """
    if schema.target is None or schema.task is None:
        raise UserError("a table without a target cannot be compared with others: name one with --target")
    rng = np.random.default_rng([seed, real.num_rows])
    kinds = {column.name: column.kind for column in schema.learnt}
    compared = real.select([name for name in schema.names if name in kinds])
    rows = min(real.num_rows, ROWS, max(1_000, CELLS // len(kinds)))
    if rows < real.num_rows:
        compared = compared.take(np.sort(rng.choice(real.num_rows, rows, replace=False)))
    lens = Lens.fit(schema, {"real train": compared})
    frame, _ = lens.view(compared, "real train", rng)
    cardinalities = [np.log(max(v.known, 1)) for v in lens.vocabularies] or [0.0]
    gaps = np.isnan(frame.numbers).sum() + (frame.codes == 0).sum()
    count = len(lens.names)
    found = {
        "log_rows": np.log(real.num_rows),
        "log_columns": np.log(count),
        "numerical": len(lens.number_names) / count,
        "categorical": len(lens.code_names) / count,
        "log_cardinality_mean": np.mean(cardinalities),
        "log_cardinality_max": np.max(cardinalities),
        "missing": gaps / (len(frame) * count),
        **_shapes(frame.numbers),
        **_correlations(frame.numbers[:, :CORRELATED]),
        **_target(lens, frame),
        **_landmarks(lens, frame.draw(matrices.encodable(lens, LANDMARK_ROWS), rng), rng),
    }
    return {name: float(found[name]) for name in NAMES}


def _shapes(numbers: NDArray[np.float64]) -> dict[str, float]:
    found = []
    for column in numbers.T:
        present = column[~np.isnan(column)]
        if len(present) == 0:
            continue
        counts = np.unique(present, return_counts=True)[1]
        q1, q5, q25, q50, q75, q95, q99 = np.quantile(present, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99))
        skew = abs(q95 - 2 * q50 + q5) / (q95 - q5) if q95 > q5 else 0.0
        tails = np.log((q99 - q1) / (q75 - q25)) if q75 > q25 else 0.0
        found.append((counts.max() / len(present), len(counts) <= FEW, skew, tails))
    means = np.mean(found, axis=0) if found else np.zeros(4)
    return dict(zip(("point_mass", "few_values", "skew", "tails"), means, strict=True))


def _correlations(numbers: NDArray[np.float64]) -> dict[str, float]:
    """Spearman's, in size, between columns that vary, where a missing value is the median."""
    from scipy.stats import rankdata

    filled = [np.where(np.isnan(c), np.nanmedian(c), c) for c in numbers.T if not np.isnan(c).all()]
    varied = [rankdata(column) for column in filled if np.ptp(column) > 0]
    if len(varied) < 2:
        return {"correlation_mean": 0.0, "correlation_max": 0.0}
    sizes = np.abs(np.corrcoef(varied))[np.triu_indices(len(varied), 1)]
    return {"correlation_mean": sizes.mean(), "correlation_max": sizes.max()}


def _target(lens: Lens, frame: Frame) -> dict[str, float]:
    if lens.schema.task == "regression":
        return {"regression": 1.0, "log_classes": 0.0, "balance": 1.0}
    counts = np.array(lens.vocabularies[lens.code_names.index(str(lens.schema.target))].counts)
    shares = counts / max(counts.sum(), 1)
    entropy = -float(np.sum(shares * np.log(shares)))
    classes = max(len(shares), 1)
    return {
        "regression": 0.0,
        "log_classes": np.log(classes),
        "balance": entropy / np.log(classes) if classes > 1 else 0.0,
    }


def _landmarks(lens: Lens, frame: Frame, rng: np.random.Generator) -> dict[str, float]:
    """Least-squares learners, of the classes' indicators as of numbers, each fold predicted from the others."""
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.tree import DecisionTreeRegressor
    from threadpoolctl import threadpool_limits

    wanted, known = _wanted(lens, frame)
    rows = frame.take(np.flatnonzero(known))
    coded = matrices.coded(lens, rows, without=lens.schema.target)[0]
    mixed = matrices.mixed(lens, rows, without=lens.schema.target)
    fold = rng.permutation(len(rows)) % FOLDS
    learners: dict[str, tuple[Any, NDArray[np.float64]]] = {
        "stump": (DecisionTreeRegressor(max_depth=1, random_state=0), coded),
        "tree": (DecisionTreeRegressor(max_depth=5, min_samples_leaf=5, random_state=0), coded),
        "linear": (Ridge(), mixed),
        "neighbour": (KNeighborsRegressor(1, algorithm="brute"), mixed),
    }
    found = {}
    with threadpool_limits(1):  # so little work is done sooner alone than by threads that wait for each other
        for name, (learner, x) in learners.items():
            predicted = np.zeros_like(wanted)
            for k in range(FOLDS):
                train, held = fold != k, fold == k
                if train.any() and held.any() and x.shape[1]:
                    predicted[held] = learner.fit(x[train], wanted[train]).predict(x[held]).reshape(-1, wanted.shape[1])
            found[f"landmark_{name}"] = _score(wanted, predicted, regression=lens.schema.task == "regression")
    return found


def _wanted(lens: Lens, frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What is predicted, float64 (n known, 1) numbers from 0 to 1 or (n known, k) indicators of classes, and bool (n,),
    for which rows it is known."""
    target = str(lens.schema.target)
    if lens.schema.task == "regression":
        j = lens.number_names.index(target)
        values = frame.numbers[:, j : j + 1]
        known = ~np.isnan(values[:, 0])
        return (values[known] - lens.low[j]) / ((lens.high[j] - lens.low[j]) or 1.0), known
    j = lens.code_names.index(target)
    codes = matrices.pool(frame.codes[:, j], lens.vocabularies[j].known, CLASSES)
    known = codes > 0
    return (codes[known, None] == np.unique(codes[known])).astype(np.float64), known


def _score(wanted: NDArray[np.float64], predicted: NDArray[np.float64], *, regression: bool) -> float:
    if regression:
        spread = float(np.square(wanted - wanted.mean()).sum()) if len(wanted) else 0.0
        return max(0.0, 1 - float(np.square(wanted - predicted).sum()) / spread) if spread else 0.0
    once = np.ones((1, len(wanted)), dtype=np.uint8)
    areas = [auc(ours, theirs > 0, once)[0] for ours, theirs in zip(predicted.T, wanted.T, strict=True)]
    return max(0.0, 2 * float(np.mean(areas)) - 1) if areas else 0.0
