"""The report's pictures of pairs of columns."""

from __future__ import annotations

from html import escape

from synth.evaluation import charts
from synth.evaluation.certificate import Certificate
from synth.evaluation.page import card, grid, key, section, table

WORST_PAIRS = 8


def pairs_section(certificate: Certificate) -> str:
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
