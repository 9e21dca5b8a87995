"""Fidelity: do columns, pairs of columns and whole rows look like the real ones?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from synth.evaluation import features
from synth.evaluation.frame import GROUPS, Frame, Lens
from synth.evaluation.intervals import Estimate, auc, jackknife, leave_one_out
from synth.evaluation.learners import affordable, fitted

BINS = 10
MAX_PAIRED = 200
"""Columns whose pairs are measured: 19,900 pairs. Of a wider table as many are drawn at random."""
MANY_PAIRS, PAIRED_ROWS, PAIRED_CATEGORIES = 1000, 20_000, 50
"""With more pairs than that, so many rows and categories of a column: minutes otherwise."""
DETECTOR_ROWS = 20_000
PROBE_ROWS = 4_000
FOLDS = 5
PROBED, TELLING = 200, 3
"""Columns whose betrayal is asked for one by one; of a wider table those of so many blocks of columns that tell most."""
STUDENT_95 = 2.776
"""Student's t with four degrees of freedom: five folds."""


@dataclass(frozen=True)
class Shape:
    """``columns``: float64 (p + q,), the error of each column in per cent, in the order of ``Lens.names``."""

    mean: Estimate
    columns: NDArray[np.float64]


def shape(lens: Lens, real: Frame, sample: Frame) -> Shape:
    """How far the marginals are apart, in per cent: 0 for identical columns, 100 for disjoint ones.

    Categories: total variation distance, ½ Σ|p - q|, a missing value being a category. Numbers: Kolmogorov-Smirnov,
    sup|F - G|, with missing values put at whichever end of the line shows the larger gap; a column without missing
    values has the usual statistic. The mean over columns is 100 · (1 - "Column Shapes") of the published protocol
    (Zhang et al. 2024, arXiv 2310.09656, appendix).
    """
    errors = [
        _number_errors(real.numbers[:, i], sample.numbers[:, i], real.group, sample.group)
        for i in range(len(lens.number_names))
    ]
    for j in range(len(lens.code_names)):
        size = len(lens.vocabularies[j].values) + 1
        p, q = (_shares(_tally(f.codes[:, j], f.group, size)) for f in (real, sample))
        errors.append(np.abs(p - q).sum(axis=1) / 2)
    table = 100 * np.stack(errors, axis=1)
    return Shape(jackknife(table.mean(axis=1), (0, 100)), table[0])


def _tally(cells: NDArray[np.integer], group: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Rows in each cell, on all rows and without each group: (GROUPS + 1, size)."""
    counts = np.bincount(group * size + cells, minlength=GROUPS * size).reshape(GROUPS, size)
    return leave_one_out(counts.astype(np.float64))


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _number_errors(
    real: NDArray[np.float64],
    sample: NDArray[np.float64],
    real_group: NDArray[np.int64],
    sample_group: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Kolmogorov-Smirnov statistics (GROUPS + 1,). ``np.unique`` sorts NaN last: missing is the last point."""
    values, cells = np.unique(np.concatenate([real, sample]), return_inverse=True)
    p = _shares(_tally(cells[: len(real)], real_group, len(values)))
    q = _shares(_tally(cells[len(real) :], sample_group, len(values)))
    gap = np.cumsum(p - q, axis=1)
    if not np.isnan(values[-1]):
        return np.abs(gap).max(axis=1)
    missing_first = gap + (p - q)[:, -1:]
    missing_first[:, -1] = 0
    return np.maximum(np.abs(gap), np.abs(missing_first)).max(axis=1)


@dataclass(frozen=True)
class Trend:
    """``errors``, ``real``, ``sample``: float64 (c, c) over the columns ``names``; NaN where a pair has no trend.

    ``errors`` in per cent; the others are the associations themselves: Pearson's correlation of two numbers, Cramér's V
    of any other pair.
    """

    mean: Estimate
    names: list[str]
    errors: NDArray[np.float64]
    real: NDArray[np.float64]
    sample: NDArray[np.float64]
    notes: list[str] = field(default_factory=list)


def trend(
    lens: Lens,
    real: Frame,
    samples: Sequence[Frame],
    rng: np.random.Generator,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Trend]:
    """How far the dependence of column pairs is apart, in per cent, for each of ``samples``.

    Two numbers: |ρ_real - ρ_sample| / 2 with Pearson's ρ on the rows that have both. Otherwise: total variation
    distance of the joint contingency tables, numbers cut into 10 equal bins of the range of real train (one more for
    missing values; what lies outside falls into the end bins). The mean over all pairs is 100 · (1 - "Column Pair
    Trends") of the published protocol (SDMetrics 0.11.1), but for the bins: there each table is cut by its own range,
    and one outlier shifts every bin and inflates the error. (SDMetrics 0.32 keeps only strongly associated pairs, and
    its figures are not comparable.) A number that is constant in real train has no trend with other numbers and those
    pairs are left out; one that is constant in the sample alone has correlation 0, which costs what was lost.
    """
    notes, chosen = [], np.arange(len(lens.names))
    if len(chosen) > MAX_PAIRED:
        chosen = np.sort(rng.choice(len(chosen), MAX_PAIRED, replace=False))
        notes.append(f"trends: pairs of {MAX_PAIRED} of the {len(lens.names)} columns, drawn at random")
    split = int((chosen < len(lens.number_names)).sum())
    numbers = chosen[:split]
    frames, side, limit = [real, *samples], len(chosen), features.MAX_CATEGORIES
    if (side * (side - 1) - split * (split - 1)) / 2 > MANY_PAIRS:  # of two numbers the pairs cost nothing
        limit = PAIRED_CATEGORIES
        if max(map(len, frames)) > PAIRED_ROWS:
            frames = [frame.draw(PAIRED_ROWS, rng) for frame in frames]
            notes.append(f"trends: {PAIRED_ROWS:,} rows of each table at most, drawn at random, for the many pairs")
        if any(vocabulary.known > limit for vocabulary in lens.vocabularies):
            notes.append(f"trends: categories beyond the {limit} commonest are pooled, for the many pairs")
    cells = [_cells(lens, frame, chosen, limit) for frame in frames]
    sizes = [BINS + 1] * split + [
        min(lens.vocabularies[j].known, limit) + 2 for j in chosen[split:] - len(lens.number_names)
    ]
    association = np.full((len(frames), side, side), np.nan)
    errors = np.full((len(samples), GROUPS + 1, side, side), np.nan)
    rho = [_correlations(lens, frame, numbers) for frame in frames]
    constant = lens.std[numbers] == 0
    undefined = constant[:, None] | constant[None, :] | np.eye(split, dtype=bool)
    for f, correlation in enumerate(rho):
        association[f, :split, :split] = np.where(undefined, np.nan, correlation[0])
    for s in range(len(samples)):
        errors[s, :, :split, :split] = np.where(undefined, np.nan, np.abs(rho[0] - rho[s + 1]) / 2)
    for b in range(split, side):
        progress((b**2 - split**2) / side**2)
        for a in range(b):
            size = sizes[a] * sizes[b]
            tables = [
                _tally(c[:, a].astype(np.int64) * sizes[b] + c[:, b], f.group, size)
                for c, f in zip(cells, frames, strict=True)
            ]
            shares = [_shares(t) for t in tables]
            for f, table in enumerate(shares):
                association[f, a, b] = association[f, b, a] = _cramers_v(table[0].reshape(sizes[a], sizes[b]))
            for s in range(len(samples)):
                errors[s, :, a, b] = errors[s, :, b, a] = np.abs(shares[0] - shares[s + 1]).sum(axis=1) / 2
    names = [lens.names[i] for i in chosen]
    upper = np.triu_indices(side, 1)
    results = []
    for s in range(len(samples)):
        pairs = 100 * errors[s][:, upper[0], upper[1]]
        pairs = pairs[:, ~np.isnan(pairs[0])]
        mean = jackknife(pairs.mean(axis=1), (0, 100)) if pairs.size else Estimate(0.0, 0.0, 0.0)
        results.append(Trend(mean, names, 100 * errors[s, 0], association[0], association[s + 1], notes))
    return results


def _cells(lens: Lens, frame: Frame, chosen: NDArray[np.intp], limit: int) -> NDArray[np.int32]:
    """The chosen columns as cells: int32 (n, c), numbers as bin 0..9 or 10 for missing, categories pooled."""
    span = np.where(lens.high > lens.low, lens.high - lens.low, 1.0)
    columns = []
    for i in chosen:
        if i < len(lens.number_names):
            place = np.clip((frame.numbers[:, i] - lens.low[i]) / span[i] * BINS, 0, BINS - 1)
            columns.append(np.where(np.isnan(place), BINS, np.nan_to_num(place)).astype(np.int32))
        else:
            j = i - len(lens.number_names)
            columns.append(features.pool(frame.codes[:, j], lens.vocabularies[j].known, limit))
    return np.stack(columns, axis=1)


def _correlations(lens: Lens, frame: Frame, numbers: NDArray[np.intp]) -> NDArray[np.float64]:
    """Pearson's correlation on the rows that have both values: (GROUPS + 1, c, c); 0 where a column is constant.

    Sums are taken of numbers standardised by real train, which keeps the cancellation below harmless.
    """
    z = (frame.numbers[:, numbers] - lens.mean[numbers]) / np.where(lens.std[numbers] > 0, lens.std[numbers], 1.0)
    here = ~np.isnan(z)
    z = np.where(here, z, 0.0)
    sums = []
    for g in range(GROUPS):
        x, m = z[frame.group == g], here[frame.group == g].astype(np.float64)
        sums.append(np.stack([m.T @ m, x.T @ m, (x * x).T @ m, x.T @ x]))
    count, first, second, cross = np.moveaxis(leave_one_out(np.stack(sums)), 1, 0)
    count = np.maximum(count, 1)
    mean = first / count
    variance = np.maximum(second / count - mean**2, 0)
    covariance = cross / count - mean * mean.swapaxes(1, 2)
    scale = np.sqrt(variance * variance.swapaxes(1, 2))
    return np.where(scale > 1e-12, np.clip(covariance / np.where(scale > 1e-12, scale, 1.0), -1, 1), 0.0)


def _cramers_v(joint: NDArray[np.float64]) -> float:
    """Cramér's V of a joint table of shares: sqrt(φ² / (min(rows, columns) - 1)), empty rows and columns dropped."""
    joint = joint[joint.sum(axis=1) > 0][:, joint.sum(axis=0) > 0]
    expected = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    freedom = min(joint.shape) - 1
    return float(np.sqrt(((joint - expected) ** 2 / expected).sum() / freedom)) if freedom > 0 else 0.0


@dataclass(frozen=True)
class TwoSample:
    """``tree``, ``logistic``: ROC AUC, the mean over folds; ``betrayal``: by column, how much of the tree's AUC is lost
    when it cannot see that column's values (they are shuffled among held-out rows), of more than PROBED columns of those
    that were asked about; ``rows``: how many of each table it saw."""

    tree: Estimate
    logistic: Estimate
    betrayal: dict[str, float]
    rows: int


def two_sample(
    lens: Lens, real: Frame, sample: Frame, rng: np.random.Generator, *, betrayed: bool = True
) -> TwoSample | None:
    """Classifier two-sample tests (Lopez-Paz and Oquab 2017, arXiv 1610.06545): the ROC AUC of a classifier told to
    tell real rows from others, on held-out folds. 0.5: it cannot; 1: it always can. None below 2 · FOLDS rows.

    The logistic one sees marginals and is easily fooled; the gradient-boosted trees see dependence as well. What
    ``betrayed`` the sample is asked for where somebody wants to know: it takes a prediction for each column.
    """
    # Half of what may be encoded: both tables are in one matrix.
    count = min(len(real), len(sample), features.encodable(lens, 2 * affordable(len(lens.names), DETECTOR_ROWS)) // 2)
    if count < 2 * FOLDS:
        return None
    halves = [real.draw(count, rng), sample.draw(count, rng)]
    tree_x, is_code = features.coded(lens, halves[0])
    tree_x = np.vstack([tree_x, features.coded(lens, halves[1])[0]])
    line_x = np.vstack([features.mixed(lens, half) for half in halves])
    return told_apart(tree_x, is_code, line_x, lens.names if betrayed else [], rng)


def told_apart(
    tree_x: NDArray[np.float64],
    is_code: NDArray[np.bool_],
    line_x: NDArray[np.float64],
    names: list[str],
    rng: np.random.Generator,
) -> TwoSample:
    """``two_sample`` of rows that are encoded: ``tree_x`` and ``line_x`` (2 n, ·), the real half first, as the trees
    and the linear model see them. ``names`` are the columns of ``tree_x`` whose betrayal is asked for, or none."""
    count = len(tree_x) // 2
    fake, seed = np.repeat([False, True], count), int(rng.integers(2**31))
    tree_areas, line_areas = [], []
    betrayal: dict[str, float] = {}
    for fit, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(tree_x, fake):
        tree = fitted("boosting", "classification", tree_x[fit], fake[fit], is_code, seed)
        tree_areas.append(_area(tree, tree_x[held], fake[held]))
        line = fitted("linear", "classification", line_x[fit], fake[fit], is_code, seed)
        line_areas.append(_area(line, line_x[held], fake[held]))
        if not betrayal:
            probe = rng.permutation(held)[:PROBE_ROWS]
            betrayal = _betrayal(tree, tree_x[probe], fake[probe], names, rng)
    return TwoSample(_over_folds(tree_areas), _over_folds(line_areas), betrayal, count)


def _area(model: Any, x: NDArray[np.float64], fake: NDArray[np.bool_]) -> float:
    return float(auc(model.predict_proba(x)[:, 1], fake, np.ones((1, len(x)), dtype=np.uint8))[0])


def _over_folds(areas: Sequence[float]) -> Estimate:
    """The mean of the folds' areas with Nadeau and Bengio's corrected error (2003, Machine Learning 52, section 3):
    (1 / FOLDS + held / fitted) s², since folds share most of the rows that they fit and aren't independent."""
    error = STUDENT_95 * float(np.std(areas, ddof=1)) * np.sqrt(1 / FOLDS + 1 / (FOLDS - 1))
    return Estimate.around(float(np.mean(areas)), error, (0, 1))


def _betrayal(
    tree: Any,
    x: NDArray[np.float64],
    fake: NDArray[np.bool_],
    names: list[str],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Permutation importance (Breiman 2001) in AUC: of each column or, where there are more than PROBED, of those in the
    TELLING blocks of neighbouring columns which cost most when a block's values are shuffled together.

    A prediction costs as much as there are columns, so one for each column would grow with their square; a block has
    about the root of their number.
    """
    whole, asked = _area(tree, x, fake), np.arange(len(names))
    if len(names) > PROBED:
        blocks, order = np.array_split(asked, round(len(names) ** 0.5)), rng.permutation(len(x))
        kept = [whole - _area(tree, _with(x, block, x[order[:, None], block]), fake) for block in blocks]
        asked = np.sort(np.concatenate([blocks[b] for b in np.argsort(kept, kind="stable")[-TELLING:]]))
    return {names[i]: whole - _area(tree, _with(x, i, rng.permutation(x[:, i])), fake) for i in asked}


def _with(x: NDArray[np.float64], columns: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A copy with other values in these columns."""
    changed = x.copy()
    changed[:, columns] = values
    return changed
