"""The certificate in a terminal: what the command prints when it is done."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from synth.evaluation.certificate import Certificate
from synth.evaluation.figures import Figure

ARROWS = {"lower": "↓", "higher": "↑", "baseline": "≈"}


def decimals(figure: Figure) -> int:
    """Decimal places that the figure's unit deserves: two for per cent, and enough for small shares to show."""
    if figure.unit in ("%", "target units"):
        return 2
    return 4 if 0 < max(figure.value, figure.baseline) < 0.01 else 3


def figures_table(certificate: Certificate) -> Table:
    """Every figure with its interval, its real baseline and whether it is as good as real, for a Rich console."""
    table = Table(
        title="Certificate",
        caption="{synthetic:,} synthetic {unit}, measured against {train:,} train and {test:,} test {unit} · "
        "95 % intervals · real: test {unit} scored as if they were synthetic · ● not significantly worse than real, "
        "○ worse · ↓ lower, ↑ higher, ≈ near the baseline is better".format(**certificate.rows, unit=certificate.unit),
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("figure", "", "synthetic", "interval", "real", "interval", ""):
        table.add_column(
            heading, justify="right" if heading in ("synthetic", "real") else "left", no_wrap=heading != "figure"
        )
    group = None
    for f in certificate.figures.values():
        if group not in (None, f.group):
            table.add_section()
        group, places = f.group, decimals(f)
        good = f.as_good_as_real
        table.add_row(
            Text(f"{f.title} ({f.unit})"),  # what is in brackets is no markup
            ARROWS[f.better],
            f"{f.value:.{places}f}",
            f"{f.low:.{places}f}-{f.high:.{places}f}",
            f"{f.baseline:.{places}f}",
            f"{f.baseline_low:.{places}f}-{f.baseline_high:.{places}f}",
            Text("●" if good else "○", style="green" if good else "yellow"),
        )
    return table
