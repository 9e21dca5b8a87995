from __future__ import annotations

import io
from typing import Any, get_args

import pytest
from rich.console import Console

from tests.tuning.studies import Stage, study
from tuning import display
from tuning.display import Live

MOMENT: dict[int, dict[str, Any]] = {22: {"seconds": 33.4, "step": 900, "loss": 0.512, "rung": 1, "rungs": 3}}


def shown(renderable: Any, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(renderable)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_where_there_is_no_terminal_each_event_is_a_line_and_nothing_is_said_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    s = study("searching")
    s.trials = s.trials[:4]
    s.trials[2].state, s.trials[3].state = "running", "waiting"
    with Live() as live:
        for _ in range(20):
            live(s, {}, 300, "searching")
        s.trials[2].state, s.trials[3].state, s.trials[3].curve = "stopped", "running", []
        for _ in range(20):
            live(s, {}, 290, "searching")
        s.trials[3].state, s.trials[3].failure = "failed", "[red]out of\x1b[2J\nmemory[/red] :boom:"
        now = 16.0
        live(s, {}, 280, "searching")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "trial 2 starts", "searching, 5", "trial 2 is stopped after 177 s", "trial 3 starts", "trial 3 failed", "searching, 4",
    ]  # fmt: skip
    assert lines[1].startswith(
        "searching, 5:00 left, 1 of 2 slots in use, 4 trials: 2 done, 1 running, 1 waiting, best 0.9"
    )
    assert lines[4] == "trial 3 failed: [red]out of [2J memory[/red] :boom:"


def test_a_trial_that_begins_and_ends_between_two_calls_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    s, later = study("started"), study("started")
    later.trials[2].state, later.trials[2].failure = "failed", None
    with Live() as live:
        live(s, {}, 1800, "searching")
        live(later, {}, 1790, "searching")
    assert "trial 2 failed: for no known reason" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("width", [20, 40, 80, 100, 140])
@pytest.mark.parametrize("stage", get_args(Stage))
def test_the_live_table_fits_any_terminal(stage: Stage, width: int) -> None:
    lines = shown(display.live(study(stage), MOMENT, 511.0, "searching", width), width)
    assert max(map(len, lines)) <= width
    assert len(lines) < 30


def test_the_live_table_shows_the_newest_trials_and_those_that_run() -> None:
    s = study("searching")
    s.trials[3].state = "running"
    lines = shown(display.live(s, MOMENT, 511.0, "searching", 160), 160)
    assert lines[0].startswith("searching, 8:31 left, 2 of 2 slots in use, 24 trials")
    rows = [int(line.split()[0]) for line in lines if line.strip()[:1].isdigit()]
    assert rows == [22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 3]
    newest = next(line for line in lines if line.strip().startswith("22"))
    assert "▮▯▯" in newest and " 33 " in newest and "loss 0.512" in newest
    assert lines[-1].startswith("and 12 trials: ") and "1 waiting" in lines[-1]


def test_messages_are_no_markup_in_the_table() -> None:
    s = study("searching")
    s.trials[21].state, s.trials[21].failure = "failed", "[bold]no\x1b[2J[/bold] :boom:"
    assert any("[bold]no [2J[/bold] :boom:" in line for line in shown(display.live(s, {}, 1, "[red]x", 200), 200))


def test_on_a_terminal_the_table_is_drawn_and_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=90, height=30, file=io.StringIO(), force_terminal=True, markup=False)
    monkeypatch.setattr(display, "plain_console", lambda: console)
    with Live() as live:
        live(study("searching"), MOMENT, 511, "searching")
        live(study("confirming"), {}, 60, "confirming")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "searching, 8:31 left" in text and "confirming, 1:00 left" in text
    assert text.rstrip().endswith("\x1b[2K")  # the last thing done is to erase the table


def test_the_end_shows_the_finalists_and_which_one_was_released() -> None:
    s = study()
    lines = shown(display.final(s), 130)
    chosen = next(f for f in s.finalists if f.released)
    released = [line for line in lines if "★ released" in line]
    assert len(released) == 1 and f"trial {chosen.trial} " in released[0] and f"{chosen.value:.4f}" in released[0]
    assert sum("the default recipe" in line and "│" in line for line in lines) == 1
    text = " ".join(line.strip() for line in lines)
    assert "Released: trial" in text and "flattered it by 0.0042." in text
    assert shown(display.final(study("empty")), 80) == ["No trial has begun yet."]
