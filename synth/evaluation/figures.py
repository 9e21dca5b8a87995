"""What a certificate can say: a catalogue of figures of tables and one of images, and one figure."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, FiniteFloat

from synth.evaluation.intervals import Estimate

Better = Literal["lower", "higher", "baseline"]
Group = Literal["fidelity", "diversity", "utility", "privacy"]


class Figure(BaseModel):
    """A measured figure with its 95 % interval, and the same figure for real test rows in the sample's place.

    ``better``: where a good generator is: low, high, or neither above nor below the baseline. ``matched``: the value on
    as many synthetic rows as the baseline had, where the figure depends on that number (smaller samples scatter more);
    None where ``value`` is such already.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    group: Group
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    baseline: FiniteFloat
    baseline_low: FiniteFloat
    baseline_high: FiniteFloat
    matched: FiniteFloat | None = None
    unit: str
    better: Better
    description: str

    @property
    def as_good_as_real(self) -> bool:
        """Whether the value is not significantly on the wrong side of the baseline (95 %, equal numbers of rows).

        Both are measured, so both errors count: two samples of one distribution would otherwise fail one figure in six.
        Of each interval the arm that points at the other counts (Newcombe's hybrid interval of a difference, 1998,
        Statistics in Medicine 17): near the end of what a figure can be the arms differ, and one may have no length.
        """
        value, down, up = self.value, self.value - self.low, self.high - self.value
        below, above = self.baseline - self.baseline_low, self.baseline_high - self.baseline
        if self.matched is not None:
            # Measured on as few rows as the baseline, so at least as uncertain.
            value, down, up = self.matched, max(down, below), max(up, above)
        gap = value - self.baseline
        allowed = math.hypot(down, above) if gap > 0 else math.hypot(up, below)
        return not {"lower": gap > allowed, "higher": -gap > allowed, "baseline": abs(gap) > allowed}[self.better]


class _Entry(NamedTuple):
    title: str
    group: Group
    unit: str
    better: Better
    description: str


CATALOGUE: dict[str, _Entry] = {
    "shape_error": _Entry(
        "Shape error", "fidelity", "%", "lower",
        "Mean distance between a column's real and synthetic distribution: Kolmogorov-Smirnov for numbers and dates, "
        "total variation for categories."),
    "trend_error": _Entry(
        "Trend error", "fidelity", "%", "lower",
        "Mean distance between the real and synthetic dependence of two columns: half the difference of correlations, "
        "or total variation of the joint table."),
    "c2st_tree": _Entry(
        "Two-sample test (trees)", "fidelity", "AUC", "baseline",
        "How well gradient-boosted trees tell synthetic rows from real ones: 0.5 is a coin toss, 1 is always; clearly "
        "below 0.5, synthetic rows are twins of real ones."),
    "c2st_logistic": _Entry(
        "Two-sample test (logistic)", "fidelity", "AUC", "baseline",
        "The same for logistic regression, which is easier to fool: 0.5 is a coin toss."),
    "alpha_precision": _Entry(
        "α-precision", "diversity", "%", "higher",
        "Whether synthetic rows are typical of real ones, at every level of typicality."),
    "beta_recall": _Entry(
        "β-recall", "diversity", "%", "baseline",
        "Whether real rows have a synthetic one as near as their nearest real one. About 50 for real rows; much less: "
        "parts are missing; much more: rows are copied."),
    "density": _Entry(
        "Density", "diversity", "ratio", "baseline",
        "How crowded synthetic rows are where real ones are: about 1 for real rows; more: too typical."),
    "coverage": _Entry(
        "Coverage", "diversity", "share", "higher",
        "Share of real rows with a synthetic row within the distance of their fifth nearest real neighbour."),
    "category_coverage": _Entry(
        "Categories present", "diversity", "share", "higher",
        "Share of the categories seen at least twice in real train that occur in the synthetic rows at all."),
    "rare_category_coverage": _Entry(
        "Rare categories present", "diversity", "share", "higher",
        "The same for categories with less than 1 % of the real rows: the first that a collapsing generator loses."),
    "range_coverage": _Entry(
        "Range present", "diversity", "share", "higher",
        "Mean share of the range of real numbers that the synthetic ones span."),
    "utility": _Entry(
        "Relative utility", "utility", "ratio", "higher",
        "How well models trained on synthetic rows do on real test rows, relative to models trained on real rows; mean "
        "of three learners, 1 is as good."),
    "dcr_share": _Entry(
        "Closer to train than to holdout", "privacy", "share", "baseline",
        "Share of new synthetic rows (equal to no real row searched) nearer to a training row than to a row that the "
        "generator never saw: 0.5 if it learnt the distribution and not the rows."),
    "nndr": _Entry(
        "Nearest-neighbour distance ratio", "privacy", "ratio", "baseline",
        "Median of the distances to the closest over the second closest training row, of new synthetic rows: falls where "
        "rows are nearly copied."),
    "exact_copies": _Entry(
        "Exact copies", "privacy", "share", "lower",
        "Share of synthetic rows that equal a training row in every column. Real rows repeat each other too: the "
        "baseline is the share of training rows that have a twin among them."),
}  # fmt: skip

_LEARNERS = {"boosting": "gradient boosting", "linear": "linear model", "forest": "extra trees", "mean": "mean"}
_METRICS: dict[str, tuple[str, str, Better]] = {
    "auc": ("AUC", "AUC", "higher"), "rmse": ("RMSE", "target units", "lower"), "r2": ("R²", "R²", "higher"),
}  # fmt: skip
for _metric, (_name, _unit, _better) in _METRICS.items():
    for _learner, _title in _LEARNERS.items():
        CATALOGUE[f"tstr_{_metric}" + ("" if _learner == "mean" else f"_{_learner}")] = _Entry(
            f"{_name} ({_title})", "utility", _unit, _better,
            "On real test rows, trained on synthetic rows; the baseline is trained on real rows.")  # fmt: skip


IMAGE_CATALOGUE: dict[str, _Entry] = {
    "frechet_distance": _Entry(
        "Fréchet distance", "fidelity", "distance", "lower",
        "How far the means and covariances of the features of synthetic and real images are apart. Not 0 for real ones "
        "either, and to be compared on the same features and as many images alone."),
    "kernel_distance": _Entry(
        "Kernel distance", "fidelity", "10⁻³", "lower",
        "The same without supposing that features are normal (squared maximum mean discrepancy, cubic kernel): about 0 "
        "for real images, however many."),
    "c2st_network": _Entry(
        "Two-sample test (network)", "fidelity", "AUC", "baseline",
        "How well a convolutional network that sees the pixels tells synthetic images from real ones: 0.5 is a coin "
        "toss, 1 is always."),
    "c2st_tree": _Entry(
        "Two-sample test (trees)", "fidelity", "AUC", "baseline",
        "The same for gradient-boosted trees on the features; clearly below 0.5, synthetic images are twins of real "
        "ones."),
    "c2st_logistic": _Entry(
        "Two-sample test (logistic)", "fidelity", "AUC", "baseline",
        "The same for logistic regression on the features, which is easier to fool."),
    "precision": _Entry(
        "Precision", "fidelity", "share", "higher",
        "Share of synthetic images that lie among real ones: nearer to one than its third nearest real neighbour is."),
    "density": _Entry(
        "Density", "fidelity", "ratio", "baseline",
        "How crowded synthetic images are where real ones are: about 1 for real images; more: too typical."),
    "recall": _Entry(
        "Recall", "diversity", "share", "higher",
        "Share of real images that lie among synthetic ones, by the same measure."),
    "coverage": _Entry(
        "Coverage", "diversity", "share", "higher",
        "Share of real images with a synthetic one within the distance of their fifth nearest real neighbour."),
    "modes_covered": _Entry(
        "Classes present", "diversity", "share", "higher",
        "Share of the classes of real train that make up at least a tenth of their real share of the synthetic images, "
        "as a classifier sees them."),
    "modes_divergence": _Entry(
        "Divergence of class shares", "diversity", "nats", "lower",
        "Kullback-Leibler divergence of the shares of the classes among synthetic images from the real ones."),
    "utility": _Entry(
        "Relative utility", "utility", "ratio", "higher",
        "How often a classifier trained on synthetic images is right on real test images, relative to one trained on "
        "real images: 1 is as good."),
    "tstr_accuracy": _Entry(
        "Accuracy", "utility", "share", "higher",
        "On real test images, trained on synthetic images; the baseline is trained on real images."),
    "label_agreement": _Entry(
        "Label agreement", "utility", "share", "higher",
        "Share of synthetic images in which a classifier trained on real images sees the class that they are labelled "
        "with."),
    "dcr_share": _Entry(
        "Closer to train than to holdout", "privacy", "share", "baseline",
        "Share of new synthetic images whose pixels are nearer to a training image than to any that the generator never "
        "saw: 0.5 if it learnt the distribution and not the images."),
    "dcr_share_features": _Entry(
        "Closer to train, by features", "privacy", "share", "baseline",
        "The same by features, which know a copy that was shifted or retouched."),
    "nndr": _Entry(
        "Nearest-neighbour distance ratio", "privacy", "ratio", "baseline",
        "Median of the distances to the closest over the second closest training image: falls where images are nearly "
        "copied."),
    "near_copies": _Entry(
        "Near copies", "privacy", "share", "lower",
        "Share of synthetic images whose pixels are less than a third as far from the nearest training image as from the "
        "second nearest: it was memorised."),
    "exact_copies": _Entry(
        "Exact copies", "privacy", "share", "lower",
        "Share of synthetic images that equal a training image in every pixel. The baseline is the share of training "
        "images that have a twin among them."),
}  # fmt: skip


def figure(
    name: str,
    value: Estimate,
    baseline: Estimate,
    matched: Estimate | None = None,
    *,
    catalogue: dict[str, _Entry] = CATALOGUE,
) -> Figure:
    """The figure ``name`` of the catalogue. Rounded to six decimals: what lies beyond is the order of sums, not a
    measurement."""
    entry = catalogue[name]
    return Figure(
        title=entry.title, group=entry.group, unit=entry.unit, better=entry.better, description=entry.description,
        value=round(value.value, 6), low=round(value.low, 6), high=round(value.high, 6),
        baseline=round(baseline.value, 6), baseline_low=round(baseline.low, 6), baseline_high=round(baseline.high, 6),
        matched=None if matched is None else round(matched.value, 6),
    )  # fmt: skip
