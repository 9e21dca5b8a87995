"""What the trials show, each a section of the report: progress, learning curves, knobs, the front, what was expected.

Every function returns HTML, and an empty string where there is nothing to show yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import accumulate, combinations

import numpy as np

from synth.evaluation.axes import Axis, below
from synth.evaluation.charts import number
from synth.evaluation.page import card, grid, section, table
from synth.ranges import Choice, Range
from tuning import charts, insight, space, words
from tuning.charts import Curve, Point
from tuning.record import Study, Trial

MOST_BARS = 12
LEAST_EXPLAINED = 0.1  # of the variance, below which the knobs' shares of it are noise


def progress(study: Study) -> str:
    trials = insight.sound(study)
    if not trials:
        return ""
    values, default = [insight.value(t) for t in trials], insight.default(study)
    usual = insight.value(default) if default is not None else None
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
        "added up in the order of the trials." + _edge(below(values, usual), "trial")
    )
    parts = [card("By trial", "", by_number), card("By seconds of training", "", by_time)]
    return section("Best value so far", lead, grid(parts, "two"))


def _edge(count: int, what: str) -> str:
    """What is said of values that are drawn on the lower edge."""
    return f" {words.plural(count, what)} far below the others: drawn on the lower edge." if count else ""


def _families(trials: Sequence[Trial]) -> list[str]:
    return sorted({trial.family for trial in trials})


def learning(study: Study) -> str:
    trials, default = [t for t in insight.scored(study) if t.origin != "sampling"], insight.default(study)
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
    usual = insight.value(default) if default is not None else None
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
        + _edge(below(flat, usual), "value"),
        '<div class="card narrow">',
        charts.family_key(
            _families(trials),
            "faint and open: stopped early",
            "open: still running",
            "×: failed",
            "dashed: the default",
        ),
        charts.learning(label, curves, usual),
        "</div>",
        f"<details><summary>The same in numbers</summary>{table('Rungs', headings, rows, (2, 3, 4))}</details>",
    )


def _ends(range_: Range) -> tuple[str, str]:
    ends = (range_.options[0], range_.options[-1]) if isinstance(range_, Choice) else (range_.low, range_.high)
    return number(ends[0]), number(ends[1])


def knobs(study: Study) -> str:
    trials, usual = insight.searched(study), words.defaults(study)
    parts = []
    for family in _families(trials):
        own = [t for t in trials if t.family == family]
        ranges = {key: r for key, r in space.space(family).items() if any(key in t.knobs for t in own)}
        values = sorted(insight.value(t) for t in own)
        scale = Axis.over([values[len(values) // 4], values[-1]], 0.0, 1.0, room=0.0)
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


def importance(study: Study) -> str:
    found = insight.importance(study.trials)
    heading = "Importance of the knobs"
    if found is None:
        count = len(insight.searched(study))
        return section(
            heading, f"{words.plural(count, 'scored trial')} are too few to tell: it takes {insight.FEWEST} or more."
        )
    if found.explained < LEAST_EXPLAINED:
        return section(
            heading,
            f"From {found.trials} trials a forest hardly predicts the values of trials that it has not seen "
            f"({max(found.explained, 0):.0%} of the variance of their ranks), so which knobs mattered cannot be told.",
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


def front(study: Study) -> str:
    trials, names = insight.sound(study), study.objective
    if len(names) < 2 or not trials:
        return ""
    points = np.array([insight.objectives(study, t) for t in trials])
    front = insight.pareto(points)
    parts = []
    for i, j in combinations(range(len(names)), 2):
        drawn = charts.plot(names[i], names[j], points[:, i].tolist(), points[:, j].tolist())
        drawn.points(
            [
                Point(
                    t.number,
                    t.family,
                    p[i],
                    p[j],
                    f"trial {t.number}, {t.family}: {_told(names, p)}",
                    open=not f,
                    ring=f,
                )
                for t, p, f in sorted(zip(trials, points, front, strict=True), key=lambda item: item[2])
            ]
        )
        label = (
            f"{names[j]} against {names[i]} of {words.plural(len(trials), 'trial')}, {int(front.sum())} on the front"
        )
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


def memory(study: Study) -> str:
    pairs = [(t, *t.expected, insight.value(t)) for t in insight.scored(study) if t.expected is not None]
    if not pairs:
        return ""
    whole = [(expected, error, reached) for t, expected, error, reached in pairs if t.state == "done"]
    lead = (
        "What earlier studies led to expect of a trial before it ran, with its standard error, against what it reached."
    )
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
        (
            str(t.number),
            escape(t.state),
            f"{expected:.4f} ± {error:.4f}",
            f"{reached:.4f}",
            f"{reached - expected:+.4f}",
        )
        for t, expected, error, reached in pairs
    ]
    headings = ("Trial", "State", "Expected", "Reached", "Difference")
    label = (
        f"Reached against expected value of {words.plural(len(pairs), 'trial')}, and the line on which they are equal"
    )
    return section(
        "Expected and reached",
        lead,
        '<div class="card narrow">',
        charts.family_key(_families([p[0] for p in pairs]), "open: not trained to the end", "dashed: as expected"),
        drawn.svg(label),
        "</div>",
        f"<details><summary>The same in numbers</summary>{table('Expected', headings, rows, (2, 3, 4))}</details>",
    )
