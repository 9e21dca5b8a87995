"""How a study goes on: what is decided once, what is done again, and what of it is written down."""

import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayTaskError

from synth.errors import JobError, UserError
from synth.recipe import Recipe
from tests.tuning.test_finalists import found
from tests.tuning.test_halving import trial
from tests.tuning.test_search import study
from tuning import driver as driving
from tuning.driver import Driver
from tuning.finalists import Found
from tuning.objective import Score
from tuning.plan import TRIAL_S, plan
from tuning.record import Study
from tuning.table import Table

VALUES = {0: 0.8, 1: 0.9}


class Decider(Driver):
    """What is scored and trained on a cluster is given: values on confirm by trial."""

    failure: BaseException | None = None

    def _judge(self) -> Any:
        return None

    def _confirm(self, models: Any, judge: Any, what: str) -> list[Found]:
        if self.failure is not None:
            raise self.failure
        return [found(t.number, *[VALUES[t.number]] * 3) for t, _ in models if t.number in VALUES]

    def _run(self, search: Any, shared: Any, slots: int, phase: str) -> None:
        self.ran = search, shared, slots
        self.save()


@pytest.fixture
def decider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Decider:
    monkeypatch.setattr(driving.finalists, "load", lambda folder, trial, schema: None)
    of = study()
    of.trials = [trial(0, 0.8), trial(1, 0.9), trial(2)]
    for t in of.trials:
        t.knobs = {"family": "vae", "training.decay": t.number / 10}
    return deciding(of, tmp_path)


def deciding(of: Study, folder: Path) -> Decider:
    table = Table({}, None, Recipe(), False)  # type: ignore[arg-type]
    return Decider(
        None, of, plan(600, [(2, 0)]), table, str(folder), lambda *_: None, on_confirm=lambda: None, began=time.monotonic(),  # type: ignore[arg-type, return-value]
        embedded=True,
    )  # fmt: skip


def released(of: Study) -> int:
    (one,) = [f for f in of.finalists if f.released]
    return one.trial


def test_the_default_and_the_best_are_trained_for_what_is_left(decider: Decider) -> None:
    decider.began = time.monotonic() - 200
    decider.lengthen(None)  # type: ignore[arg-type]
    of = decider.study
    assert [(t.number, t.origin, t.parent) for t in of.trials[3:]] == [(3, "longer", 0), (4, "longer", 1)]
    assert of.trials[4].knobs == of.trials[1].knobs
    search, shared, slots = decider.ran
    assert shared.rungs == (of.long_s,)
    assert of.long_s == pytest.approx(400 - decider.plan.ways_s - decider.plan.last_s - TRIAL_S, abs=1)
    assert slots == 2
    assert search.deadline == pytest.approx(time.time() + 400 - decider.plan.last_s, abs=2)


def test_a_study_that_died_while_they_were_trained_goes_on_with_them(decider: Decider, tmp_path: Path) -> None:
    decider.lengthen(None)  # type: ignore[arg-type]
    again = Study.load(str(tmp_path))
    again.trials[3].state = "running"
    other = deciding(again, tmp_path)
    other.lengthen(None)  # type: ignore[arg-type]
    assert [t.origin for t in again.trials[3:]] == ["longer", "longer"], "none comes twice"
    assert again.trials[3].state == "waiting"
    assert other.ran[1].rungs == (decider.study.long_s,), "as long as they were to be"


def test_what_an_interruption_took_from_them_is_made_up_for(decider: Decider, monkeypatch: pytest.MonkeyPatch) -> None:
    decider.lengthen(None)  # type: ignore[arg-type]
    of = decider.study
    of.trials[3].state = of.trials[4].state = "running"
    monkeypatch.setattr(driving.checkpoint, "newest", lambda run: ({"elapsed_s": 100.0}, {}))
    decider.began = time.monotonic() - 380
    decider.lengthen(None)  # type: ignore[arg-type]
    (length,) = decider.ran[1].rungs
    assert length == pytest.approx(100 + 220 - decider.plan.last_s - TRIAL_S, abs=1)
    assert length < (of.long_s or 0)


def test_with_room_for_one_the_default_and_the_best_are_trained_one_after_the_other(decider: Decider) -> None:
    decider.plan = plan(600, [(1, 0)])
    decider.lengthen(None)  # type: ignore[arg-type]
    assert [t.parent for t in decider.study.trials[3:]] == [0, 1]
    whole = 600 - decider.plan.ways_s - decider.plan.last_s - TRIAL_S
    assert decider.ran[1].rungs[0] == pytest.approx(whole / 2, abs=1)


def test_where_no_time_is_left_the_searchs_own_models_are_compared(decider: Decider) -> None:
    decider.began = time.monotonic() - 560
    decider.lengthen(None)  # type: ignore[arg-type]
    assert len(decider.study.trials) == 3
    assert "too few to train the best recipes for longer" in decider.study.notes[-1]
    decider.decide()
    assert decider.study.decided
    assert released(decider.study) == 1


def test_a_study_that_died_on_confirm_decides_again(decider: Decider, tmp_path: Path) -> None:
    decider.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        decider.decide()
    decider.save()
    again = Study.load(str(tmp_path))
    assert not again.decided
    deciding(again, tmp_path).decide()
    assert again.decided
    assert released(again) == 1


def test_where_nothing_can_be_scored_on_confirm_the_study_says_so(
    decider: Decider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decider, "_confirm", lambda *_: [])
    with pytest.raises(JobError, match="no finalist could be scored on confirm"):
        decider.decide()
    assert not decider.study.decided


def test_a_finalist_that_cannot_be_scored_is_left_out_with_a_note(decider: Decider) -> None:
    class Cluster:
        def put(self, value: Any) -> Any:
            return value

        def remote(self, **options: Any) -> Any:
            return lambda score: SimpleNamespace(remote=lambda recipe, kept, *rest: kept)

        def get(self, refs: list[Any]) -> list[Any]:
            if refs[0] == "broken":
                raise RayTaskError("score", "ValueError: no rows", ValueError("no rows"))
            return [Score(refs[0], 0.0, 1.0, 0.0, np.zeros(3))] * len(refs)

    decider.ray, decider.table = Cluster(), SimpleNamespace(recipe_of=lambda knobs: None)  # type: ignore[assignment]
    trials = decider.study.trials
    models: Any = [(trials[0], 0.5), (trials[1], "broken"), (trials[2], math.nan)]
    scored = Driver._confirm(decider, models, None, "the finalists")
    assert [f.trial.number for f in scored] == [0]
    assert "trial 1 could not be scored on confirm" in decider.study.notes[0]
    assert "trial 2 could not be scored on confirm: what it samples has no finite score" in decider.study.notes[1]


def test_of_a_search_that_was_cut_short_a_trial_can_be_chosen(decider: Decider) -> None:
    decider.choose(0)
    assert released(decider.study) == 0
    assert decider.study.decided
    with pytest.raises(UserError, match="--choose 2: is no trial with a score; there are 0, 1"):
        decider.choose(2)
    assert released(decider.study) == 0, "what was released stays so"


def test_a_look_is_in_the_record_before_it_is_taken(decider: Decider, tmp_path: Path) -> None:
    class Cluster:
        def remote(self, **options: Any) -> Any:
            assert [look.part for look in Study.load(str(tmp_path)).looks] == ["confirm"]
            raise KeyboardInterrupt

    decider.ray = Cluster()
    with pytest.raises(KeyboardInterrupt):
        Driver._confirm(decider, [(decider.study.trials[0], None)], None, "the finalists")  # type: ignore[list-item]
