"""Write the tables and pictures of the READMEs from the rows in results/: no figure is typed by hand.

    make page         or: python benchmarks/page.py

Between the markers ``<!-- results -->`` and ``<!-- /results -->`` of README.md goes a table: for each published table and
generator the medians over the seeds that were measured at the newest commit, by published_protocol.py (Artesian, 4m) or side
by side with peers by peers.py; the pictures go to benchmarks/plots/. Between markers of benchmarks/README.md goes what other
scripts print of their own rows. A test holds all of them against the results.
"""

from __future__ import annotations

import statistics
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import ablations
import page_plots
import redrawn
import sampling_speed
import solvers
import step_floor
import wide
from page_plots import Point, Span
from published_protocol import rows_of, shown

HERE = Path(__file__).resolve().parent
README, NOTES, PLOTS = HERE.parent / "README.md", HERE / "README.md", HERE / "plots"
# Of the benchmarks' README, whose rows each section tells of, and by what.
TOLD = {module.__name__: module.table for module in (ablations, redrawn, sampling_speed, solvers, step_floor, wide)}
BUDGET_S, THREADS = 240.0, 2
TABLES = ("adult", "default", "shoppers", "magic", "beijing")
GENERATORS = (
    "Artesian, diffusion", "Artesian, diffusion, fast", "Artesian, vae", "Artesian, gan", "TabularARGN", "CTGAN", "TVAE",
    "GaussianCopula",
)  # fmt: skip
COLUMNS = {
    "shape_error": "shape", "trend_error": "trend", "tstr": "TSTR", "c2st_auc": "C2ST", "exact_copies": "copies",
    "fit_s": "fit, s", "rows_per_s": "rows/s",
}  # fmt: skip
Row = dict[str, Any]


def read() -> dict[tuple[str, str], list[Row]]:
    """The newest commit's rows of each table and generator, the last of each seed: of Artesian those of published_protocol.py
    where there are any, since they are of more seeds."""
    mine = [row for row in lines("published_protocol.jsonl") if row["budget"] == "4m"]
    speeds = {
        (row["release"], row["quality"], row["commit"]): row["rows_per_s"]
        for row in lines("sampling_speed.jsonl") if row["threads"] == THREADS
    }  # fmt: skip
    rows = [alike(row, speeds, "best") for row in mine]
    rows += [fast(row, speeds) for row in mine if "sample_command_s" in row.get("fast", ())]
    known = {(row["table"], row["who"]) for row in rows}
    beside = [row for row in lines("peers.jsonl") if row["limit_s"] == BUDGET_S]
    rows += [row for row in beside if (row["table"], row["who"]) not in known]
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda r: r["date"]):
        found.setdefault((row["table"], row["who"]), []).append(row)
    for of, mine in found.items():
        found[of] = list({r["seed"]: r for r in mine if r["commit"] == mine[-1]["commit"]}.values())
    tables, names = (ordered(known, [of[n] for of in found]) for n, known in enumerate((TABLES, GENERATORS)))
    return {(t, w): found[t, w] for t in tables for w in names if (t, w) in found}


def ordered(known: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those that are known in their order, then the others."""
    return [name for name in dict.fromkeys([*known, *names]) if name in names]


def lines(name: str) -> list[Row]:
    return rows_of(HERE / "results" / name)


def alike(row: Row, speeds: dict[tuple[str, str, str], int], quality: str) -> Row:
    """A row of published_protocol.py, in the words of peers.py. Rows without a family are of diffusion."""
    family = row.get("family", "diffusion")
    release = f"{row['table']}-{family}-{row['budget']}-{row['seed']}"
    speed = speeds.get((release, quality, row["commit"]), round(row["rows"] / row["sample_command_s"]))
    return row | {"who": f"Artesian, {family}", "fit_s": row["train_command_s"], "rows_per_s": speed}


def fast(row: Row, speeds: dict[tuple[str, str, str], int]) -> Row:
    """Of a row of published_protocol.py, what its release's student draws."""
    found = alike(row | row["fast"], speeds, "fast")
    return found | {"who": f"{found['who']}, fast"}


def section(found: dict[tuple[str, str], list[Row]]) -> str:
    """What stands between the markers."""
    whole = [row for rows in found.values() for row in rows if "failed" not in row]
    table = ["| table | generator | seeds | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 3) + "|"]
    for (name, who), rows in found.items():
        mine = [row for row in rows if "failed" not in row]
        cells = [told(key, [row[key] for row in mine]) if mine else "–" for key in COLUMNS]
        if not mine:
            cells[0] = rows[-1]["failed"].replace("|", "/")
        seeds = str(len(rows)) if len(mine) == len(rows) else f"{len(mine)} of {len(rows)}"
        table.append(f"| {name} | {who} | {seeds} | " + " | ".join(cells) + " |")
    real = ", ".join(f"{name} {of:.4g}" for name, of in {row["table"]: row["trtr"] for row in whole}.items())
    machines = " and ".join(sorted({row["machine"] for row in whole}))
    words = (
        "Train on the published train rows for four minutes, draw as many, have an outside yardstick score them: medians over "
        "the seeds at the newest commit that was measured, and their range. Shape, trend: error in %. TSTR: XGBoost trained on "
        f"synthetic rows and tested on real ones, AUC or (beijing) RMSE; trained on real rows: {real}. C2ST: AUC of trees told "
        "to tell real from synthetic, 0.5 is best. Copies: share of rows that are a train row's twin. Fit: what one waits, for "
        "Artesian with its start and the certificate. Rows/s: of a process that has the model or, where that was not measured, "
        f"with the start of the command; fast: of --quality fast. {machines}; written by `make page`."
    )
    shown_here = [f"![{title}](benchmarks/plots/{name}.svg)\n" for name, title in PICTURES.items()]
    return "\n".join([textwrap.fill(words, 125, break_on_hyphens=False), "", *table, "", *shown_here])


PICTURES = {
    "tstr": "What models learn from the rows (TSTR), and the seconds of fitting",
    "c2st": "How well trees tell the rows from real ones (C2ST), and the seconds of fitting",
    "rows": "Rows that are drawn a second",
}


def told(key: str, values: list[float]) -> str:
    """Median and range; of times and speeds, in whole numbers."""
    if key not in ("fit_s", "rows_per_s"):
        return shown(list(values))
    low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
    return f"{statistics.median(values):,.0f}" + (f" ({low} to {high})" if low != high else "")


def pictures(found: dict[tuple[str, str], list[Row]]) -> dict[str, str]:
    """The content of each picture's file."""
    whole = {of: rows for of, all_ in found.items() if (rows := [row for row in all_ if "failed" not in row])}
    names = ordered(GENERATORS, [who for _, who in whole])

    def points(key: str) -> list[Point]:
        return [
            Point(who, table, span(rows, "fit_s"), span(rows, key), rows[0]["trtr"] if key == "tstr" else 0.5)
            for (table, who), rows in whole.items()
        ]

    def usefulness(table: str) -> str:
        regression = whole[next(of for of in whole if of[0] == table)][0]["task"] == "regression"
        return "RMSE (lower is better)" if regression else "AUC (higher is better)"

    speeds = [
        (name, span([r for of, rows in whole.items() if of[1] == name for r in rows], "rows_per_s")) for name in names
    ]
    return {
        "tstr": page_plots.scatter(PICTURES["tstr"], usefulness, points("tstr"), names),
        "c2st": page_plots.scatter(PICTURES["c2st"], lambda table: "AUC (lower is better)", points("c2st_auc"), names),
        "rows": page_plots.bars(PICTURES["rows"], "median, and range over tables and seeds", speeds),
    }


def span(rows: list[Row], key: str) -> Span:
    values = [float(row[key]) for row in rows]
    return statistics.median(values), min(values), max(values)


def written(text: str, name: str, content: str) -> str:
    """The text with the content between the markers of that name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{content}\n{end}{after}"


def readmes(found: dict[tuple[str, str], list[Row]]) -> dict[Path, str]:
    """The content of each file that has sections of the page."""
    notes = NOTES.read_text()
    for name, table in TOLD.items():
        notes = written(notes, name, table(lines(f"{name}.jsonl")))
    return {README: written(README.read_text(), "results", section(found)), NOTES: notes}


def main() -> None:
    found = read()
    for file, content in readmes(found).items():
        file.write_text(content)
    PLOTS.mkdir(exist_ok=True)
    for name, content in pictures(found).items():
        (PLOTS / f"{name}.svg").write_text(content)


if __name__ == "__main__":
    main()
