"""The report: a certificate as one HTML file to look at, offline, on paper, in the dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pyarrow as pa

from synth.data.schema import Schema
from synth.evaluation import charts
from synth.evaluation.certificate import Certificate
from synth.evaluation.figures import Figure
from synth.evaluation.marginals import MAX_COLUMNS, columns_section
from synth.evaluation.page import card, grid, key, page, section, table
from synth.evaluation.pairs import pairs_section
from synth.evaluation.progression import during_training
from synth.evaluation.summary import ARROWS, decimals
from synth.provenance.manifest import Watched

HEADLINES = (
    "shape_error",
    "trend_error",
    "c2st_tree",
    "utility",
    "coverage",
    "rare_category_coverage",
    "dcr_share",
    "exact_copies",
)
IMAGE_HEADLINES = (
    "frechet_distance",
    "c2st_network",
    "precision",
    "coverage",
    "modes_covered",
    "utility",
    "dcr_share",
    "near_copies",
    "exact_copies",
)
BETTER = {"lower": "lower is better", "higher": "higher is better", "baseline": "near the baseline is better"}
LEARNERS = {"_boosting": "gradient boosting", "_linear": "linear model", "_forest": "extra trees", "": "mean"}


def render(
    certificate: Certificate,
    *,
    title: str,
    real: pa.Table,
    synthetic: pa.Table,
    schema: Schema,
    details: Mapping[str, str] | None = None,
    watched: Watched | None = None,
) -> str:
    """One self-contained HTML document about ``certificate``.

    ``real`` and ``synthetic`` are the tables that it measured (train rows and samples); their histograms are drawn.
    ``details`` are shown in a table at the end: the recipe, the lineage, versions. ``watched``: how diverse the samples
    were during the training. Names, categories and details are escaped. Beyond 40 columns only those with the largest
    shape errors are pictured, and the page says so. Of images, samples are shown instead of columns.
    """
    if certificate.images is not None:
        from synth.evaluation.gallery import image_sections  # Pillow is for those who look at images

        pictured = image_sections(certificate, certificate.images, real, synthetic, schema)
    else:
        pictured = [
            columns_section(certificate, real, synthetic, schema),
            pairs_section(certificate),
            _coverage(certificate),
            _betrayal(certificate),
            _utility(certificate, schema),
        ]
    unit = certificate.unit
    sections = [
        _header(certificate, title),
        _headlines(certificate),
        *pictured,
        _privacy(certificate),
        _all_figures(certificate),
        "" if watched is None else during_training(watched),
        _list("What was done to the data", "Before anything was learnt or measured.", certificate.preparation),
        _list("Notes", "What was measured on how many rows, and what could not be.", certificate.notes),
    ]
    if details:
        rows = [(escape(name), f"<code>{escape(value)}</code>") for name, value in details.items()]
        sections.append(section("Recipe and lineage", "How this sample came to be.", table("Details", ("", ""), rows)))
    sections.append(
        f"<footer>Intervals are 95 % intervals over the draw of {unit}. Baselines are real test {unit}, which no "
        f"generator saw, measured in the synthetic {unit}' place; that of exact copies is the twins among training "
        f"{unit}.</footer>"
    )
    return page(title, [s for s in sections if s])


def _header(certificate: Certificate, title: str) -> str:
    rows, unit = certificate.rows, certificate.unit
    good, total = certificate.tally()
    lines = "".join(f"<p>{escape(line)}</p>" for line in certificate.verdict())
    what = f"{len(certificate.columns)} columns"
    if certificate.images is not None:
        height, width, channels = certificate.images.shape
        what = f"images of {height} × {width} × {channels}"
    return (
        f'<header><div class="kicker">Certificate of synthetic data</div><h1>{escape(title)}</h1>'
        f'<p class="soft">{what} · {rows["synthetic"]:,} synthetic {unit}, measured against {rows["train"]:,} real '
        f"training {unit} and {rows['test']:,} real test {unit} that no generator saw</p></header>"
        f'<div class="verdict{"" if good == total else " worse"}"><b>{good}<small> / {total}</small></b>'
        f"<div>{lines}</div></div>"
    )


def _value(figure: Figure, value: float) -> str:
    return f"{value:.{decimals(figure)}f}"


def _status(figure: Figure) -> str:
    good = figure.as_good_as_real
    return f'<span class="{"good" if good else "worse-text"}">{"● as real" if good else "○ worse"}</span>'


def _headlines(certificate: Certificate) -> str:
    cards = []
    for name in HEADLINES if certificate.images is None else IMAGE_HEADLINES:
        if name not in certificate.figures:
            continue
        f = certificate.figures[name]
        unit = f" {f.unit}" if f.unit in ("%", "AUC") else ""
        same = "" if f.matched is None else f" · at equal rows {_value(f, f.matched)}"
        cards.append(
            f'<div class="card"><div class="head"><h3>{escape(f.title)}</h3>{_status(f)}</div>'
            f'<div class="value">{_value(f, f.value)}<small>{unit} &nbsp;{_value(f, f.low)}–{_value(f, f.high)}</small>'
            f"</div>{charts.strip(f, decimals(f))}<p>real {_value(f, f.baseline)} ({_value(f, f.baseline_low)}–"
            f"{_value(f, f.baseline_high)}){same}</p><p>{escape(f.description)}</p></div>"
        )
    legend = key(
        ("synthetic", "synthetic, with its interval"),
        ("band", f"what real test {certificate.unit} score, with its interval"),
    )
    return section(
        "At a glance",
        f"Each figure next to the same figure for real {certificate.unit} in the synthetic ones' place"
        + (
            "."
            if certificate.images is not None
            else "; a hollow dot is the value on as many rows as the real ones had."
        ),
        legend,
        grid(cards),
    )


def _all_figures(certificate: Certificate) -> str:
    rows: list[tuple[str, ...]] = []
    group = ""
    for f in certificate.figures.values():
        if f.group != group:
            group = f.group
            rows.append((group.capitalize(),))
        rows.append(
            (
                f'{escape(f.title)} <small class="soft">{escape(f.unit)}</small>',
                f"<b>{_value(f, f.value)}</b><br><small>{_value(f, f.low)}–{_value(f, f.high)}</small>",
                "" if f.matched is None else _value(f, f.matched),
                f"{_value(f, f.baseline)}<br><small>{_value(f, f.baseline_low)}–{_value(f, f.baseline_high)}</small>",
                f"{_status(f)}<br><span><small>{ARROWS[f.better]} {BETTER[f.better]}</small></span>",
                f"<small>{escape(f.description)}</small>",
            )
        )
    headings = ("Figure", "Synthetic", "At equal rows", "Real", "", "What it says")
    return section(
        "All figures",
        f"With 95 % intervals. 'As real': not significantly worse than fresh real {certificate.unit}, at equal numbers "
        f"of {certificate.unit}.",
        table("All figures", headings, rows, (1, 2, 3)),
    )


def _coverage(certificate: Certificate) -> str:
    rows: list[tuple[float, tuple[str, ...]]] = []
    whole = []
    for name, detail in certificate.columns.items():
        if detail.coverage is None or detail.absent_count == 0:
            whole += [] if detail.coverage is None else [name]
            continue
        names = "".join(f"<code>{escape(charts.short(label, 40))}</code> " for label in detail.absent)
        more = detail.absent_count - len(detail.absent)
        cells = (
            escape(name),
            f"{detail.categories:,}",
            f'<span class="meter"><i style="width:{detail.coverage:.1%}"></i></span>{detail.coverage:.1%}',
            names + (f"and {more:,} more" if more else ""),
        )
        rows.append((detail.coverage, cells))
    if not rows and not whole:
        return ""
    if len(rows) > MAX_COLUMNS:
        rows.sort(key=lambda row: row[0])
    headings, shown = ("Column", "Categories", "Present", "Absent"), [cells for _, cells in rows]
    parts = [table("Coverage of categories", headings, shown[:MAX_COLUMNS], (1,))] if rows else []
    if rest := shown[MAX_COLUMNS:]:
        folded = table("Coverage of categories of the other columns", headings, rest, (1,))
        parts.append(f"<details><summary>The other {len(rest):,} columns that lack some</summary>{folded}</details>")
    if whole:
        others = f" and {len(whole) - MAX_COLUMNS:,} more columns" if len(whole) > MAX_COLUMNS else ""
        names = escape(", ".join(whole[:MAX_COLUMNS]))
        parts.append(f'<p><span class="good">●</span> Every category is present in {names}{others}.</p>')
    return section(
        "Categories",
        "Whether every category that real train has at least twice occurs in the synthetic rows. "
        "Rare ones are the first that a collapsing generator loses.",
        *parts,
    )


def _betrayal(certificate: Certificate) -> str:
    found = [(name, d.betrayal) for name, d in certificate.columns.items() if d.betrayal is not None]
    if not found:
        return ""
    found.sort(key=lambda pair: -pair[1])
    of = (
        ""
        if len(found) == len(certificate.columns)
        else f" {len(found)} of {len(certificate.columns)} were asked about."
    )
    return section(
        "What gives it away",
        "How much of the AUC of the trees that tell synthetic rows from real ones is lost "
        f"when they cannot see a column. All near zero: nothing in particular does.{of}",
        '<div class="card narrow">',
        charts.bars("AUC lost without each column", found[:10]),
        "</div>",
    )


def _utility(certificate: Certificate, schema: Schema) -> str:
    cards = []
    for metric, heading, nothing in (
        ("auc", "ROC AUC, higher is better", 0.5),
        ("rmse", "RMSE, lower is better", 0.0),
        ("r2", "R², higher is better", 0.0),
    ):
        scores = [
            (learner, certificate.figures[f"tstr_{metric}{suffix}"])
            for suffix, learner in LEARNERS.items()
            if f"tstr_{metric}{suffix}" in certificate.figures
        ]
        if scores:
            cards.append(card(heading, "on real test rows", charts.scores(scores, nothing)))
    if not cards:
        return ""
    return section(
        "Utility",
        f"Models that predict '{schema.target}', trained on synthetic or on real rows, tested on real rows.",
        key(("real", "trained on real"), ("synthetic", "trained on synthetic")),
        grid(cards, "two"),
    )


def _privacy(certificate: Certificate) -> str:
    near = certificate.distances
    if near is None:
        return ""
    one, unit = ("row", "rows") if certificate.images is None else ("image", "images")
    picture = charts.overlay(f"Distance to the closest training {one}", near.edges, near.baseline, near.synthetic)
    return section(
        "Privacy",
        f"How far new {unit} are from the closest training {one}. Where synthetic {unit} sit nearer than fresh real ones "
        f"do, training {unit} were nearly copied. Those that equal a real one are left out here: see Exact copies.",
        key(("real", f"real test {unit}"), ("synthetic", f"synthetic {unit}")),
        '<div class="card narrow">',
        picture,
        "</div>",
    )


def _list(heading: str, lead: str, notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return section(heading, lead, f"<ul>{items}</ul>") if notes else ""
