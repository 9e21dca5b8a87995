"""The pictures of the README's results: SVG files that are readable on light and dark pages, since they bring a ground along.

Functions get points, one a generator and table: ``name``, ``table``, and of each figure the median, the least and the greatest
over the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from synth.evaluation.axes import Axis, shown
from synth.evaluation.charts import number

Span = tuple[float, float, float]  # median, least, greatest


@dataclass(frozen=True)
class Point:
    """``quality`` is the figure of a plot against time, ``real`` what real rows have of it."""

    name: str
    table: str
    seconds: Span
    quality: Span
    real: float


STYLE = """<style>
svg { --ground: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --c0: #0b7a75; --c1: #1f6fb2; --c2: #6a45c2; --c3: #c2410c; --c4: #b8336a; --c5: #8a6100; --c6: #4d6b2c;
  --c7: #59636e; }
@media (prefers-color-scheme: dark) { svg { --ground: #0d1117; --ink: #e6edf3; --soft: #9da7b1; --line: #30363d;
  --c0: #3ecdc0; --c1: #58a9ea; --c2: #b39af8; --c3: #fb923c; --c4: #f08cb8; --c5: #e8b64c; --c6: #a3c585;
  --c7: #9da7b1; } }
text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--soft); }
text.title { font-weight: 600; font-size: 13px; fill: var(--ink); } text.ink { fill: var(--ink); }
.grid { stroke: var(--line); stroke-width: 1; } .rule { stroke: var(--ink); stroke-dasharray: 5 4; stroke-width: 1.2; }
.mark { fill: var(--c); stroke: var(--ground); stroke-width: 1.2; }
.beyond { fill: var(--ground); stroke: var(--c); stroke-width: 2; } .spread { stroke: var(--c); stroke-width: 1.8; }
.range { stroke: var(--ink); stroke-width: 1.4; } .bar { fill: var(--c); fill-opacity: .85; }
</style>"""
SHAPES = (
    "M-6 0A6 6 0 1 0 6 0A6 6 0 1 0 -6 0Z", "M-5.3 -5.3H5.3V5.3H-5.3Z", "M0 -6.8L6.3 4.6H-6.3Z", "M0 -7.2L7.2 0L0 7.2L-7.2 0Z",
    "M0 6.8L6.3 -4.6H-6.3Z", "M-2.2 -6.4H2.2V-2.2H6.4V2.2H2.2V6.4H-2.2V2.2H-6.4V-2.2H-2.2Z",
    "M-6.4 -2L0 -6.8L6.4 -2L4 5.6H-4Z", "M-7 -3H7V3H-7Z",
)  # fmt: skip
ACROSS, WIDE, HIGH = 3, 300, 236  # panels in a row, and their size
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 34, 46  # what is left free in each
HEAD = 30  # for the title above all
EDGE = 9  # from the ends of an upright axis to those of its panel, so that marks have room


def scatter(title: str, up: Callable[[str], str], points: Sequence[Point], names: Sequence[str]) -> str:
    """A panel for each table: ``quality`` against the seconds of fitting. ``up`` words a table's upright axis, and says
    "lower" where lower is better: generators that are far worse than the others are drawn on that edge, hollow."""
    tables = list(dict.fromkeys(p.table for p in points))
    body, ends = list[str](), [s for p in points for s in p.seconds]
    x_axis = Axis.over(ends, 0, WIDE - LEFT - RIGHT, log=max(ends) > 10 * min(ends))
    for n, table in enumerate(tables):
        mine = [p for p in points if p.table == table]
        body.append(_moved(WIDE * (n % ACROSS), HIGH * (n // ACROSS), _panel(table, up(table), mine, names, x_axis)))
    rows = len(tables) // ACROSS + 1  # the last place, or a row of its own, is the key's
    body.append(_moved(WIDE * (len(tables) % ACROSS), HIGH * (rows - 1), _key(names)))
    return _file(ACROSS * WIDE, rows * HIGH, title, body)


def _panel(table: str, up: str, points: Sequence[Point], names: Sequence[str], x: Axis) -> str:
    floor, lower = HIGH - BOTTOM, "lower" in up
    sign = -1 if lower else 1
    kept = [sign * v for v in shown([sign * p.quality[0] for p in points], sign * points[0].real)]
    ends = [v for p in points if p.quality[0] in kept for v in p.quality]
    y = Axis.over([*ends, *kept], floor - EDGE, TOP + EDGE, room=0.02)
    body = [_text(LEFT, 20, table, kind="title"), _text(LEFT + WIDE - LEFT - RIGHT, 20, up, "end")]
    for value, digits in y.ticks():
        at = y.at(value)
        body.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        body.append(_text(LEFT - 6, at + 4, digits, "end"))
    last = -math.inf
    for value, digits in x.ticks():
        at = LEFT + x.at(value)
        body.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{floor}" y2="{floor + 4}"/>')
        if at - last > 34:  # room for its digits
            body.append(_text(at, floor + 17, digits, "middle"))
            last = at
    body.append(_text((LEFT + WIDE - RIGHT) / 2, floor + 34, "seconds to fit", "middle"))
    at = y.at(points[0].real)
    body.append(f'<line class="rule" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    for p in sorted(points, key=lambda p: names.index(p.name), reverse=True):  # the first on top
        place, across, level = names.index(p.name), [LEFT + x.at(s) for s in p.seconds], [y.at(v) for v in p.quality]
        beyond = p.quality[0] not in kept
        told = f"{p.name}: {number(p.quality[0])} after {number(p.seconds[0])} s"
        spread = f"M{across[1]:.1f} {level[0]:.1f}H{across[2]:.1f}M{across[0]:.1f} {level[1]:.1f}V{level[2]:.1f}"
        body.append(
            f'<g style="--c: var(--c{place % len(SHAPES)})"><title>{escape(told)}</title>'
            f'<path class="spread" d="{spread}"/>'
            f'<path class="{"beyond" if beyond else "mark"}" transform="translate({across[0]:.1f} {level[0]:.1f})" '
            f'd="{SHAPES[place % len(SHAPES)]}"/></g>'
        )
    return "".join(body)


def _key(names: Sequence[str]) -> str:
    body = []
    for n, name in enumerate(names):
        shape = (
            f'<path class="mark" transform="translate({LEFT + 6} {TOP + 4 + 19 * n})" d="{SHAPES[n % len(SHAPES)]}"/>'
        )
        body.append(
            f'<g style="--c: var(--c{n % len(SHAPES)})">{shape}</g>'
            + _text(LEFT + 22, TOP + 8 + 19 * n, name, kind="ink")
        )
    below = TOP + 19 * len(names)
    body.append(f'<line class="rule" x1="{LEFT - 4}" x2="{LEFT + 16}" y1="{below + 4}" y2="{below + 4}"/>')
    body.append(_text(LEFT + 22, below + 8, "real rows"))
    body.append(_text(LEFT + 22, below + 27, "lines: from seed to seed"))
    body.append(_text(LEFT + 22, below + 46, "hollow: worse than shown"))
    return "".join(body)


def bars(title: str, across: str, spans: Sequence[tuple[str, Span]]) -> str:
    """Named bars on a logarithmic scale: median, and the least and the greatest as a line."""
    left, width, high = 180, 720, 26
    axis = Axis.over([v for _, span in spans for v in span], left, width - 90, log=True)
    axis = Axis(10 ** math.floor(math.log10(axis.low)), axis.high, left, width - 90, log=True)
    floor, body = 14 + high * len(spans), list[str]()
    last = -math.inf
    for value, digits in axis.ticks():
        at = axis.at(value)
        body.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="8" y2="{floor}"/>')
        if at - last > 48:
            body.append(_text(at, floor + 16, digits, "middle"))
            last = at
    for n, (name, (median, low, highest)) in enumerate(spans):
        y = 12 + high * n
        body.append(
            f'<g style="--c: var(--c{n % len(SHAPES)})">'
            f'<rect class="bar" x="{left}" y="{y}" width="{axis.at(median) - left:.1f}" height="16"/>'
            f'<path class="range" d="M{axis.at(low):.1f} {y + 8}H{axis.at(highest):.1f}"/></g>'
        )
        body += [
            _text(left - 8, y + 12, name, "end", "ink"),
            _text(axis.at(highest) + 8, y + 12, number(median), kind="ink"),
        ]
    body.append(_text((left + width - 90) / 2, floor + 34, across, "middle"))
    return _file(width, floor + 46, title, body)


def _file(width: int, height: int, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + HEAD}" width="{width}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{STYLE}'
        f'<rect width="{width}" height="{height + HEAD}" rx="6" fill="var(--ground)"/>{_text(14, 22, title, kind="title")}'
        f"{_moved(0, HEAD, ''.join(body))}</svg>\n"
    )


def _moved(x: float, y: float, body: str) -> str:
    return f'<g transform="translate({x:g} {y:g})">{body}</g>'


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text{look} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
