"""The pictures of a study of collapse: a figure over the generations, a line for each policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from synth.evaluation.axes import Axis
from synth.evaluation.charts import svg

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 12, 38  # margins
DASHES = ("", "8 3", "2 3", "9 3 2 3", "14 4", "5 5", "1 4")  # that lines need not be told apart by colour

STYLE = """
:root { --l0: #c2413b; --l1: #c2860c; --l2: #0b7a75; --l3: #1f6fb2; --l4: #6a45c2; --l5: #b83280; --l6: #4d6b2c; }
@media (prefers-color-scheme: dark) { :root { --l0: #ee7b75; --l1: #e8b64c; --l2: #3ecdc0; --l3: #58a9ea; --l4: #b39af8;
  --l5: #f08cc4; --l6: #a3c585; } }
.course { fill: none; stroke: var(--c); stroke-width: 1.9; stroke-linejoin: round; }
.control { --c: var(--soft); } .area { fill: var(--c); fill-opacity: .13; stroke: none; }
.end { fill: var(--c); } .rule { stroke: var(--soft); stroke-width: 1.3; stroke-dasharray: 5 4; fill: none; }
svg.plot text { font-size: 11.5px; } svg.plot { max-width: 640px; }
.key svg { display: inline-block; width: 34px; height: 12px; margin: 0 6px 0 0; vertical-align: -2px; }
@media (max-width: 600px) { svg.plot text { font-size: 14px; } .verdict { flex-wrap: wrap; } }
"""


@dataclass(frozen=True)
class Line:
    """A policy's course: ``mean`` and ``error``, one standard error, float64 (generations + 1,), NaN where it is not known;
    ``place`` is its colour and dash, None of the control."""

    name: str
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    place: int | None


def courses(label: str, up: str, lines: Sequence[Line], real: float | None) -> str:
    """The lines with a band of ± one standard error, and as a dashed rule what real rows have."""
    around = [line.mean + side * np.nan_to_num(line.error) for line in lines for side in (-1, 1)]
    ends = np.concatenate(around).tolist()
    generations = max(len(line.mean) for line in lines) - 1
    x = Axis(0.0, float(max(generations, 1)), LEFT, WIDTH - RIGHT)
    y = Axis.over(ends if real is None else [*ends, real], HEIGHT - BOTTOM, TOP)
    floor, body = HEIGHT - BOTTOM, list[str]()
    for tick, digits in y.ticks():
        at = y.at(tick)
        body.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        body.append(_text(LEFT - 6, at + 4, digits, "end"))
    for generation in range(0, generations + 1, max(1, generations // 10)):
        body.append(_text(x.at(generation), floor + 15, str(generation), "middle"))
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "generation", "middle"))
    body.append(_text(9, (TOP + floor) / 2, up, "middle", f' transform="rotate(-90 9 {(TOP + floor) / 2:g})"'))
    if real is not None:
        body.append(
            f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(real):.1f}" y2="{y.at(real):.1f}"/>'
        )
        body.append(_text(LEFT + 4, y.at(real) - 4, "real rows", "start"))
    body += [_course(line, x, y) for line in lines]
    return svg(WIDTH, HEIGHT, label, body, "plot")


def _course(line: Line, x: Axis, y: Axis) -> str:
    across = [x.at(g) for g in range(len(line.mean))]

    def places(values: NDArray[np.float64]) -> list[str]:
        return [f"{a:.1f} {y.at(float(v)):.1f}" for a, v in zip(across, values, strict=True)]

    path, told, area = "L".join(places(line.mean)), f"{line.name}: from {line.mean[0]:.3g} to {line.mean[-1]:.3g}", ""
    if not np.isnan(line.error).any():
        around = [*places(line.mean + line.error), *reversed(places(line.mean - line.error))]
        told, area = f"{told} ± {line.error[-1]:.2g}", f'<path class="area" d="M{"L".join(around)}Z"/>'
    return (
        f"<g {_look(line.place)}><title>{escape(told)}</title>{area}"
        f'<path class="course" d="M{path}"{_dash(line.place)}/>'
        f'<circle class="end" cx="{across[-1]:.1f}" cy="{y.at(float(line.mean[-1])):.1f}" r="3.4"/></g>'
    )


def key(lines: Sequence[Line]) -> str:
    """Which line is which policy's."""
    entries = [
        f'<span><svg viewBox="0 0 34 12" aria-hidden="true"><g {_look(line.place)}><path class="course" d="M0 6H34"'
        f"{_dash(line.place)}/></g></svg>{escape(line.name)}</span>"
        for line in lines
    ]
    return f'<div class="key">{"".join(entries)}</div>'


def _look(place: int | None) -> str:
    return 'class="control"' if place is None else f'style="--c: var(--l{place % 7})"'


def _dash(place: int | None) -> str:
    dash = "" if place is None else DASHES[place % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _text(x: float, y: float, words: str, anchor: str, extra: str = "") -> str:
    return f'<text class="soft" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'
