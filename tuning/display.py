"""The trials of a study in the terminal: a live table there, and elsewhere a line for whatever happens to a trial."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from synth.evaluation.charts import short
from synth.progress import LINE_S, plain_console
from tuning import insight, space, words
from tuning.record import ENDING, Finalist, Study, Trial

NEWEST, KNOBS = 12, 3  # trials in the live table, and knobs of each
UNLIKE = "unlike the default"
COLUMNS = {
    "trial": 0, "origin": 110, "family": 60, UNLIKE: 95, "rungs": 48, "seconds": 70, "value": 0, "state": 30,
}  # fmt: skip
"""What the live table tells of a trial, and how wide a terminal must be for it."""
RIGHT = ("trial", "seconds", "value")
Moment = dict[int, dict[str, Any]]
"""What is known right now of the trials that run, by number: seconds, step, loss, rung, rungs, each where it is known."""


class Live:
    """Called as ``display(study, moment, seconds left, phase)``; writes to standard error, so that output can be piped.

    On a terminal it redraws one table, which is gone at the end. Elsewhere it prints a line for each trial that starts, is
    stopped, is done or fails, and one that sums up every 15 s; of trials that were over when it was first called, none.
    """

    def __init__(self) -> None:
        self.console = plain_console()
        self._screen = Screen(console=self.console, transient=True, auto_refresh=False)
        self._states: dict[int, str] | None = None
        self._said = -LINE_S

    def __enter__(self) -> Live:
        if self.console.is_terminal:
            self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._screen.stop()

    def __call__(self, study: Study, moment: Moment, left_s: float, phase: str) -> None:
        if self.console.is_terminal:
            self._screen.update(live(study, moment, left_s, phase, self.console.width), refresh=True)
            return
        usual = words.defaults(study)
        if self._states is None:
            self._states = {t.number: t.state for t in study.trials if t.state not in ("waiting", "running")}
        for trial in study.trials:
            if trial.state not in ("waiting", self._states.get(trial.number)):
                self._print(told(trial, usual))
            self._states[trial.number] = trial.state
        if time.monotonic() - self._said >= LINE_S:
            self._print(summary(study, left_s, phase))
            self._said = time.monotonic()

    def _print(self, line: str) -> None:
        self.console.print(words.line(line), soft_wrap=True, highlight=False)


def summary(study: Study, left_s: float, phase: str) -> str:
    """As in ``searching, 12:07 left, 2 of 2 slots in use, 9 trials: …, best 0.9412 ± 0.0031 (trial 6)``."""
    running, best = sum(t.state == "running" for t in study.trials), insight.best(study)
    parts = [phase, f"{words.clock(left_s)} left", f"{running} of {words.plural(study.slots, 'slot')} in use"]
    parts += [words.counts(study)] if study.trials else []
    parts += [f"best {words.value(best)} (trial {best.number}, {best.family})"] if best is not None else []
    return ", ".join(parts)


def told(trial: Trial, usual: dict[str, space.Knobs]) -> str:
    """What just happened to a trial, on one line."""
    name = f"trial {trial.number}"
    if trial.state == "running":
        return f"{name} starts: {trial.family}, {trial.origin}: {words.settings(trial, usual, KNOBS)}"
    spent = f" after {trial.last.seconds:,.0f} s: {words.value(trial)}" if trial.last else ""
    if trial.state == "failed":
        return f"{name} failed{spent}: {short(words.line(trial.failure or 'for no known reason'), 200)}"
    return f"{name} {'is stopped' if trial.state == 'stopped' else 'is done'}{spent}"


def live(study: Study, moment: Moment, left_s: float, phase: str, width: int) -> RenderableType:
    """The newest trials that have begun, those that run always among them, between what is to be known at a glance and a
    line about the others; of the columns, those for which ``width`` characters have room."""
    usual, best = words.defaults(study), insight.best(study)
    begun = [t for t in study.trials if t.state != "waiting"]
    running = [t for t in begun if t.state == "running"]
    over = [t for t in begun if t.state != "running"]
    shown = [*over[len(over) - max(0, NEWEST - len(running)) :], *running] if len(begun) > NEWEST else begun
    columns = [name for name, least in COLUMNS.items() if width >= least]
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True)
    for name in columns:
        table.add_column(name, justify="right" if name in RIGHT else "left", no_wrap=True, overflow="ellipsis",
                         ratio={UNLIKE: 3, "state": 2}.get(name))  # fmt: skip
    for t in sorted(shown, key=lambda t: t.number, reverse=True):
        now = moment.get(t.number, {})
        seconds = now.get("seconds", t.last.seconds if t.last else None)
        cells = {
            "trial": str(t.number), "origin": t.origin, "family": t.family, UNLIKE: words.settings(t, usual, KNOBS),
            "rungs": _rungs(study, t, now), "seconds": "–" if seconds is None else f"{seconds:,.0f}",
            "value": words.value(t), "state": _state(t, now),
        }  # fmt: skip
        style = "bold" if best is not None and t.number == best.number else "dim" if t.state != "running" else ""
        table.add_row(*(Text(cells[name]) for name in columns), style=style)
    rest = [t for t in study.trials if t not in shown]
    below = Text(f"and {words.counts(study.model_copy(update={'trials': rest}))}", style="dim") if rest else Text("")
    above = Text(words.line(summary(study, left_s, phase)), style="bold")
    return Group(above, table, below) if begun else Group(above, below)


def _rungs(study: Study, trial: Trial, now: dict[str, Any]) -> str:
    reached = now.get("rung", len(trial.curve))
    ahead = 1 if trial.origin in ENDING else len(study.rungs)
    return "▮" * reached + "▯" * (now.get("rungs", max(ahead, reached)) - reached)


def _state(trial: Trial, now: dict[str, Any]) -> str:
    told = words.STATES[trial.state]
    if trial.state == "failed" and trial.failure:
        return f"{told}: {short(words.line(trial.failure), 40)}"
    if "loss" in now:
        return f"{told}, loss {now['loss']:.3f}"
    return told


def final(study: Study) -> RenderableType:
    """The finalists and what was released, for a Rich console, and what that is worth in words."""
    table = Table(title="Finalists", title_justify="left", caption_justify="left",
                  caption="scored on confirm, ± one standard error over the seeds")  # fmt: skip
    for heading in ("trial", "family", "value", "utility", "seconds", UNLIKE, ""):
        right = heading in ("value", "utility", "seconds")
        table.add_column(heading, justify="right" if right else "left", no_wrap=right)
    trials, usual, default = {t.number: t for t in study.trials}, words.defaults(study), insight.default_finalist(study)
    for f in sorted(study.finalists, key=lambda f: f.value, reverse=True):
        trial = trials[f.trial]
        table.add_row(
            words.name(f), trial.family, f"{f.value:.4f} ± {f.error:.4f}", f"{words.utility(f):.1%}", f"{f.seconds:,.0f}",
            Text(words.settings(trial, usual, KNOBS)), Text(_marks(f, default)), style="bold green" if f.released else "",
        )  # fmt: skip
    lines = [words.headline(study), *([words.optimism(study)] if study.released else [])]
    return Group(*([table] if study.finalists else []), *(Text(words.line(line)) for line in lines))


def _marks(finalist: Finalist, default: Finalist | None) -> str:
    marks = ["★ released"] * finalist.released + ["the default recipe"] * (finalist is default)
    return " · ".join([*marks, *([words.line(finalist.why)] * bool(finalist.why))])
