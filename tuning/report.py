"""The report of a study: one HTML page to look at while it goes on and when it is over, offline, on paper, in the dark."""

from __future__ import annotations

from html import escape

from synth.evaluation.charts import number
from synth.evaluation.page import page, section, table
from tuning import charts, findings, insight, words
from tuning.charts import Interval
from tuning.record import Study

SCRIPT = """<script>
const all = document.querySelectorAll("[data-trial]");
const light = n => {
  for (const x of all) (x.closest("tr") || x).classList.toggle("lit", x.dataset.trial === n);
  for (const s of document.querySelectorAll("svg")) s.classList.toggle("dim", n !== null && !!s.querySelector("g.lit"));
};
for (const x of all) {
  const place = x.closest("tr") || x;
  place.addEventListener("mouseenter", () => light(x.dataset.trial));
  place.addEventListener("mouseleave", () => light(null));
  x.addEventListener("focus", () => light(x.dataset.trial));
  x.addEventListener("blur", () => light(null));
}
</script>"""


def render(study: Study) -> str:
    """One self-contained HTML document about a study at any moment of it. All that comes from outside is escaped."""
    sections = [
        _header(study),
        _finalists(study),
        _optimism(study),
        findings.progress(study),
        findings.learning(study),
        findings.knobs(study),
        findings.importance(study),
        findings.front(study),
        findings.memory(study),
        _trials(study),
        _looks(study),
        _notes(study),
        "<footer>Values on select are those the search chose by, and flatter what was chosen; those on confirm decide among "
        "the finalists; test is looked at once. ± is one standard error.</footer>",
        SCRIPT,
    ]
    return page(f"Study of {study.data}", [s for s in sections if s], style=charts.STYLE)


def _header(study: Study) -> str:
    real = ", ".join(f"{metric} {number(found)}" for metric, found in study.real.items())
    rows = ", ".join(f"{count:,} {part}" for part, count in study.rows.items())
    chosen, best = insight.released(study), insight.best(study)
    figure = ""
    if chosen is not None:
        figure = f"<b>{words.utility(chosen):.1%}<small> of real</small></b>"
    elif best is not None and best.last is not None:
        figure = f"<b>{best.last.score.utility:.1%}<small> of real, so far</small></b>"
    made = f"<p>Release: <code>{escape(study.release)}</code></p>" if study.release else ""
    return (
        f'<header><div class="kicker">Study of recipes</div><h1>{escape(study.data)}</h1><p class="soft">'
        f"{escape(study.task)} of '{escape(study.target)}' · rows: {escape(rows)} · models trained on real rows score "
        f"{escape(real)} on select · {escape(words.counts(study))} · {words.clock(study.spent_s)} of "
        f"{words.clock(study.budget_s)} min spent in {words.plural(study.slots, 'slot')} · begun "
        f"{study.created:%Y-%m-%d %H:%M %Z} · study {escape(study.id)}</p></header>"
        f'<div class="verdict{"" if chosen else " worse"}">{figure}'
        f"<div><p>{escape(words.headline(study))}</p>{made}</div></div>"
    )


def _finalists(study: Study) -> str:
    longer = ", trained for longer, and the best other ways to sample them" * bool(study.long_s)
    lead = (
        f"The default recipe and the best others{longer}, scored on confirm, rows on which nothing was chosen before. What "
        "reaches the dashed line, one standard error below the best, is not told apart from it."
    )
    if not study.finalists:
        return section("Finalists", "None is scored on confirm yet.")
    default, families = insight.default_finalist(study), {t.number: t.family for t in study.trials}
    order = sorted(study.finalists, key=lambda f: -f.value)
    rows, cells = [], []
    for f in order:
        notes = ["released"] * f.released + ["the default recipe"] * (f is default)
        rows.append(
            Interval(f.trial, families[f.trial], words.name(f), f.value, f.error, " · ".join(notes), f.released)
        )
        each = ", ".join(f"{score.value:.4f}" for score in f.scores)
        cells.append(
            (escape(words.name(f)), escape(families[f.trial]), f"<b>{f.value:.4f}</b> ± {f.error:.4f}",
             f"{words.utility(f):.1%}", f"<span>{each}</span>", f"{f.seconds:,.0f}",
             escape("; ".join([*notes, *([f.why] * bool(f.why))])))
        )  # fmt: skip
    label = "Value of the finalists on confirm: " + "; ".join(
        f"{row.name} {row.value:.4f} ± {row.error:.4f} {row.note}".rstrip() for row in rows
    )
    headings = ("Finalist", "Family", "Value", "Utility", "By seed", "Seconds trained", "")
    line = insight.threshold(study)
    picture = charts.intervals(label, rows, line, "one standard error below the best")
    return section(
        "Finalists",
        lead,
        f'<div class="card narrow">{charts.family_key(sorted({row.family for row in rows}), "ring: released")}{picture}</div>',
        table("Finalists", headings, cells, (2, 3, 5)),
    )


def _optimism(study: Study) -> str:
    found = study.released
    if found is None:
        return section("Optimism", words.optimism(study))
    chosen = insight.released(study)
    rows = [("select, where it was chosen", f"{found['select']:.4f}")]
    rows += [] if chosen is None else [("confirm, where it was decided on", f"{chosen.value:.4f} ± {chosen.error:.4f}")]
    rows += [("test, looked at once", f"{found['test']:.4f}")]
    rows += [("optimism: select − test", f"<b>{found['select'] - found['test']:+.4f}</b>")]
    return section("Optimism", words.optimism(study), table("Optimism", ("Value on", ""), rows, (1,), "narrow"))


def _trials(study: Study) -> str:
    if not study.trials:
        return section("Trials", "None has begun yet.")
    usual, rows = words.defaults(study), []
    for t in study.trials:
        s = t.last.score if t.last else None
        state = f"<span>{escape(words.STATES[t.state])}</span>" + (
            f"<br><small>{escape(t.failure)}</small>" if t.failure else ""
        )
        origin = escape(t.origin) + (f" from trial {t.parent}" if t.parent is not None else "")
        origin += f"<br><small>{escape(t.why)}</small>" if t.why else ""
        rows.append(
            (
                f'<span data-trial="{t.number}" tabindex="0">{t.number}</span>', origin, escape(t.family),
                state, f"{t.last.seconds:,.1f}" if t.last else "–", words.value(t),
                *(("–",) * 3 if s is None else (f"{s.utility:.4f}", f"{s.coverage:.3f}", f"{s.copying:.4f}")),
                f"<small>{escape(words.settings(t, usual))}</small>",
            )
        )  # fmt: skip
    headings = ("Trial", "Origin", "Family", "State", "Seconds", "Value", "Utility", "Coverage", "Copying",
                "Unlike the default")  # fmt: skip
    return section(
        "Trials",
        f"{words.counts(study)}. Values on select at the last rung that was reached, ± one standard error from draw to draw. "
        "Utility: models trained on the samples relative to models trained on real rows. Value: utility less penalties for "
        "what is not covered and for copying.",
        table("Trials", headings, rows, (4, 5, 6, 7, 8), "trials"),
    )


def _looks(study: Study) -> str:
    lead = "Every look at the rows that are kept for decisions: the more there are, the less those rows can be trusted."
    if not study.looks:
        return section("Looks", "Nobody has looked at confirm or test yet.")
    rows = [
        (escape(look.part), escape(look.what), f"{look.samples:,}", f"{look.at:%Y-%m-%d %H:%M:%S %Z}")
        for look in study.looks
    ]
    return section("Looks", lead, table("Looks", ("Part", "What for", "Samples", "When"), rows, (2,), "narrow"))


def _notes(study: Study) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in study.notes)
    return section("Notes", "What else is to be known.", f"<ul>{items}</ul>") if study.notes else ""
