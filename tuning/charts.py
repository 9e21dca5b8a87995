"""The pictures of a study's report: inline SVG in the style of the certificate's, coloured by the page's variables.

A family has a colour, a mark and a dash of its own, so that none of them need be told by colour. What belongs to a trial
carries its number in ``data-trial``: a trial that is pointed at stands out in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from synth.evaluation.axes import Axis, shown
from synth.evaluation.charts import short, svg

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 12, 40  # margins
DASHES = {"diffusion": "", "gan": "7 4", "vae": "2 3"}

STYLE = """
:root { --diffusion: #0b7a75; --gan: #b4540a; --vae: #6a45c2; --cold: #c3cdd8; --hot: #0b5f9c; }
@media (prefers-color-scheme: dark) { :root { --diffusion: #3ecdc0; --gan: #f0a052; --vae: #b39af8;
  --cold: #435264; --hot: #8fd0ff; } }
.diffusion { --c: var(--diffusion); } .gan { --c: var(--gan); } .vae { --c: var(--vae); }
.line { fill: none; stroke: var(--c, var(--soft)); stroke-width: 1.5; stroke-linejoin: round; }
.bar { stroke: var(--c, var(--ink)); stroke-width: 1.3; }
.mark { fill: var(--c, var(--soft)); stroke: var(--card); stroke-width: 1; }
.open .mark, .mark.open { fill: var(--card); stroke: var(--c, var(--soft)); stroke-width: 1.6; }
.hit { fill: none; stroke: transparent; stroke-width: 9; pointer-events: stroke; }
.faint { opacity: .38; } .rule { stroke: var(--soft); stroke-width: 1.3; stroke-dasharray: 5 4; fill: none; }
.halo { paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round; }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.5; } .released { fill: var(--good); font-weight: 650; }
svg g[data-trial]:hover, svg g.lit { opacity: 1; } svg g[data-trial]:hover .line, svg g.lit .line { stroke-width: 3.2; }
svg.dim g[data-trial]:not(.lit) { opacity: .12; } tr.lit th, tr.lit td { background: var(--band); }
svg.plot text { font-size: 11.5px; } svg.plot { max-width: 640px; }
svg.axes { min-width: 860px; } .scroll.chart { padding: 10px 14px; } .scroll.chart h3 { margin: 4px 0 2px; }
.key svg { display: inline-block; width: 34px; height: 12px; margin: 0 6px 0 0; vertical-align: -2px; }
[data-trial]:focus-visible { outline: 2px solid var(--synthetic); outline-offset: -2px; }
.trials table { font-size: 12.5px; } .trials th, .trials td { padding: 6px 10px; } .trials tbody th { min-width: 0; }
.trials td:nth-child(2) { min-width: 170px; } .trials td:nth-child(4) { min-width: 130px; }
.trials td:last-child { min-width: 230px; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--soft); font-size: 12.5px; }
@media (max-width: 600px) { svg.plot text { font-size: 14px; } .verdict { flex-wrap: wrap; } }
@media print { :root { --diffusion: #0b7a75; --gan: #b4540a; --vae: #6a45c2; --cold: #c3cdd8; --hot: #0b5f9c; }
  svg.axes { min-width: 0; } }
"""


@dataclass(frozen=True)
class Point:
    """A trial at a place, with what is said of it when it is pointed at; ``error`` is its standard error upwards and
    ``across`` that sideways. ``faint`` and ``open`` are how it is drawn."""

    trial: int
    family: str
    x: float
    y: float
    told: str
    error: float = 0.0
    across: float = 0.0
    faint: bool = False
    open: bool = False
    ring: bool = False


@dataclass(frozen=True)
class Curve:
    """What a trial did: points (x, y, standard error) in order; ``end`` is "×" where it failed."""

    trial: int
    family: str
    points: Sequence[tuple[float, float, float]]
    told: str
    faint: bool = False
    open: bool = False
    end: str = ""


@dataclass
class Plot:
    """Two axes with their ticks and names, to which a body is added; ``svg`` closes it."""

    x: Axis
    y: Axis
    across: str
    up: str
    body: list[str] = field(default_factory=list)
    integers: bool = False

    def __post_init__(self) -> None:
        floor = HEIGHT - BOTTOM
        for tick, label in self.y.ticks():
            y = self.y.at(tick)
            self.body.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.body.append(text(LEFT - 6, y + 4, label, "end", "soft"))
        for tick, label in self.x.ticks():
            if not (self.integers and tick % 1):
                self.body.append(text(self.x.at(tick), floor + 15, label, "middle", "soft"))
        self.body.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
        self.body.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, self.across, "middle", "soft"))
        middle = (TOP + floor) / 2
        self.body.append(text(9, middle, self.up, "middle", "soft", f' transform="rotate(-90 9 {middle:g})"'))

    def level(self, value: float, name: str, *, left: bool = False) -> None:
        """A dashed line across the plot, with its name at the right or the left end of it."""
        y = self.y.at(value)
        self.body.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        x, anchor = (LEFT + 4, "start") if left else (WIDTH - RIGHT, "end")
        self.body.append(text(x, y - 5, name, anchor, "soft halo"))

    def points(self, points: Sequence[Point]) -> None:
        for p in points:
            x, y = self.x.at(p.x), self.y.at(p.y)
            inside = [_bar(x, x, self.y.at(p.y - p.error), self.y.at(p.y + p.error))] if p.error else []
            inside += [_bar(self.x.at(p.x - p.across), self.x.at(p.x + p.across), y, y)] if p.across else []
            inside += [f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'] if p.ring else []
            self.body.append(_group(p.trial, p.family, p.told, [*inside, mark(p.family, x, y)], p.faint, p.open))

    def curves(self, curves: Sequence[Curve]) -> None:
        for c in curves:
            places = [(self.x.at(x), self.y.at(y)) for x, y, _ in c.points]
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            inside = [f'<path class="hit" d="{path}"/><path class="line" d="{path}"{_dash(c.family)}/>']
            for (x, y), (_, value, error) in zip(places, c.points, strict=True):
                inside.append(_bar(x, x, self.y.at(value - error), self.y.at(value + error)))
                if (x, y) != places[-1] or not c.end:
                    inside.append(mark(c.family, x, y, 3.4))
            if c.end:
                inside.append(text(places[-1][0], places[-1][1] + 5, c.end, "middle"))
            self.body.append(_group(c.trial, c.family, c.told, inside, c.faint, c.open))

    def svg(self, label: str) -> str:
        return svg(WIDTH, HEIGHT, label, self.body, "plot")


def plot(
    across: str, up: str, x: Sequence[float], y: Sequence[float], *, log: bool = False, integers: bool = False
) -> Plot:
    """An empty plot whose axes hold all of x and y, seconds or other positive x on a log axis if ``log``."""
    return Plot(
        Axis.over(x, LEFT, WIDTH - RIGHT, log=log), Axis.over(y, HEIGHT - BOTTOM, TOP), across, up, integers=integers
    )


@dataclass(frozen=True)
class Interval:
    """A row of ``intervals``: a value with its standard error; ``marked`` rows are named in full colour."""

    trial: int
    family: str
    name: str
    value: float
    error: float
    note: str = ""
    marked: bool = False


def intervals(label: str, rows: Sequence[Interval], line: float | None, name: str) -> str:
    """A dot with ± one standard error a row, and a dashed line at ``line``, which ``name`` explains."""
    ends = [end for row in rows for end in (row.value - row.error, row.value + row.error)]
    axis = Axis.over(ends if line is None else [*ends, line], 190, 500, room=0.12)
    floor = 34 + 34 * len(rows)
    body = []
    for tick, digits in axis.ticks():
        x = axis.at(tick)
        body.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="22" y2="{floor}"/>')
        body.append(text(x, floor + 14, digits, "middle", "soft"))
    if line is not None:
        body.append(f'<line class="rule" x1="{axis.at(line):.1f}" x2="{axis.at(line):.1f}" y1="18" y2="{floor}"/>')
        body.append(text(axis.at(line), 12, name, "middle", "soft"))
    for i, row in enumerate(rows):
        x, y = axis.at(row.value), 46 + 34 * i
        inside = [
            text(180, y - 1, row.name, "end"), text(180, y + 12, row.note, "end", "released" if row.marked else "soft"),
            _bar(axis.at(row.value - row.error), axis.at(row.value + row.error), y, y), mark(row.family, x, y, 6),
            text(510, y + 4, f"{row.value:.4f} ± {row.error:.4f}"),
        ]  # fmt: skip
        if row.marked:
            inside.append(f'<circle class="ring" cx="{x:.1f}" cy="{y}" r="10"/>')
        told = f"{row.name}: {row.value:.4f} ± {row.error:.4f} {row.note}".rstrip()
        body.append(_group(row.trial, row.family, told, inside))
    return svg(620, floor + 20, label, body, "plot")


def steps(
    label: str, across: str, points: Sequence[tuple[float, float]], usual: float | None, *, integers: bool
) -> str:
    """The best so far as a falling-never line over points (x, value in the order of x), a dot at each value, and as a
    dashed line that of the default."""
    values = [v for _, v in points]
    drawn = plot(across, "value on select", [0, *(x for x, _ in points)], shown(values, usual), integers=integers)
    best, path = -math.inf, ""
    for x, value in points:
        px, py = drawn.x.at(x), drawn.y.at(value)
        drawn.body.append(f'<circle class="mark" cx="{px:.1f}" cy="{py:.1f}" r="2.6"/>')
        if value > best:
            best, y = value, drawn.y.at(value)
            path += f"H{px:.1f}V{y:.1f}" if path else f"M{px:.1f} {y:.1f}"
    if path:
        drawn.body.append(f'<path class="outline" d="{path}H{WIDTH - RIGHT}"/>')
    if usual is not None:
        drawn.level(usual, f"default {usual:.4f}")
    return drawn.svg(label)


def learning(label: str, curves: Sequence[Curve], usual: float | None) -> str:
    """Curves over seconds on a log axis."""
    flat = [point for curve in curves for point in curve.points]
    high = shown([y for _, y, _ in flat], usual)
    drawn = plot("seconds of training (log)", "value on select", [x for x, _, _ in flat], high, log=True)
    drawn.curves(sorted(curves, key=lambda c: not c.faint))
    if usual is not None:
        drawn.level(usual, f"default {usual:.4f}", left=True)
    return drawn.svg(label)


def parallel(
    label: str, axes: Sequence[tuple[str, str, str]], lines: Sequence[tuple[int, Sequence[float | None], float, str]]
) -> str:
    """Parallel coordinates: ``axes`` are (name, lowest, highest); a line is a trial, its places on the unit interval
    of each axis, its strength from 0 to 1, which is its colour and width, and what is said of it."""
    width, top, floor, left = 1080, 24, 250, 74
    step = (width - left - 34) / max(len(axes) - 1, 1)
    at = lambda place: floor - (floor - top) * min(max(place, -0.04), 1.04)  # noqa: E731
    body = []
    for i, (name, low, high) in enumerate(axes):
        x = left + i * step
        body.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{floor}"/>')
        body.append(text(x, top - 8, high, "middle", "soft") + text(x, floor + 14, low, "middle", "soft"))
        turned = f' transform="rotate(-32 {x:.1f} {floor + 30})"'
        body.append(text(x, floor + 30, short(name, 22), "end", "", turned))
    for trial, places, strength, told in sorted(lines, key=lambda line: line[2]):
        known = [(left + i * step, at(place)) for i, place in enumerate(places) if place is not None]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in known)
        colour = f"color-mix(in oklab, var(--hot) {100 * strength:.0f}%, var(--cold))"
        look = f'style="stroke:{colour};stroke-width:{0.9 + 1.8 * strength:.1f}"'
        inside = [f'<path class="hit" d="{path}"/><path class="line" d="{path}" {look}/>']
        body.append(_group(trial, "", told, inside))
    return svg(width, 350, label, body, "axes")


def bars(label: str, rows: Sequence[tuple[str, float, float]]) -> str:
    """Named bars with ± one standard deviation, the longest first as given; what is below zero has no bar."""
    most = max([found + error for _, found, error in rows] + [0.02])
    body = []
    for i, (name, found, error) in enumerate(rows):
        y, at = 4 + 22 * i, lambda v: 226 + 250 * max(v, 0.0) / most
        body += [
            text(218, y + 11, short(name, 36), "end"),
            f'<rect class="synthetic" x="226" y="{y}" width="{at(found) - 226:.1f}" height="14"/>',
            _bar(at(found - error), at(found + error), y + 7, y + 7),
            text(at(found + error) + 8, y + 11, f"{found:.3f} ± {error:.3f}", "start", "soft"),
        ]
    return svg(580, 8 + 22 * len(rows), label, body, "plot")


def mark(family: str, x: float, y: float, size: float = 5.0) -> str:
    """A circle of diffusion, a square of a GAN, a triangle of a VAE."""
    if family == "gan":
        side = 1.75 * size
        return (
            f'<rect class="mark" x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}"/>'
        )
    if family == "vae":
        return f'<path class="mark" d="M{x:.1f} {y - 1.2 * size:.1f}l{1.15 * size:.1f} {2 * size:.1f}h{-2.3 * size:.1f}z"/>'
    return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}"/>'


def family_key(families: Sequence[str], *notes: str) -> str:
    """The legend of the families that occur: their mark on their dash, and what else is to be known."""
    entries = [
        f'<span><svg class="{escape(family)}" viewBox="0 0 34 12" aria-hidden="true"><path class="line" d="M0 6H34"'
        f"{_dash(family)}/>{mark(family, 17, 6)}</svg>{escape(family)}</span>"
        for family in families
    ]
    return f'<div class="key">{"".join(entries)}{"".join(f"<span>{escape(note)}</span>" for note in notes)}</div>'


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", extra: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def _group(trial: int, family: str, told: str, inside: Sequence[str], faint: bool = False, open_: bool = False) -> str:
    kind = " ".join(word for word in (escape(family), "faint" if faint else "", "open" if open_ else "") if word)
    return f'<g class="{kind}" data-trial="{trial}"><title>{escape(told)}</title>{"".join(inside)}</g>'


def _bar(x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="bar" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _dash(family: str) -> str:
    dash = DASHES.get(family, "")
    return f' stroke-dasharray="{dash}"' if dash else ""
