"""How a study goes on: what is decided once, what is done again, and what of it is written down."""

from pathlib import Path
from typing import Any

import pytest

from synth.errors import JobError, UserError
from synth.recipe import Recipe
from tests.tuning.test_finalists import found
from tests.tuning.test_halving import trial
from tests.tuning.test_search import study
from tuning import driver as driving
from tuning.driver import Driver
from tuning.finalists import Found
from tuning.plan import plan
from tuning.record import Study
from tuning.table import Table

VALUES = {0: 0.8, 1: 0.9}


class Decider(Driver):
    """What is scored and trained on a cluster is given: values by trial, and a longer training that works out or not."""

    failure: BaseException | None = None

    def _judge(self) -> Any:
        return None

    def _confirm(self, models: Any, judge: Any, what: str) -> list[Found]:
        values = [VALUES[t.number] + (0.05 if longer else 0.0) for t, _, longer in models]
        return [found(t.number, v, v, v, longer=longer) for (t, _, longer), v in zip(models, values, strict=True)]

    def _longer(self, winner: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        return self.study.trials[winner.trial], None, True


@pytest.fixture
def decider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Decider:
    monkeypatch.setattr(driving.finalists, "load", lambda folder, trial, schema: None)
    of = study()
    of.trials = [trial(0, 0.8), trial(1, 0.9), trial(2)]
    return deciding(of, tmp_path)


def deciding(of: Study, folder: Path) -> Decider:
    table = Table({}, None, Recipe(), False)  # type: ignore[arg-type]
    return Decider(
        None, of, plan(600, [(2, 0)]), table, str(folder), lambda *_: None, on_confirm=lambda: None, began=0.0,  # type: ignore[arg-type, return-value]
        embedded=True,
    )  # fmt: skip


def released(of: Study) -> tuple[int, bool]:
    (one,) = [f for f in of.finalists if f.released]
    return one.trial, one.longer


def test_a_study_that_died_while_the_winner_was_trained_trains_it(decider: Decider, tmp_path: Path) -> None:
    decider.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        decider.decide()
    again = Study.load(str(tmp_path))
    assert again.finalists
    assert not again.decided
    deciding(again, tmp_path).decide()
    assert again.decided
    assert released(again) == (1, True)


@pytest.mark.parametrize("failure", [JobError("the workers failed"), UserError("it diverged")])
def test_where_the_winner_cannot_be_trained_for_longer_it_is_released_as_it_was(
    decider: Decider, failure: Exception
) -> None:
    decider.failure = failure
    decider.decide()
    assert decider.study.decided
    assert released(decider.study) == (1, False)
    assert str(failure) in decider.study.notes[-1]


def test_of_a_search_that_was_cut_short_a_trial_can_be_chosen(decider: Decider) -> None:
    decider.choose(0)
    assert released(decider.study) == (0, False)
    assert decider.study.decided
    with pytest.raises(UserError, match="--choose 2: is no trial with a score; there are 0, 1"):
        decider.choose(2)
    assert released(decider.study) == (0, False), "what was released stays so"


def test_a_look_is_in_the_record_before_it_is_taken(decider: Decider, tmp_path: Path) -> None:
    class Cluster:
        def remote(self, **options: Any) -> Any:
            assert [look.part for look in Study.load(str(tmp_path)).looks] == ["confirm"]
            raise KeyboardInterrupt

    decider.ray = Cluster()
    with pytest.raises(KeyboardInterrupt):
        Driver._confirm(decider, [(decider.study.trials[0], None, False)], None, "the finalists")  # type: ignore[list-item]
