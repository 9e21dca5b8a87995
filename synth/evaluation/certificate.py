"""The certificate: what was measured of a synthetic table on real rows that its generator never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from synth.data.schema import Schema
from synth.errors import UserError
from synth.evaluation.copies import Keys, exact_copies
from synth.evaluation.details import (
    ColumnDetail,
    Histogram,
    ImageDetail,
    Marginal,
    Part,
    Trends,
    column_details,
    reference,
    worst_trends,
)
from synth.evaluation.figures import Figure, figure
from synth.evaluation.frame import Frame, Lens
from synth.evaluation.intervals import Estimate


class Certificate(Part):
    """Figures by name (see ``figures.CATALOGUE``), the details behind them, and the reference for a monitor.

    ``rows`` counts the tables: train, synthetic, test. A figure that could not be measured is absent, and a note says
    why. ``preparation``: what was done to the data before anything was measured. Of images, ``columns`` and
    ``reference`` hold the label alone, there are no ``trends``, and ``images`` has the details.
    """

    figures: dict[str, Figure]
    columns: dict[str, ColumnDetail]
    trends: Trends | None
    distances: Histogram | None
    reference: dict[str, Marginal]
    notes: list[str]
    rows: dict[str, int]
    seed: int
    preparation: list[str] = Field(default_factory=list)
    images: ImageDetail | None = None

    @property
    def unit(self) -> str:
        """What was measured: rows, or images."""
        return "rows" if self.images is None else "images"

    @property
    def as_good_as_real(self) -> list[str]:
        """Names of the figures that are not significantly worse than those of fresh real rows or images."""
        return [name for name, f in self.figures.items() if f.as_good_as_real]

    @property
    def short_of_real(self) -> list[str]:
        """Names of the figures that are significantly worse than those of fresh real rows or images."""
        return [name for name, f in self.figures.items() if not f.as_good_as_real]

    def tally(self) -> tuple[int, int]:
        """How many figures are as good as real, and of how many; the learners' scores count as one, ``utility``."""
        judged = [f.as_good_as_real for name, f in self.figures.items() if not name.startswith("tstr_")]
        return sum(judged), len(judged)

    def verdict(self) -> list[str]:
        """A few sentences: how many figures are where real rows are, which are not, and what betrays the sample."""
        short = [name for name in self.short_of_real if not name.startswith("tstr_")]
        lines = ["{} of {} figures are where fresh real {} are, or better.".format(*self.tally(), self.unit)]
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
    train_keys: Keys | None = None,
    preparation: Sequence[str] = (),
    network: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Certificate:
    """Measure ``synthetic`` against ``real`` (train) rows, with ``test`` rows that no generator saw as the baseline.

    Every figure's baseline is ``test`` scored as if it were synthetic (of exact copies, the twins within ``real``);
    where a figure depends on the number of rows it is also given at equal numbers. The same tables and seed give the
    same certificate. ``train_keys``: the keys of all train rows where ``real`` is a sample of them, so
    that copies of any are found. ``preparation``: what was done to the data before, for the report. ``progress`` is
    called with what is being measured and the share done. scikit-learn's defaults decide the number of threads;
    callers limit it with ``joblib.parallel_config`` and ``OMP_NUM_THREADS``.

    Of images, ``network`` is the TorchScript file of one by whose features they are compared, see
    ``image_features.given``; without it one is trained on the source's own images.

    Raises UserError for a table that has no rows, lacks a column, or holds one that cannot be read as its kind.
    """
    measure: Callable[..., dict[str, Any]] = _measure_rows
    if schema.image is not None:
        from synth.evaluation.images import measure_images

        measure = partial(measure_images, network=network)
    elif network is not None:
        raise UserError(f"{network}: there are no images to compare by a network's features; leave it out")
    say = progress if progress is not None else lambda what, done: None
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(8)]
    tables = {"the real table": real, "the synthetic table": synthetic, "the test table": test}
    certificate = Certificate(
        **measure(tables, schema, rngs, train_keys, say),
        rows={
            "train": real.num_rows if train_keys is None else train_keys.rows,
            "synthetic": synthetic.num_rows,
            "test": test.num_rows,
        },
        seed=seed,
        preparation=list(preparation),
    )
    say("done", 1.0)
    return certificate


def _measure_rows(
    tables: Mapping[str, pa.Table],
    schema: Schema,
    rngs: Sequence[np.random.Generator],
    train_keys: Keys | None,
    say: Callable[[str, float], None],
) -> dict[str, Any]:
    """What the certificate says of the ``tables``, real train, the sample and the test rows, by field."""
    # scikit-learn takes a second to import; a monitor that only reads certificates must not pay for it.
    from synth.evaluation import diversity, features, fidelity, privacy, utility

    say("reading the tables", 0.0)
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
    trends = fidelity.trend(
        lens, train, [sample, fresh_cut, sample_cut] if uneven else [sample, fresh_cut], rngs[2],
        lambda done: say("pairs of columns", 0.1 + 0.05 * done),
    )  # fmt: skip
    notes += trends[0].notes
    if np.isfinite(trends[0].errors).any():
        figures["trend_error"] = figure("trend_error", *(t.mean for t in trends))
    say("telling real from synthetic", 0.15)
    tests = [fidelity.two_sample(lens, train, f, rngs[3], betrayed=f is sample) for f in (sample, fresh)]
    if tests[0] is not None and tests[1] is not None:
        figures["c2st_tree"] = figure("c2st_tree", tests[0].tree, tests[1].tree)
        figures["c2st_logistic"] = figure("c2st_logistic", tests[0].logistic, tests[1].logistic)
        notes += _drawn("two-sample tests", tests[0].rows, train, sample)
        if len(tests[0].betrayal) < len(lens.names):
            notes.append(
                f"what gives the sample away was asked of {len(tests[0].betrayal)} of the {len(lens.names)} columns: those in "
                "the blocks of neighbouring columns without which the trees tell least"
            )
    else:
        notes.append("too few rows for two-sample tests")

    say("neighbours", 0.45)
    clouds = diversity.clouds(lens, train, [sample, fresh], rngs[4])
    if clouds is not None:
        for name in ("alpha_precision", "beta_recall", "density", "coverage"):
            figures[name] = figure(name, getattr(clouds[0], name), getattr(clouds[1], name))
        notes += _drawn("precision, recall, density and coverage", clouds[0].rows, train, sample)
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
        figures["utility"] = figure("utility", useful.relative, Estimate(1, 1, 1))
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
        notes.append(near[0].describe("record", "rows"))
        distances = privacy.histogram(*near)
    else:
        notes.append("too few distinct rows for distances to the closest record")
    real, synthetic, _ = tables.values()
    figures["exact_copies"] = figure("exact_copies", *exact_copies(lens, real, synthetic, train_keys))

    return {
        "figures": figures,
        "columns": column_details(lens, train, sample, shapes, tests[0], kept[0]),
        "trends": worst_trends(trends[0]),
        "distances": distances,
        "reference": reference(lens, train, sample),
        "notes": notes,
    }


def _drawn(what: str, rows: int, *frames: Frame) -> list[str]:
    """A note where not every row was used."""
    most = max(map(len, frames))
    return [f"{what}: {rows:,} rows of each table drawn at random, of up to {most:,}"] if rows < most else []
