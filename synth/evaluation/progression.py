"""The report's section on what the samples were like on the way, while the generator learnt."""

from __future__ import annotations

from synth.evaluation import charts
from synth.evaluation.page import card, grid, key, section
from synth.provenance.manifest import Watched

FIGURES = {
    "coverage": ("Coverage", "real rows that have a sample row among their neighbours"),
    "rare": ("Rare states", "of those that under 1 % of the training rows are in"),
    "modes": ("Modes", "clusters of real rows that the sample has too"),
    "tails": ("Tails", "numbers beyond the outermost 1 % of real ones, either side"),
    "duplicates": ("Duplicates", "sample rows with a twin as near as 1 % of real rows have"),
}


def during_training(watched: Watched) -> str:
    """A small chart of each figure; one that could not be measured is left out."""
    steps, cards = [check.step for check in watched.checks], []
    for name, (title, meaning) in FIGURES.items():
        real, values = getattr(watched.real, name), [getattr(check, name) for check in watched.checks]
        if real is not None and None not in values:
            cards.append(
                card(
                    title,
                    f"{values[-1]:.1%}, real {real:.1%}",
                    charts.course(title, steps, values, real),
                    f"<p>{meaning}</p>",
                )
            )
    left_out = (
        f" {watched.left_out:,} more hold a category or number that no training row has, and were left out."
        if watched.left_out
        else ""
    )
    return section(
        "During training",
        f"What the averaged weights drew on the way, {watched.rows:,} rows at a time, against as many real rows of "
        f"{watched.part}. The dashed line is what other rows of {watched.part} have.{left_out}",
        key(("synthetic", "synthetic rows"), ("soft", "real rows")),
        grid(cards),
    )
