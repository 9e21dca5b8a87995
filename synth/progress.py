"""What a person sees while work goes on: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_S = 15.0


def plain_console() -> Console:
    """On standard error. What is printed holds column names and messages: "weight [kg]" is no style and ":a:" no picture."""
    console = Console(stderr=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 120
    return console


class Display:
    """Called as ``display(phase, share done, facts)``; writes to standard error, so that output can be piped.

    Lines under "told" in the facts stay on the screen; the others are of the moment.
    """

    def __init__(self) -> None:
        self.console = plain_console()
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description:32.32}", markup=False), BarColumn(),
            TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.fields[facts]}", markup=False),
            TimeElapsedColumn(), console=self.console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=1.0, facts="")
        self._phase, self._said = "", 0.0

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def __call__(self, phase: str, done: float, facts: dict[str, Any]) -> None:
        for line in facts.get("told", ()):
            self.console.print(line, highlight=False)
        text = describe(facts, done)
        if self.console.is_terminal:
            self._bar.update(self._task, description=phase, completed=done, facts=text)
        elif phase != self._phase or time.monotonic() - self._said > LINE_S:
            self.console.print(f"{phase} {done:.0%} {text}".rstrip(), soft_wrap=True, highlight=False)
            self._said = time.monotonic()
        self._phase = phase


def describe(facts: dict[str, Any], done: float) -> str:
    """Loss, coverage (1: that of real rows), rows a second and time left, of what is known."""
    parts = []
    if "loss" in facts:
        parts.append(f"loss {facts['loss']:.4f}")
    if facts.get("coverage") is not None:
        parts.append(f"coverage {facts['coverage']:.2f}")
    if facts.get("elapsed_s") and "rows" in facts:
        parts.append(f"{facts['rows'] / facts['elapsed_s']:,.0f} rows/s")
        if done > 0:
            left = facts["elapsed_s"] * (1 - done) / done
            parts.append(f"{int(left // 60)}:{int(left % 60):02d} left")
    if facts.get("workers", 1) > 1:
        parts.append(f"{facts['workers']} workers")
    return "  ".join(parts)


def counted(batches: Iterable[pa.RecordBatch], rows: int, display: Display) -> Iterator[pa.RecordBatch]:
    """The batches, shown on the display as they pass."""
    began, seen = time.monotonic(), 0
    for batch in batches:
        yield batch
        seen += batch.num_rows
        display("sampling", seen / max(rows, 1), {"rows": seen, "elapsed_s": time.monotonic() - began})
