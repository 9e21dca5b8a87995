"""One trial, between the run that trains it and Ray Tune that asks for its scores."""

import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from synth.errors import JobError
from tuning import trial as trials
from tuning.kept import Kept
from tuning.objective import Score
from tuning.trial import Shared, Trial


class Board:
    """What driver, trial and run tell each other, for a run that is at ``elapsed`` seconds, and ends when it is asked to."""

    def __init__(self, elapsed: float, ending: Future[dict[str, Any]]) -> None:
        self.elapsed, self.ending, self.asked = elapsed, ending, set[str]()

    def look(self, run: str) -> dict[str, Any]:
        return {"elapsed_s": self.elapsed}

    def stop_asked(self, run: str) -> bool:
        return run in self.asked

    def ask_to_stop(self, run: str) -> None:
        self.asked.add(run)
        if not self.ending.done():
            self.ending.set_result({"weights": {}, "elapsed_s": self.elapsed, "step": 9, "cpu_s": 1.0})


def begun(
    monkeypatch: pytest.MonkeyPatch, elapsed: float, deadline: float = 60.0, **config: Any
) -> tuple[Trial, Board]:
    ending = Future[dict[str, Any]]()
    board = Board(elapsed, ending)
    monkeypatch.setattr(trials, "beacon", board)
    monkeypatch.setattr(trials, "LOOK_S", 0.01)
    saved = {"elapsed_s": 10.0, "step": 5, "cpu_s": 1.0}
    monkeypatch.setattr(trials, "checkpoint", SimpleNamespace(newest=lambda run: (saved, {})))
    mine = Trial.__new__(Trial)
    mine.shared = Shared("study", None, None, (10.0, 30.0), 10.0, 100, (1, 0), True, time.time() + deadline)  # type: ignore[arg-type]
    mine._begin({"number": 3, "rung": 0, "model": 3, "continued": None, "until": None, "knobs": {}} | config)
    mine.ending = ending
    return mine, board


def test_a_rung_is_scored_while_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, board = begun(monkeypatch, elapsed=11.0)
    kept, finished = mine._reached(None)  # type: ignore[arg-type]
    assert (kept.facts["step"], finished, board.asked) == (5, False, set())


def test_at_the_deadline_a_run_saves_where_it_stands_and_that_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, _ = begun(monkeypatch, elapsed=27.0, deadline=-1.0, rung=1)
    kept, finished = mine._reached(None)  # type: ignore[arg-type]
    assert (kept.facts["elapsed_s"], finished) == (27.0, True)


def test_a_run_that_is_a_little_late_is_waited_for_at_its_last_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, board = begun(monkeypatch, elapsed=30.4, deadline=0.3, rung=1)
    assert mine._reached(None)[1], "a rung after the last there is none"  # type: ignore[arg-type]
    assert board.asked == {mine.run}


def test_where_the_study_is_stopped_the_run_saves_and_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine, board = begun(monkeypatch, elapsed=5.0)
    board.asked.add("study")
    with pytest.raises(JobError, match="the study was stopped"):
        mine._reached(None)  # type: ignore[arg-type]
    removed: list[str] = []
    monkeypatch.setattr(trials.storage, "remove_tree", removed.append)
    mine.cleanup()
    assert not removed
    mine, _ = begun(monkeypatch, elapsed=5.0)
    mine.cleanup()
    assert removed == [mine.run]


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory"), MemoryError(), ValueError("s3://me:hunter2@b/t?")]
)
def test_what_goes_wrong_within_a_trial_is_its_failure(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    mine, _ = begun(monkeypatch, elapsed=5.0)

    def fails() -> dict[str, Any]:
        raise error

    monkeypatch.setattr(mine, "_step", fails)
    found = mine.step()
    assert found["done"]
    assert found["failure"].startswith(type(error).__name__)
    assert "hunter2" not in found["failure"]


def test_a_score_that_is_no_number_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, _ = begun(monkeypatch, elapsed=5.0, model=1)
    object.__setattr__(mine.shared, "table", SimpleNamespace(recipe_of=lambda knobs, **_: None, schema=None))
    kept = Kept({}, None, {"elapsed_s": 1.0, "cpu_s": 1.0, "step": 1})  # type: ignore[arg-type]
    monkeypatch.setattr(trials.Kept, "load", lambda *_: kept)
    score = Score(0.9, 0.01, float("nan"), 0.0, np.zeros(3))
    monkeypatch.setattr(mine, "_scored", lambda *_: [score, score])
    assert "no finite score" in mine.step()["failure"]
