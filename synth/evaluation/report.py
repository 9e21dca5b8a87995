"""The report: a certificate as one HTML file to look at, offline, on paper, in the dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pyarrow as pa

from synth.data.schema import Schema
from synth.evaluation import charts
from synth.evaluation.certificate import Certificate
from synth.evaluation.figures import Figure
from synth.evaluation.marginals import columns_section
from synth.evaluation.page import card, grid, key, page, section, table
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
WORST_PAIRS = 8
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
    shape errors are pictured, and the page says so.
    """
    sections = [
        _header(certificate, title),
        _headlines(certificate),
        columns_section(certificate, real, synthetic, schema),
        _trends(certificate),
        _coverage(certificate),
        _betrayal(certificate),
        _utility(certificate, schema),
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
        "<footer>Intervals are 95 % intervals over the draw of rows. Baselines are real test rows, which no "
        "generator saw, measured in the synthetic rows' place; that of exact copies is the twins among training rows."
        "</footer>"
    )
    return page(title, [s for s in sections if s])


def _header(certificate: Certificate, title: str) -> str:
    rows = certificate.rows
    good, total = certificate.tally()
    lines = "".join(f"<p>{escape(line)}</p>" for line in certificate.verdict())
    return (
        f'<header><div class="kicker">Certificate of synthetic data</div><h1>{escape(title)}</h1>'
        f'<p class="soft">{len(certificate.columns)} columns · {rows["synthetic"]:,} synthetic rows, measured against '
        f"{rows['train']:,} real training rows and {rows['test']:,} real test rows that no generator saw</p></header>"
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
    for name in HEADLINES:
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
        ("synthetic", "synthetic, with its interval"), ("band", "what real test rows score, with its interval")
    )
    return section(
        "At a glance",
        "Each figure next to the same figure for real rows in the synthetic rows' place; a hollow "
        "dot is the value on as many rows as the real ones had.",
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
        "With 95 % intervals. 'As real': not significantly worse than fresh real rows, at equal numbers of rows.",
        table("All figures", headings, rows, (1, 2, 3)),
    )


def _trends(certificate: Certificate) -> str:
    trends = certificate.trends
    if trends is None:
        return ""
    pairs = [(e, i, j) for i in range(len(trends.names)) for j in range(i) if (e := trends.errors[i][j]) is not None]
    pairs.sort(key=lambda pair: -pair[0])
    top = max(5.0, pairs[0][0]) if pairs else 5.0
    maps = [
        card("Real", "association", charts.heat("Associations in real rows", trends.names, trends.real, 1, "")),
        card(
            "Synthetic",
            "association",
            charts.heat("Associations in synthetic rows", trends.names, trends.synthetic, 1, ""),
        ),
        card(
            "Difference",
            f"trend error, full colour at {top:.0f} %",
            charts.heat("Trend error of column pairs", trends.names, trends.errors, top, " %"),
        ),
    ]
    rows = [
        (
            f"{escape(trends.names[i])} × {escape(trends.names[j])}",
            f"{e:.2f} %",
            *("–" if v is None else f"{v:.3f}" for v in (trends.real[i][j], trends.synthetic[i][j])),
        )
        for e, i, j in pairs[:WORST_PAIRS]
    ]
    headings = ("Worst pairs", "Trend error", "Real", "Synthetic")
    lead = "How two columns go together: correlation of two numbers, Cramér's V of other pairs. Hover for values."
    shown = (
        f" The {len(trends.names)} columns with the worst pairs are shown."
        if len(trends.names) < len(certificate.columns)
        else ""
    )
    return section(
        "Pairs of columns",
        lead + shown,
        key(("plus", "positive"), ("minus", "negative"), ("error", "error")),
        grid(maps, "wide"),
        table("The pairs with the largest trend error", headings, rows, (1, 2, 3), "narrow"),
    )


def _coverage(certificate: Certificate) -> str:
    rows, whole = [], []
    for name, detail in certificate.columns.items():
        if detail.coverage is None or detail.absent_count == 0:
            whole += [] if detail.coverage is None else [name]
            continue
        names = "".join(f"<code>{escape(charts.short(label, 40))}</code> " for label in detail.absent)
        more = detail.absent_count - len(detail.absent)
        rows.append(
            (
                escape(name),
                f"{detail.categories:,}",
                f'<span class="meter"><i style="width:{detail.coverage:.1%}"></i></span>{detail.coverage:.1%}',
                names + (f"and {more:,} more" if more else ""),
            )
        )
    if not rows and not whole:
        return ""
    parts = [table("Coverage of categories", ("Column", "Categories", "Present", "Absent"), rows, (1,))] if rows else []
    if whole:
        parts.append(f'<p><span class="good">●</span> Every category is present in {escape(", ".join(whole))}.</p>')
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
    return section(
        "What gives it away",
        "How much of the AUC of the trees that tell synthetic rows from real ones is lost "
        "when they cannot see a column. All near zero: nothing in particular does.",
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
    picture = charts.overlay("Distance to the closest training row", near.edges, near.baseline, near.synthetic)
    return section(
        "Privacy",
        "How far new rows are from the closest training row. Where synthetic rows sit nearer than fresh real rows do, "
        "training rows were nearly copied. Rows that equal a real one are left out here: see Exact copies.",
        key(("real", "real test rows"), ("synthetic", "synthetic rows")),
        '<div class="card narrow">',
        picture,
        "</div>",
    )


def _list(heading: str, lead: str, notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return section(heading, lead, f"<ul>{items}</ul>") if notes else ""
