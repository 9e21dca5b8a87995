"""The report of a study of collapse: one page to look at, offline, on paper, in the dark."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np

from synth.collapse import charts, lesson
from synth.collapse.charts import Line
from synth.collapse.measures import FIGURES, Figure
from synth.collapse.policies import CONTROL, Kind, Policy
from synth.collapse.record import Study
from synth.evaluation.page import card, grid, page, section, table

# What each generation learns from, and how many times the rows of one that is, by its number.
TOLD: dict[Kind, tuple[str, Callable[[int], int]]] = {
    "replace": ("what the generation before it drew", lambda g: 1),
    "mix": ("the same, with this share of real rows, drawn anew from the same ones each time", lambda g: 1),
    "accumulate": ("the real rows and all that was ever drawn", lambda g: g + 1),
    "accumulate-subsample": ("as many of those as there are real rows, at random", lambda g: 1),
    "fresh": ("new real rows each time, with this weight, and what the generation before it drew", lambda g: 2),
    "real": ("the same real rows each time: the control, whose course is chance", lambda g: 1),
}


def render(study: Study) -> str:
    """One self-contained HTML document about a study at any moment of it. All that comes from outside is escaped."""
    known = [name for name in FIGURES if _lines(study, name)]
    sections = [_header(study)]
    if known:
        cards = [_card(study, name, FIGURES[name]) for name in known]
        lead = (
            "A line is the mean over the seeds, its band ± one standard error. Dashed across: other real rows, which no "
            "generator can be better than but by chance."
        )
        lines = _lines(study, known[0])
        sections.append(section("Generation after generation", lead, charts.key(lines), grid(cards, "two")))
        sections.append(_last(study, known))
    sections.append(_policies(study))
    if study.notes:
        sections.append(section("Notes", "", f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in study.notes)}</ul>"))
    return page(f"Collapse of {study.data}", sections, style=charts.STYLE)


def _header(study: Study) -> str:
    asked = study.asked
    rows = ", ".join(f"{count:,} {part}" for part, count in study.rows.items())
    counts = [count for p in asked.policies if p != CONTROL and (count := lesson.borne(study, p)) is not None]
    said = lesson.sentences(study) if counts else ["No generation has been measured yet."]
    figure = f"<b>{min(counts)}<small> / {asked.generations}</small></b>" if counts else ""
    fine = bool(counts) and min(counts) == asked.generations
    return (
        f'<header><div class="kicker">Study of model collapse</div><h1>{escape(study.data)}</h1><p class="soft">'
        f"{escape(asked.family)} · {asked.generations} generations of {asked.rows:,} rows · {asked.seeds} seeds · rows: "
        f"{escape(rows)}</p></header>"
        f'<div class="verdict{"" if fine else " worse"}">{figure}'
        f"<div>{''.join(f'<p>{escape(sentence)}</p>' for sentence in said)}</div></div>"
    )


def _lines(study: Study, figure: str) -> list[Line]:
    lines, others = list[Line](), [policy for policy in study.asked.policies if policy != CONTROL]
    for policy in study.asked.policies:
        if (curve := study.curve(policy, figure)) is not None:
            place = None if policy == CONTROL else others.index(policy)
            lines.append(Line(policy, curve.mean, curve.error, place))
    return lines


def _card(study: Study, name: str, figure: Figure) -> str:
    lines = _lines(study, name)
    ends = ", ".join(f"{line.name} {line.mean[-1]:.{figure.places}f}" for line in lines)
    drawn = charts.courses(
        f"{figure.name} over the generations; at the last: {ends}", figure.name, lines, study.real.get(name)
    )
    return card(figure.name, "", drawn, f"<p>{escape(figure.says)}.</p>")


def _last(study: Study, known: list[str]) -> str:
    """The last generation in figures, beside the first."""
    rows = []
    for policy in study.asked.policies:
        count = lesson.borne(study, policy)
        cells = [f"<code>{escape(policy)}</code>", "" if count is None else f"{count} / {study.asked.generations}"]
        for name in known:
            curve = study.curve(policy, name)
            cells.append("" if curve is None else _told(curve.mean[-1], curve.error[-1], FIGURES[name].places))
        rows.append(cells)
    # Alike for all policies: they begin with the same models.
    first = [np.mean([line.mean[0] for line in _lines(study, name)]) for name in known]
    begin = ["generation 0", "", *(f"{value:.{FIGURES[n].places}f}" for value, n in zip(first, known, strict=True))]
    real = ["real rows", "", *(f"{study.real[n]:.{FIGURES[n].places}f}" if n in study.real else "" for n in known)]
    headings = ("", f"borne, by {FIGURES[lesson.headline(study)].name}", *(FIGURES[name].name for name in known))
    lead = (
        f"± one standard error over {study.asked.seeds} seeds. Borne: generations before the first that has lost more than "
        f"{lesson.BORNE:.0%}, by more than one standard error."
    )
    shown = table("The last generation", headings, [*rows, begin, real], range(1, len(headings)))
    return section("The last generation", lead, shown)


def _told(value: float, error: float, places: int) -> str:
    return f"{value:.{places}f}" + ("" if np.isnan(error) else f" <small>± {error:.{places}f}</small>")


def _policies(study: Study) -> str:
    asked, rows = study.asked, []
    for policy in asked.policies:
        told, times = TOLD[Policy.parse(policy).kind]
        rows.append((f"<code>{escape(policy)}</code>", escape(told), f"{times(asked.generations) * asked.rows:,}"))
    lead = "What each generation after the first learns from."
    return section("Policies", lead, table("Policies", ("", "learns from", "rows, at the last"), rows, (2,)))
