"""The report of a study: one HTML page to look at while it goes on and when it is over, offline, on paper, in the dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import accumulate, combinations

import numpy as np

from synth.evaluation.charts import number
from synth.evaluation.page import card, grid, page, section, table
from synth.ranges import Choice, Range
from tuning import charts, insight, space, words
from tuning.charts import Curve, Interval, Point
from tuning.record import Study, Trial

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
MOST_BARS = 12


def render(study: Study) -> str:
    """One self-contained HTML document about a study at any moment of it. All that comes from outside is escaped."""
    sections = [
        _header(study),
        _finalists(study),
        _optimism(study),
        _progress(study),
        _learning(study),
        _knobs(study),
        _importance(study),
        _front(study),
        _memory(study),
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
    figure, what = "–", "of real"
    if chosen is not None:
        figure = f"{words.utility(chosen):.1%}"
    elif best is not None and best.last is not None:
        figure, what = f"{best.last.score.utility:.1%}", "of real, so far"
    made = f"<p>Release: <code>{escape(study.release)}</code></p>" if study.release else ""
    return (
        f'<header><div class="kicker">Study of recipes</div><h1>{escape(study.data)}</h1><p class="soft">'
        f"{escape(study.task)} of '{escape(study.target)}' · rows: {escape(rows)} · models trained on real rows score "
        f"{escape(real)} on select · {escape(words.counts(study))} · {words.clock(study.spent_s)} of "
        f"{words.clock(study.budget_s)} min spent in {words.plural(study.slots, 'slot')} · begun "
        f"{study.created:%Y-%m-%d %H:%M %Z} · study {escape(study.id)}</p></header>"
        f'<div class="verdict{"" if chosen else " worse"}"><b>{figure}<small> {what}</small></b>'
        f"<div><p>{escape(words.headline(study))}</p>{made}</div></div>"
    )


def _finalists(study: Study) -> str:
    lead = (
        "The best trials and the default recipe, scored on confirm, rows on which nothing was chosen before. What reaches "
        "the dashed line, one standard error below the best, is not told apart from it."
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
             f"{words.utility(f):.1%}", each, f"{f.seconds:,.0f}", escape("; ".join([*notes, *([f.why] * bool(f.why))])))
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
    return section(
        "Optimism", words.optimism(study), table("Optimism", ("Value on", ""), rows, (1,), "narrow")
    )


def _progress(study: Study) -> str:
    trials = insight.scored(study)
    if not trials:
        return ""
    values, default = [insight.value(t) for t in trials], insight.default(study)
    usual = insight.value(default) if default is not None and default.last is not None else None
    spent = dict(zip((t.number for t in study.trials), accumulate(insight.trained(study)), strict=True))
    top = insight.best(study)
    assert top is not None
    label = f"Best value on select by {{}}: {values[0]:.4f} at first, {insight.value(top):.4f} since trial {top.number}"
    by_number = charts.steps(
        label.format("trial"), "trial", [(t.number, insight.value(t)) for t in trials], usual, integers=True
    )
    by_time = charts.steps(
        label.format("seconds of training"),
        "seconds of training, all trials",
        [(spent[t.number], insight.value(t)) for t in trials],
        usual,
        integers=False,
    )
    lead = (
        "The line is the highest value on select among the trials so far, a dot each trial; seconds are those of training, "
        "added up in the order of the trials." + _edge(charts.below(values, usual), "trial")
    )
    parts = [card("By trial", "", by_number), card("By seconds of training", "", by_time)]
    return section("Best value so far", lead, grid(parts, "two"))


def _edge(count: int, what: str) -> str:
    """What is said of values that are drawn on the lower edge."""
    return f" {words.plural(count, what)} far below the others: drawn on the lower edge." if count else ""


def _families(trials: Sequence[Trial]) -> list[str]:
    return sorted({trial.family for trial in trials})


def _learning(study: Study) -> str:
    trials, default = insight.scored(study), insight.default(study)
    if not trials:
        return ""
    curves = [
        Curve(
            t.number, t.family, [(r.seconds, r.score.value, r.error) for r in t.curve],
            f"trial {t.number}, {t.family}, {t.state}: {words.value(t)}", t.state == "stopped",
            t.state in ("stopped", "running"), "×" * (t.state == "failed"),
        )
        for t in trials
    ]  # fmt: skip
    flat = [r.score.value for t in trials for r in t.curve]
    usual = insight.value(default) if default is not None and default.last is not None else None
    label = f"Learning curves of {words.plural(len(trials), 'trial')}: value on select against seconds of training"
    rows = [
        (str(t.number), escape(t.family), f"{r.seconds:,.1f}", f"{r.step:,}", f"{r.score.value:.4f} ± {r.error:.4f}")
        for t in trials
        for r in t.curve
    ]
    headings = ("Trial", "Family", "Seconds", "Step", "Value")
    return section(
        "Learning curves",
        "What each trial was worth at each rung, with the standard error from one draw to another."
        + _edge(charts.below(flat, usual), "value"),
        '<div class="card narrow">',
        charts.family_key(
            _families(trials), "faint and open: stopped early", "open: still running", "×: failed", "dashed: the default"
        ),
        charts.learning(label, curves, usual),
        "</div>",
        f"<details><summary>The same in numbers</summary>{table('Rungs', headings, rows, (2, 3, 4))}</details>",
    )


def _ends(range_: Range) -> tuple[str, str]:
    ends = (range_.options[0], range_.options[-1]) if isinstance(range_, Choice) else (range_.low, range_.high)
    return number(ends[0]), number(ends[1])


def _knobs(study: Study) -> str:
    trials, usual = insight.scored(study), words.defaults(study)
    parts = []
    for family in _families(trials):
        own = [t for t in trials if t.family == family]
        ranges = {key: r for key, r in space.space(family).items() if any(key in t.knobs for t in own)}
        values = sorted(insight.value(t) for t in own)
        scale = charts.Axis.over([values[len(values) // 4], values[-1]], 0.0, 1.0, room=0.0)
        lines = []
        for t in own:
            v = insight.value(t)
            places = [r.unit(t.knobs[key]) if key in t.knobs else None for key, r in ranges.items()]
            told = f"trial {t.number}: {words.value(t)}; {words.settings(t, usual)}"
            lines.append((t.number, [*places, scale.at(v)], scale.at(v), told))
        axes = [(key.rpartition(".")[2], *_ends(r)) for key, r in ranges.items()]
        axes += [("value", f"≤ {scale.low:.3f}", f"{scale.high:.3f}")]
        label = f"Knobs of {words.plural(len(own), f'{family} trial')}, an axis each, and the value as the last axis"
        parts.append(f'<div class="scroll chart"><h3>{escape(family)}</h3>{charts.parallel(label, axes, lines)}</div>')
    if not parts:
        return ""
    return section(
        "Knobs",
        "A line is a trial, an axis a knob on the range that is searched; the last axis is the value, and the higher it is "
        "the bolder and deeper the line. The lowest quarter of the values share the bottom of it. A trial that is pointed "
        "at, here or in the table, stands out everywhere.",
        *parts,
    )


def _importance(study: Study) -> str:
    found = insight.importance(study.trials)
    heading = "Importance of the knobs"
    if found is None:
        count = len(insight.scored(study))
        return section(
            heading, f"{words.plural(count, 'scored trial')} are too few to tell: it takes {insight.FEWEST} or more."
        )
    if found.explained <= 0:
        return section(
            heading,
            f"From {found.trials} trials a forest does not predict the values of trials that it has not seen, so which knobs "
            "mattered cannot be told.",
        )
    shown = found.knobs[:MOST_BARS]
    label = "Importance: " + "; ".join(f"{name} {value:.3f} ± {error:.3f}" for name, value, error in shown)
    return section(
        heading,
        f"A forest that has seen the other trials predicts {found.explained:.0%} of the variance of a trial's rank by value. "
        f"A bar is by how much of the variance that falls when one knob is shuffled. From {found.trials} trials, stopped ones "
        "with the value at which they were stopped: a hint, not a proof."
        + (f" The first {MOST_BARS} of {len(found.knobs)}." if len(found.knobs) > MOST_BARS else ""),
        f'<div class="card narrow">{charts.bars(label, shown)}</div>',
    )


def _front(study: Study) -> str:
    trials, names = insight.scored(study), study.objective
    if len(names) < 2 or not trials:
        return ""
    points = np.array([[insight.part(t.last.score, n) for n in names] for t in trials if t.last is not None])
    front = insight.pareto(points)
    parts = []
    for i, j in combinations(range(len(names)), 2):
        drawn = charts.plot(names[i], names[j], points[:, i].tolist(), points[:, j].tolist())
        drawn.points(
            [
                Point(t.number, t.family, p[i], p[j], f"trial {t.number}, {t.family}: {_told(names, p)}", open=not f, ring=f)
                for t, p, f in sorted(zip(trials, points, front, strict=True), key=lambda item: item[2])
            ]
        )
        label = f"{names[j]} against {names[i]} of {words.plural(len(trials), 'trial')}, {int(front.sum())} on the front"
        parts.append(card(f"{names[j]} against {names[i]}", "higher is better in both", drawn.svg(label)))
    rows = [
        (str(t.number), escape(t.family), *(f"{v:.4f}" for v in p), escape(t.state))
        for t, p, f in zip(trials, points, front, strict=True)
        if f
    ]
    return section(
        "Pareto front",
        f"No other trial is at least as good as these in {' and '.join(names)} and better in one of them: they are what there "
        "is to choose from. Values on select; privacy is 1 less copying.",
        charts.family_key(_families(trials), "filled and ringed: on the front", "open: not"),
        grid(parts, "two"),
        table("Pareto front", ("Trial", "Family", *names, "State"), rows, range(2, 2 + len(names)), "narrow"),
    )


def _told(names: Sequence[str], point: np.ndarray) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in zip(names, point, strict=True))


def _memory(study: Study) -> str:
    pairs = [(t, *t.expected, insight.value(t)) for t in insight.scored(study) if t.expected is not None]
    if not pairs:
        return ""
    whole = [(expected, error, reached) for t, expected, error, reached in pairs if t.state == "done"]
    lead = "What earlier studies led to expect of a trial before it ran, with its standard error, against what it reached."
    if len(whole) > 1:
        off = np.array([reached - expected for expected, _, reached in whole])
        within = np.mean([abs(reached - expected) <= 2 * error for expected, error, reached in whole])
        lead += (
            f" Of the {len(whole)} trained to the end, {within:.0%} came within two standard errors of it; they reached "
            f"{abs(off.mean()):.4f} {'more' if off.mean() >= 0 else 'less'} than expected on average, and were "
            f"{np.abs(off).mean():.4f} away from it."
        )
    values = [v for _, expected, _, reached in pairs for v in (expected, reached)]
    drawn = charts.plot("expected", "reached", values, values)
    ends = [(drawn.x.at(v), drawn.y.at(v)) for v in (min(values), max(values))]
    drawn.body.append('<path class="rule" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in ends) + '"/>')
    drawn.points(
        [
            Point(
                t.number, t.family, expected, reached, f"trial {t.number}: expected {expected:.4f} ± {error:.4f}, "
                f"reached {reached:.4f} ({t.state})", t.last.error if t.last else 0.0, error,
                faint=t.state != "done", open=t.state != "done",
            )
            for t, expected, error, reached in pairs
        ]
    )  # fmt: skip
    rows = [
        (str(t.number), escape(t.state), f"{expected:.4f} ± {error:.4f}", f"{reached:.4f}", f"{reached - expected:+.4f}")
        for t, expected, error, reached in pairs
    ]
    headings = ("Trial", "State", "Expected", "Reached", "Difference")
    label = f"Reached against expected value of {words.plural(len(pairs), 'trial')}, and the line on which they are equal"
    return section(
        "Expected and reached",
        lead,
        '<div class="card narrow">',
        charts.family_key(_families([p[0] for p in pairs]), "open: not trained to the end", "dashed: as expected"),
        drawn.svg(label),
        "</div>",
        f"<details><summary>The same in numbers</summary>{table('Expected', headings, rows, (2, 3, 4))}</details>",
    )


def _trials(study: Study) -> str:
    if not study.trials:
        return section("Trials", "None has begun yet.")
    usual, rows = words.defaults(study), []
    for t in study.trials:
        s = t.last.score if t.last else None
        state = escape(words.STATES[t.state]) + (f"<br><small>{escape(t.failure)}</small>" if t.failure else "")
        origin = escape(t.origin) + (f"<br><small>of trial {t.parent}</small>" if t.parent is not None else "")
        rows.append(
            (
                f'<span data-trial="{t.number}" tabindex="0">{t.number}</span>', origin, escape(t.why), escape(t.family),
                state, f"{t.last.seconds:,.1f}" if t.last else "–", words.value(t),
                *(("–",) * 3 if s is None else (f"{s.utility:.4f}", f"{s.coverage:.3f}", f"{s.copying:.4f}")),
                f"<small>{escape(words.settings(t, usual))}</small>",
            )
        )  # fmt: skip
    headings = ("Trial", "Origin", "Why", "Family", "State", "Seconds", "Value", "Utility", "Coverage", "Copying",
                "Unlike the default")  # fmt: skip
    return section(
        "Trials",
        f"{words.counts(study)}. Values on select at the last rung that was reached, ± one standard error from draw to draw. "
        "Utility: models trained on the samples relative to models trained on real rows. Value: utility less penalties for "
        "what is not covered and for copying.",
        table("Trials", headings, rows, (5, 6, 7, 8, 9), "trials"),
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
