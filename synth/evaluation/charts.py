"""The report's pictures: inline SVG, coloured by the page's own style so that they follow its light and dark themes.

Every function returns one <svg> element with a text alternative; all text is escaped here, because names and categories
come from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from synth.evaluation.figures import Figure

BINS = 32
WIDTH, HEIGHT = 300, 128


def short(text: str, length: int) -> str:
    """At most ``length`` characters on one line."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def number(value: float) -> str:
    """A number in few characters: 0.00123, 12.3, 1,230, 1.23e+09."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:.2e}"


def date(seconds: float) -> str:
    """The day, also before year 1 and after 9999, which Python's own dates lack."""
    return str(np.datetime64(int(np.floor(seconds)), "s").astype("datetime64[D]"))


def svg(width: float, height: float, label: str, body: Sequence[str], kind: str = "") -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>{''.join(body)}</svg>"
    )


def _rect(x: float, y: float, width: float, height: float, kind: str, extra: str = "", title: str = "") -> str:
    inside = f"<title>{escape(title)}</title></rect>" if title else "</rect>"
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
        f"{extra}>{inside}"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "", extra: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def strip(figure: Figure, places: int) -> str:
    """The baseline's interval as a band, the value as a dot with its interval; hollow: at equal numbers of rows."""
    points = [figure.low, figure.high, figure.baseline_low, figure.baseline_high, figure.value, figure.baseline]
    points += [] if figure.matched is None else [figure.matched]
    low, high = min(points), max(points)
    room = (high - low) * 0.12 or max(abs(high), 1e-3) * 0.1
    at = lambda v: 4 + 232 * (v - low + room) / (high - low + 2 * room)  # noqa: E731
    left, right = at(figure.baseline_low), at(figure.baseline_high)
    body = [
        '<line class="axis" x1="0" x2="240" y1="13" y2="13"/>',
        _rect(left, 3, max(right - left, 3), 20, "band", ' rx="3"'),
        f'<line class="tick" x1="{at(figure.baseline):.1f}" x2="{at(figure.baseline):.1f}" y1="3" y2="23"/>',
        f'<line class="whisker" x1="{at(figure.low):.1f}" x2="{at(figure.high):.1f}" y1="13" y2="13"/>',
    ]
    if figure.matched is not None:
        body.append(f'<circle class="hollow" cx="{at(figure.matched):.1f}" cy="13" r="4.5"/>')
    body.append(f'<circle class="dot" cx="{at(figure.value):.1f}" cy="13" r="5"/>')
    label = (
        f"{figure.title}: {figure.value:.{places}f}, 95 % interval {figure.low:.{places}f} to "
        f"{figure.high:.{places}f}; real {figure.baseline:.{places}f}, {figure.baseline_low:.{places}f} to "
        f"{figure.baseline_high:.{places}f}"
    )
    return svg(240, 26, label, body, "strip")


def marginal(name: str, real: NDArray[np.float64], synthetic: NDArray[np.float64], dates: bool) -> str:
    """Histogram of the present values, real filled and synthetic outlined; the end bins hold what lies beyond the
    middle 99 % of real train."""
    if len(real) == 0:
        return svg(WIDTH, HEIGHT, f"{name}: no real value", [_text(WIDTH / 2, 60, "no real value", "middle", "soft")])
    edges = _edges(real, dates)
    share = [np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] / max(len(v), 1) for v in (real, synthetic)]
    # With one tall bar, square-root heights keep the rest visible; the caption of the picture says so.
    rooted = 0.5 < share[0].max() < 1
    top = max(share[0].max(), share[1].max())
    tall = [np.sqrt(s / top) if rooted else s / top for s in share]
    step, floor = (WIDTH - 8) / len(share[0]), HEIGHT - 18
    bars = [
        _rect(4 + i * step, floor - 94 * h, step - (1 if step > 4 else 0), 94 * h, "real")
        for i, h in enumerate(tall[0])
        if h > 0
    ]
    path = f"M4 {floor}" + "".join(f"V{floor - 94 * h:.1f}H{4 + (i + 1) * step:.1f}" for i, h in enumerate(tall[1]))
    show = date if dates else number
    whole = edges[1] - edges[0] >= 1 and edges[0] % 1 == 0.5
    ends = (edges[0] + 0.5, edges[-1] - 0.5) if whole else (edges[0], edges[-1])
    body = [
        *bars,
        f'<path class="outline" d="{path}V{floor}"/>',
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{floor}" y2="{floor}"/>',
        _text(4, HEIGHT - 5, show(ends[0])),
        _text(WIDTH - 4, HEIGHT - 5, show(ends[1]), "end"),
    ]
    if rooted:
        body.append(_text(WIDTH - 4, 10, "√ heights", "end", "soft"))
    return svg(WIDTH, HEIGHT, f"Distribution of {name}, real and synthetic", body)


def _edges(real: NDArray[np.float64], dates: bool) -> NDArray[np.float64]:
    """Finite and rising edges over the middle 99 % of ``real``, whatever its size."""
    ordered = np.sort(real)
    # Not interpolated: between ±1e308 the step to interpolate over is infinite.
    low, high = ordered[int(0.005 * (len(real) - 1))], ordered[int(np.ceil(0.995 * (len(real) - 1)))]
    if (real[:1000] == np.round(real[:1000])).all() and not dates and max(abs(low), abs(high)) < 2**50:
        # Whole numbers: bins of whole width, or some would hold more values than others and look like modes. Beyond
        # 2^50 a half is lost beside them.
        width = max(1, int(np.ceil((high - low + 1) / BINS)))
        return np.arange(np.floor(low) - 0.5, high + width, width)
    # Doubles of this size are so far apart: with finer bins two edges would be one.
    largest = max(abs(low), abs(high))
    apart = 2 * (largest - np.nextafter(largest, 0))
    if high <= low:
        # Towards zero where there may be nothing beyond.
        low, high = (low, low + max(1.0, apart)) if low < 2**50 else (low - apart, low)
    bins = BINS
    while bins > 1 and high / bins - low / bins < apart:
        bins //= 2
    steps = np.arange(bins + 1) / bins
    return low * (1 - steps) + high * steps


def categories(name: str, labels: Sequence[str], real: Sequence[float], synthetic: Sequence[float]) -> str:
    """Paired bars of the shares of rows, one pair a label."""
    top = max([*real, *synthetic, 1e-9])
    body = []
    for i, (label, p, q) in enumerate(zip(labels, real, synthetic, strict=True)):
        y = 2 + i * 15.5
        body += [
            f"<g><title>{escape(f'{label}: real {p:.2%}, synthetic {q:.2%}')}</title>",
            _text(104, y + 9.5, short(label, 18), "end"),
            _rect(110, y, 150 * p / top, 5.5, "real"),
            _rect(110, y + 6, 150 * q / top, 5.5, "synthetic"),
            _text(114 + 150 * max(p, q) / top, y + 9.5, f"{q:.1%}", "start", "soft"),
            "</g>",
        ]
    return svg(
        WIDTH, max(HEIGHT, 4 + 15.5 * len(labels)), f"Shares of the categories of {name}, real and synthetic", body
    )


def heat(title: str, names: Sequence[str], values: Sequence[Sequence[float | None]], top: float, unit: str) -> str:
    """A square of column pairs; the hue is the sign, the strength |value| / ``top``, with weak ties lifted."""
    cell, label = 15.0, 96.0
    # A few columns are not blown up to fill the width.
    side = cell * max(len(names), 12)
    body = []
    for i, row in enumerate(values):
        body.append(_text(label - 5, label + i * cell + 10.5, short(names[i], 15), "end"))
        at = f' transform="rotate(-90 {label + i * cell + 10.5:.1f} {label - 5:.1f})"'
        body.append(_text(label + i * cell + 10.5, label - 5, short(names[i], 15), "start", "", at))
        for j, value in enumerate(row):
            if i == j or value is None:
                continue
            strength = min(1.0, abs(value) / top) ** 0.7
            kind = "error" if unit else "minus" if value < 0 else "plus"
            body.append(
                _rect(
                    label + j * cell,
                    label + i * cell,
                    cell - 1,
                    cell - 1,
                    kind,
                    f' fill-opacity="{strength:.2f}"',
                    f"{names[i]} × {names[j]}: {value:.2f}{unit}" if j < i else "",
                )
            )
    edge = cell * len(names)
    frame = _rect(label - 0.5, label - 0.5, edge, edge, "frame")
    return svg(label + side + 1, label + edge + 1, title, [frame, *body], "heat")


def scores(figures: Sequence[tuple[str, Figure]], nothing: float) -> str:
    """One row a learner: real and synthetic bars with their intervals, from ``nothing``, the score of no knowledge."""
    bottom = min(nothing, *(min(f.low, f.baseline_low) for _, f in figures))
    top = max(bottom + 1e-9, *(max(f.high, f.baseline_high) for _, f in figures))  # where nobody learnt anything
    at = lambda v: 165 + 335 * (v - bottom) / (top - bottom)  # noqa: E731
    body = []
    for i, (learner, f) in enumerate(figures):
        y = 4 + i * 42
        body.append(_text(155, y + 20, learner, "end"))
        pairs = ((f.baseline, f.baseline_low, f.baseline_high, "real"), (f.value, f.low, f.high, "synthetic"))
        for n, (value, low, high, kind) in enumerate(pairs):
            middle = y + 8 + n * 16
            body += [
                _rect(min(at(nothing), at(value)), middle - 7, abs(at(value) - at(nothing)), 14, kind),
                f'<line class="whisker" x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{middle}" y2="{middle}"/>',
                _text(at(max(high, nothing)) + 6, middle + 4, number(value)),
            ]
    label = "Scores on real test rows: " + "; ".join(
        f"{learner}, trained on real {number(f.baseline)}, on synthetic {number(f.value)}" for learner, f in figures
    )
    return svg(570, 4 + 42 * len(figures), label, body, "wide")


def overlay(title: str, edges: Sequence[float], filled: Sequence[float], outlined: Sequence[float]) -> str:
    """Two histograms over the same bins, the one as bars and the other as a line."""
    top, floor = max([*filled, *outlined, 1e-9]), 150
    step = 560 / len(filled)
    bars = [_rect(5 + i * step, floor - 140 * h / top, step - 1, 140 * h / top, "real") for i, h in enumerate(filled)]
    path = f"M5 {floor}" + "".join(
        f"V{floor - 140 * h / top:.1f}H{5 + (i + 1) * step:.1f}" for i, h in enumerate(outlined)
    )
    ticks = [
        _text(5 + 560 * f, 166, number(edges[0] + f * (edges[-1] - edges[0])), a)
        for f, a in ((0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end"))
    ]
    axis = f'<line class="axis" x1="0" x2="570" y1="{floor}" y2="{floor}"/>'
    return svg(570, 172, title, [*bars, f'<path class="outline" d="{path}V{floor}"/>', axis, *ticks], "wide")


def bars(title: str, rows: Sequence[tuple[str, float]]) -> str:
    """Named bars, longest first as given."""
    top = max([value for _, value in rows] + [0.02])
    body = []
    for i, (name, value) in enumerate(rows):
        value = max(value, 0.0)
        body += [
            _text(220, 14 + i * 20, short(name, 22), "end"),
            _rect(226, 4 + i * 20, 270 * value / top, 13, "synthetic", "", f"{name}: {value:.4f}"),
            _text(232 + 270 * value / top, 14 + i * 20, f"{value:.3f}", "start", "soft"),
        ]
    return svg(570, 6 + 20 * len(rows), title, body, "wide")


def course(title: str, steps: Sequence[int], values: Sequence[float], real: float) -> str:
    """A figure over the steps of a training, a dot at each, and as a dashed line what real rows have."""
    low, high = min(0.0, *values), max(real, 1e-9, *values)
    left, right = min(steps), max(steps)
    across = lambda step: 6 + (WIDTH - 12) * ((step - left) / (right - left) if right > left else 0.5)  # noqa: E731
    up = lambda value: HEIGHT - 24 - (HEIGHT - 34) * (value - low) / (high - low)  # noqa: E731
    points = [(across(step), up(value)) for step, value in zip(steps, values, strict=True)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = [
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>step {step:,}: {value:.1%}</title></circle>'
        for (x, y), step, value in zip(points, steps, values, strict=True)
    ]
    body = [
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT - 18}" y2="{HEIGHT - 18}"/>',
        f'<line class="tick" stroke-dasharray="4 3" x1="0" x2="{WIDTH}" y1="{up(real):.1f}" y2="{up(real):.1f}"/>',
        f'<path class="outline" d="{path}"/>',
        *dots,
        _text(4, HEIGHT - 5, f"step {left:,}"),
        *([_text(WIDTH - 4, HEIGHT - 5, f"{right:,}", "end")] if right > left else []),
    ]
    label = f"{title} during training: from {values[0]:.1%} to {values[-1]:.1%}; real rows {real:.1%}"
    return svg(WIDTH, HEIGHT, label, body)
