"""The certificate: what was measured of a synthetic table on real rows that its generator never saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, FiniteFloat

from synth.data.schema import Kind, Schema
from synth.evaluation.figures import Figure, figure
from synth.evaluation.frame import Frame, Lens

if TYPE_CHECKING:
    from synth.evaluation.diversity import Categories
    from synth.evaluation.fidelity import Shape, Trend, TwoSample

NAMED_CATEGORIES = 20
REFERENCE_CATEGORIES = 250
QUANTILES = np.linspace(0, 1, 101)
TREND_COLUMNS = 40


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ColumnDetail(_Part):
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


class Marginal(_Part):
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


class Trends(_Part):
    """Associations of the column pairs with the largest errors, at most 40 columns: correlation of two numbers,
    Cramér's V of other pairs; ``errors`` in per cent; None where undefined."""

    names: list[str]
    real: list[list[FiniteFloat | None]]
    synthetic: list[list[FiniteFloat | None]]
    errors: list[list[FiniteFloat | None]]


class Histogram(_Part):
    """``edges``: k + 1; shares of rows in each of the k bins."""

    edges: list[FiniteFloat]
    synthetic: list[FiniteFloat]
    baseline: list[FiniteFloat]


class Certificate(_Part):
    """Figures by name (see ``figures.CATALOGUE``), the details behind them, and the reference for a monitor.

    ``rows`` counts the tables: train, synthetic, test. A figure that could not be measured is absent, and a note says
    why.
    """

    figures: dict[str, Figure]
    columns: dict[str, ColumnDetail]
    trends: Trends | None
    distances: Histogram | None
    reference: dict[str, Marginal]
    notes: list[str]
    rows: dict[str, int]
    seed: int

    @property
    def as_good_as_real(self) -> list[str]:
        """Names of the figures that are not significantly worse than those of fresh real rows."""
        return [name for name, f in self.figures.items() if f.as_good_as_real]

    @property
    def short_of_real(self) -> list[str]:
        """Names of the figures that are significantly worse than those of fresh real rows."""
        return [name for name, f in self.figures.items() if not f.as_good_as_real]

    def tally(self) -> tuple[int, int]:
        """How many figures are as good as real, and of how many; the learners' scores count as one, ``utility``."""
        judged = [f.as_good_as_real for name, f in self.figures.items() if not name.startswith("tstr_")]
        return sum(judged), len(judged)

    def verdict(self) -> list[str]:
        """A few sentences: how many figures are where real rows are, which are not, and what betrays the sample."""
        short = [name for name in self.short_of_real if not name.startswith("tstr_")]
        lines = ["{} of {} figures are where fresh real rows are, or better.".format(*self.tally())]
        if short:
            lines.append("Short of real: " + ", ".join(self.figures[name].title for name in short) + ".")
        if "c2st_tree" not in short:
            return lines
        worst = sorted(self.columns, key=lambda name: -(self.columns[name].betrayal or 0))[:3]
        telling = [name for name in worst if (self.columns[name].betrayal or 0) > 0.005]
        if telling:
            lines.append("What gives the sample away most: " + ", ".join(telling) + ".")
        return lines


def evaluate(
    real: pa.Table,
    synthetic: pa.Table,
    test: pa.Table,
    schema: Schema,
    *,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> Certificate:
    """Measure ``synthetic`` against ``real`` (train) rows, with ``test`` rows that no generator saw as the baseline.

    Every figure's baseline is ``test`` scored as if it were synthetic; where a figure depends on the number of rows it
    is also given at equal numbers. The same tables and seed give the same certificate. ``progress`` is called with what
    is being measured and the share done. scikit-learn's defaults decide the number of threads; callers limit it with
    ``joblib.parallel_config`` and ``OMP_NUM_THREADS``.

    Raises UserError for a table that has no rows, lacks a column, or holds one that cannot be read as its kind.
    """
    # scikit-learn takes a second to import; a monitor that only reads certificates must not pay for it.
    from synth.evaluation import diversity, features, fidelity, privacy, utility

    say = progress if progress is not None else lambda what, done: None
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(8)]
    say("reading the tables", 0.0)
    tables = {"the real table": real, "the synthetic table": synthetic, "the test table": test}
    lens = Lens.fit(schema, tables)
    notes = [*lens.notes, *features.pooled_note(lens)]
    frames = []
    for what, table in tables.items():
        frame, capped = lens.view(table, what, rngs[0])
        frames.append(frame)
        notes += capped
    train, sample, fresh = frames
    equal = min(len(sample), len(fresh))
    sample_cut, fresh_cut = sample.draw(equal, rngs[1]), fresh.draw(equal, rngs[1])
    uneven = equal < len(sample)
    if uneven:
        notes.append(
            f"the baseline has {equal:,} rows, the sample {len(sample):,}; figures that depend on the "
            f"number of rows are judged on {equal:,} rows of the sample drawn at random"
        )
    if min(len(train), equal) < 1000:
        notes.append(f"few rows (train {len(train):,}, compared {equal:,}): intervals are wide, judge with care")
    figures: dict[str, Figure] = {}

    say("columns", 0.05)
    shapes = [fidelity.shape(lens, train, f) for f in (sample, fresh_cut, sample_cut)]
    figures["shape_error"] = figure("shape_error", *(s.mean for s in shapes[: 3 if uneven else 2]))
    say("pairs of columns", 0.1)
    trends = fidelity.trend(lens, train, [sample, fresh_cut, sample_cut] if uneven else [sample, fresh_cut], rngs[2])
    notes += trends[0].notes
    if np.isfinite(trends[0].errors).any():
        figures["trend_error"] = figure("trend_error", *(t.mean for t in trends))
    say("telling real from synthetic", 0.15)
    tests = [fidelity.two_sample(lens, train, f, rngs[3]) for f in (sample, fresh)]
    if tests[0] is not None and tests[1] is not None:
        figures["c2st_tree"] = figure("c2st_tree", tests[0].tree, tests[1].tree)
        figures["c2st_logistic"] = figure("c2st_logistic", tests[0].logistic, tests[1].logistic)
    else:
        notes.append("too few rows for two-sample tests")

    say("neighbours", 0.45)
    clouds = diversity.clouds(lens, train, [sample, fresh], rngs[4])
    if clouds is not None:
        for name in ("alpha_precision", "beta_recall", "density", "coverage"):
            figures[name] = figure(name, getattr(clouds[0], name), getattr(clouds[1], name))
    else:
        notes.append("too few rows for precision, recall, density and coverage")
    kept = [diversity.categories(lens, f) for f in (sample, fresh_cut, sample_cut)]
    spans = [diversity.ranges(lens, f) for f in (sample, fresh_cut, sample_cut)]
    for name, found in (
        ("category_coverage", [k.all for k in kept]),
        ("rare_category_coverage", [k.rare for k in kept]),
        ("range_coverage", spans),
    ):
        if found[0] is not None and found[1] is not None:
            figures[name] = figure(name, found[0], found[1], found[2] if uneven else None)

    say("models trained on synthetic rows", 0.6)
    useful, why = utility.utility(lens, train, sample, fresh, rngs[5])
    notes += why
    if useful is not None:
        figures["utility"] = figure("utility", useful.relative, useful.relative_real)
        for metric, scores in useful.synthetic.items():
            for learner, score in scores.items():
                name = f"tstr_{metric}" + ("" if learner == "mean" else f"_{learner}")
                figures[name] = figure(name, score, useful.real[metric][learner])

    say("copies of training rows", 0.85)
    distances = None
    near = privacy.closest(lens, train, sample, fresh, rngs[6])
    if near is not None:
        figures["dcr_share"] = figure("dcr_share", near[0].dcr_share, near[1].dcr_share)
        figures["nndr"] = figure("nndr", near[0].ratio, near[1].ratio)
        edges, ours, theirs = ([round(x, 6) for x in part] for part in privacy.histogram(*near))
        distances = Histogram(edges=edges, synthetic=ours, baseline=theirs)
    else:
        notes.append("too few test rows for distances to the closest record")
    copies = privacy.exact_copies(lens, real, {"the synthetic table": synthetic, "the test table": test})
    figures["exact_copies"] = figure("exact_copies", copies["the synthetic table"], copies["the test table"])

    certificate = Certificate(
        figures=figures,
        columns=_columns(lens, train, sample, shapes, tests[0], kept[0]),
        trends=_trends(trends[0]),
        distances=distances,
        reference=_reference(lens, train, sample),
        notes=notes,
        rows={"train": real.num_rows, "synthetic": synthetic.num_rows, "test": test.num_rows},
        seed=seed,
    )
    say("done", 1.0)
    return certificate


def _columns(
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
            betrayal=round(test.betrayal[name], 6) if test is not None else None,
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


def _trends(trend: Trend) -> Trends | None:
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


def _reference(lens: Lens, train: Frame, sample: Frame) -> dict[str, Marginal]:
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


def _quantiles(values: np.ndarray) -> list[float] | None:
    present = values[~np.isnan(values)]
    return [float(q) for q in np.quantile(present, QUANTILES)] if len(present) else None
