"""The report's page: its style and the frame around its sections. Nothing in it is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #17202b; --soft: #5d6b7b; --line: #dfe4ea;
  --real: #a9b6c6; --synthetic: #0b7a75; --band: #d5dde7; --good: #0b7a4b; --worse: #b4540a;
  --plus: #1f6fb2; --minus: #c2413b; --error: #c2610c; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #10151b; --card: #181f27; --ink: #e8edf2; --soft: #98a6b5; --line: #2a3440;
  --real: #4d5d6f; --synthetic: #3ecdc0; --band: #2f3b49; --good: #55cf95; --worse: #f0a052;
  --plus: #58a9ea; --minus: #ee7b75; --error: #f0974a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 6px; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 44px 0 4px; letter-spacing: -.01em; }
h3 { font-size: 14px; margin: 0; font-weight: 600; overflow-wrap: anywhere; }
p { margin: 4px 0 12px; max-width: 78ch; } .soft, .lead { color: var(--soft); }
.kicker { color: var(--synthetic); font-weight: 650; font-size: 12px; letter-spacing: .09em;
  text-transform: uppercase; }
.verdict { display: flex; gap: 22px; align-items: center; margin: 22px 0; padding: 18px 22px; background: var(--card);
  border: 1px solid var(--line); border-left: 5px solid var(--good); border-radius: 10px; }
.verdict.worse { border-left-color: var(--worse); }
.verdict b { font-size: 34px; line-height: 1; white-space: nowrap; letter-spacing: -.02em; } .verdict p { margin: 0; }
.verdict b small { font-size: 18px; color: var(--soft); font-weight: 500; }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); margin: 14px 0; }
.grid.wide { grid-template-columns: repeat(auto-fill, minmax(min(310px, 100%), 1fr)); }
.grid.two { grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px;
  break-inside: avoid; min-width: 0; }
.card .value { font-size: 27px; font-weight: 650; letter-spacing: -.02em; line-height: 1.3; white-space: nowrap; }
.card .value small { font-size: 13px; color: var(--soft); font-weight: 500; letter-spacing: 0; }
.card p { font-size: 12.5px; margin: 4px 0 0; color: var(--soft); line-height: 1.45; }
.head { display: flex; justify-content: space-between; gap: 10px; align-items: baseline; }
.head span { white-space: nowrap; font-size: 12px; }
.good { color: var(--good); } .worse-text { color: var(--worse); }
svg { display: block; width: 100%; height: auto; margin-top: 6px; overflow: visible; }
svg text { font: 10px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--ink);
  font-variant-numeric: tabular-nums; }
svg.wide { max-width: 700px; } svg.wide text { font-size: 11.5px; }
svg.heat text { font-size: 9px; } svg text.soft { fill: var(--soft); }
.real { fill: var(--real); } .synthetic { fill: var(--synthetic); } .band { fill: var(--band); }
.outline { fill: none; stroke: var(--synthetic); stroke-width: 1.6; stroke-linejoin: round; }
.axis { stroke: var(--line); } .tick { stroke: var(--soft); stroke-width: 1.5; }
.whisker { stroke: var(--ink); stroke-width: 1.6; }
.dot { fill: var(--synthetic); stroke: var(--card); stroke-width: 1.5; }
.hollow { fill: var(--card); stroke: var(--synthetic); stroke-width: 1.6; }
.plus { fill: var(--plus); } .minus { fill: var(--minus); } .error { fill: var(--error); }
.frame { fill: none; stroke: var(--line); }
.key { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 12.5px; color: var(--soft); margin: 6px 0; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  margin: 14px 0; }
.narrow { max-width: 740px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { padding: 7px 14px; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 550; font-size: 12px; }
tbody th { font-weight: 550; overflow-wrap: break-word; min-width: 11em; }
td.n, th.n { text-align: right; white-space: nowrap; }
td > span { white-space: nowrap; }
tr.group th { background: var(--paper); color: var(--soft); font-size: 12px; padding: 5px 14px; }
td small { color: var(--soft); } code { font: 12.5px ui-monospace, Consolas, monospace; overflow-wrap: anywhere;
  white-space: pre-wrap; }
.meter { display: inline-block; width: 90px; height: 8px; border-radius: 4px; background: var(--band); overflow: hidden;
  vertical-align: 1px; margin-right: 8px; } .meter i { display: block; height: 100%; background: var(--synthetic); }
.tiles { display: flex; flex-wrap: wrap; gap: 4px; margin-top: 8px; }
.tiles img { image-rendering: pixelated; border-radius: 3px; background: var(--band); display: block; }
.pair { display: grid; grid-template-columns: auto auto; gap: 2px; margin: 0 10px 8px 0; }
.pair figcaption { grid-column: 1 / 3; font-size: 12px; color: var(--soft); text-align: center; }
ul { padding-left: 20px; max-width: 90ch; } li { margin: 4px 0; }
footer { margin-top: 48px; color: var(--soft); font-size: 12.5px; }
@media (max-width: 600px) { main { padding: 24px 14px; } svg.wide text { font-size: 18px; }
  td:last-child:not(.n) { min-width: 240px; } }
@media print { :root { --paper: #fff; --card: #fff; --ink: #17202b; --soft: #5d6b7b; --line: #d5dbe2; --real: #a9b6c6;
    --synthetic: #0b7a75; --band: #dbe2ea; --good: #0b7a4b; --worse: #b4540a; --plus: #1f6fb2; --minus: #c2413b;
    --error: #c2610c; }
  body { font-size: 11.5px; print-color-adjust: exact; -webkit-print-color-adjust: exact; } main { padding: 0; }
  h2, .lead, .key { break-after: avoid; } h2 { margin-top: 26px; } tr { break-inside: avoid; }
  .grid, .grid.wide { grid-template-columns: repeat(3, 1fr); gap: 8px; } .card { padding: 8px 10px; }
  .card .value { font-size: 21px; } .card .value small { font-size: 11px; } .card p { font-size: 10px; }
  h3 { font-size: 11.5px; } .head span { font-size: 9.5px; } table { font-size: 10.5px; } th, td { padding: 4px 7px; }
  td > span { white-space: normal; } .narrow { max-width: 480px; } .scroll { overflow: visible; }
  .grid.two { grid-template-columns: 1fr 1fr; } @page { margin: 14mm; } }
"""


def page(title: str, sections: Iterable[str], *, style: str = "") -> str:
    """A whole HTML document; ``title`` is escaped here, the sections are HTML already, ``style`` is added to the page's."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}{style}</style></head>'
        f"<body><main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )


def section(heading: str, lead: str, *parts: str) -> str:
    return f'<section><h2>{escape(heading)}</h2><p class="lead">{escape(lead)}</p>{"".join(parts)}</section>'


def grid(cards: Iterable[str], kind: str = "") -> str:
    return f'<div class="grid {kind}">{"".join(cards)}</div>'


def card(heading: str, aside: str, *parts: str) -> str:
    """``heading`` and ``aside`` are text, the parts are HTML."""
    head = f'<div class="head"><h3>{escape(heading)}</h3><span class="soft">{escape(aside)}</span></div>'
    return f'<div class="card">{head}{"".join(parts)}</div>'


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = (), kind: str = ""
) -> str:
    """``caption`` and ``headings`` are text, cells are HTML; the first cell of a row is its heading, and a row of one
    cell the heading of those below it."""
    right = set(numeric)
    side = lambda i: ' class="n"' if i in right else ""  # noqa: E731
    head = "".join(f'<th scope="col"{side(i)}>{escape(h)}</th>' for i, h in enumerate(headings))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{side(i)}>{c}</td>" for i, c in enumerate(row) if i)
        + "</tr>"
        if len(row) > 1
        else f'<tr class="group"><th scope="rowgroup" colspan="{len(headings)}">{row[0]}</th></tr>'
        for row in rows
    )
    return (
        f'<div class="scroll {kind}"><table aria-label="{escape(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def key(*entries: tuple[str, str]) -> str:
    """The legend: (colour variable, text) pairs."""
    return (
        '<div class="key">'
        + "".join(f'<span><i style="background:var(--{colour})"></i>{escape(text)}</span>' for colour, text in entries)
        + "</div>"
    )
