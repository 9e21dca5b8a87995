"""What stands behind a certificate's figures: columns, pairs of columns, and the reference for a monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat

from synth.data.schema import Kind
from synth.evaluation.frame import Frame, Lens

if TYPE_CHECKING:
    from synth.evaluation.diversity import Categories
    from synth.evaluation.fidelity import Shape, Trend, TwoSample

NAMED_CATEGORIES = 20
REFERENCE_CATEGORIES = 250
QUANTILES = np.linspace(0, 1, 101)
TREND_COLUMNS = 40


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ColumnDetail(Part):
    """``shape_error`` and its baseline in per cent; ``betrayal``: AUC that the tree two-sample test loses without the
    column; shares of missing values and of categories unknown to real train; category coverage and absent names."""

    kind: Kind
    shape_error: FiniteFloat
    baseline: FiniteFloat
    betrayal: FiniteFloat | None = None
    missing_real: FiniteFloat
    missing_synthetic: FiniteFloat
    unknown: FiniteFloat = 0.0
    categories: int | None = None
    coverage: FiniteFloat | None = None
    absent: list[str] = []
    absent_count: int = 0


class Marginal(Part):
    """One column's distribution, for a monitor to compare served samples with.

    A category column has ``labels`` (the commonest of real train, 250 at most) with their shares of all rows; a number
    has its quantiles at 0, 0.01, …, 1 (dates in seconds since 1970), None where it has no value. ``real`` is real
    train, ``synthetic`` what was certified; ``missing_*`` are shares of rows. What the shares leave are other labels.
    """

    kind: Kind
    labels: list[str] | None = None
    real: list[FiniteFloat] | None
    synthetic: list[FiniteFloat] | None
    missing_real: FiniteFloat
    missing_synthetic: FiniteFloat


class Trends(Part):
    """Associations of the column pairs with the largest errors, at most 40 columns: correlation of two numbers,
    Cramér's V of other pairs; ``errors`` in per cent; None where undefined."""

    names: list[str]
    real: list[list[FiniteFloat | None]]
    synthetic: list[list[FiniteFloat | None]]
    errors: list[list[FiniteFloat | None]]


class Histogram(Part):
    """``edges``: k + 1; shares of rows in each of the k bins."""

    edges: list[FiniteFloat]
    synthetic: list[FiniteFloat]
    baseline: list[FiniteFloat]


class ClassDetail(Part):
    """A class of images: its shares of the images as a classifier sees them (of real train: as labelled), the share of
    the synthetic images labelled so that are seen so, and rows that show it, of the tables that were measured."""

    label: str
    real: FiniteFloat
    synthetic: FiniteFloat
    baseline: FiniteFloat
    agreement: FiniteFloat | None = None
    real_rows: list[int] = []
    synthetic_rows: list[int] = []


class Neighbour(Part):
    """A row of the synthetic table and the row of real train whose pixels are nearest: the root mean square of their
    differences, 1 being that of black and white."""

    row: int
    train: int
    distance: FiniteFloat


class ImageDetail(Part):
    """``shape``: (height, width, channels); ``features``: whose features the images are compared by; ``classes``: the
    commonest of real train first; ``neighbours``: of synthetic images drawn at random, then of the nearest."""

    shape: tuple[int, int, int]
    features: str | None
    classes: list[ClassDetail]
    neighbours: list[Neighbour]


def column_details(
    lens: Lens, train: Frame, sample: Frame, shapes: list[Shape], test: TwoSample | None, kept: Categories
) -> dict[str, ColumnDetail]:
    """In table order."""
    details = {}
    for i, name in enumerate(lens.names):
        j = i - len(lens.number_names)
        missing = [_missing(lens, f, i) for f in (train, sample)]
        details[name] = ColumnDetail(
            kind=lens.schema[name].kind,
            shape_error=round(float(shapes[0].columns[i]), 6),
            baseline=round(float(shapes[1].columns[i]), 6),
            missing_real=missing[0],
            missing_synthetic=missing[1],
            betrayal=round(test.betrayal[name], 6) if test is not None and name in test.betrayal else None,
        )
        if j >= 0:
            vocabulary, absent = lens.vocabularies[j], kept.absent[j]
            details[name].unknown = round(float((sample.codes[:, j] > vocabulary.known).mean()), 6)
            details[name].categories = vocabulary.known
            details[name].coverage = round(float(kept.by_column[j]), 6) if np.isfinite(kept.by_column[j]) else None
            details[name].absent = [vocabulary.label(code) for code in absent[:NAMED_CATEGORIES]]
            details[name].absent_count = len(absent)
    return {name: details[name] for name in lens.schema.names if name in details}


def _missing(lens: Lens, frame: Frame, i: int) -> float:
    j = i - len(lens.number_names)
    empty = np.isnan(frame.numbers[:, i]) if j < 0 else frame.codes[:, j] == 0
    return round(float(empty.mean()), 6)


def worst_trends(trend: Trend) -> Trends | None:
    """The columns with the worst pairs, in their order."""
    if len(trend.names) < 2 or not np.isfinite(trend.errors).any():
        return None
    worst = np.argsort(-np.nanmax(np.nan_to_num(trend.errors, nan=-1.0), axis=1), kind="stable")[:TREND_COLUMNS]
    keep = np.ix_(np.sort(worst), np.sort(worst))
    real, synthetic, errors = (
        [[round(float(x), 4) if np.isfinite(x) else None for x in row] for row in m[keep]]
        for m in (trend.real, trend.sample, trend.errors)
    )
    return Trends(names=[trend.names[i] for i in np.sort(worst)], real=real, synthetic=synthetic, errors=errors)


def reference(lens: Lens, train: Frame, sample: Frame) -> dict[str, Marginal]:
    marginals = {}
    for i, name in enumerate(lens.names):
        j = i - len(lens.number_names)
        labels = None
        if j < 0:
            real, synthetic = (_quantiles(f.numbers[:, i]) for f in (train, sample))
        else:
            codes = range(1, min(lens.vocabularies[j].known, REFERENCE_CATEGORIES) + 1)
            labels = [lens.vocabularies[j].label(code) for code in codes]
            real, synthetic = (
                [
                    round(float(s), 8)
                    for s in np.bincount(f.codes[:, j], minlength=len(labels) + 1)[1 : len(labels) + 1] / len(f)
                ]
                for f in (train, sample)
            )
        marginals[name] = Marginal(
            kind=lens.schema[name].kind,
            labels=labels,
            real=real,
            synthetic=synthetic,
            missing_real=_missing(lens, train, i),
            missing_synthetic=_missing(lens, sample, i),
        )
    return {name: marginals[name] for name in lens.schema.names if name in marginals}


def _quantiles(values: NDArray[np.float64]) -> list[float] | None:
    present = values[~np.isnan(values)]
    return [float(q) for q in np.quantile(present, QUANTILES)] if len(present) else None
