"""Which recipe is tried next, and what is written down of it."""

import time
from typing import Any

import numpy as np
import pytest
from ray.tune.search import Searcher

from synth.recipe import Recipe
from tuning import insight, space
from tuning.halving import Ended
from tuning.objective import Score
from tuning.record import Study, Trial
from tuning.search import HOPELESS, KNOWN, Search, inside, parzen


def study(*objective: str) -> Study:
    return Study(
        id="s", created="2026-01-01T00:00:00Z", data="t.csv", key="k", recipe={"seed": 1}, target="y",
        task="classification", rows={}, features={}, real={}, objective=list(objective or ("utility",)), budget_s=600,
        slots=2, rungs=[10.0, 30.0],
    )  # fmt: skip


def search(of: Study, **others: Any) -> Search:
    default = Trial(number=0, origin="default", knobs=space.knobs_of(Recipe()))
    options: dict[str, Any] = {
        "families": ["diffusion", "vae"], "fixed": {}, "first": [default], "propose": lambda study, rng: None,
        "deadline": time.time() + 600, "least_s": 10, "most": None, "on_change": lambda: None,
    }  # fmt: skip
    return Search(of, **(options | others))


def reported(value: float, rung: int = 1, **others: Any) -> dict[str, Any]:
    score = Score(value, 0.01, 1.0, 0.0, np.zeros(3))
    return {
        "rung": rung,
        "seconds": 10.0,
        "cpu_s": 9.0,
        "optimizer_step": 5,
        "scores": [score, score],
        "error": 0.001,
    } | others


def test_the_default_comes_first_and_each_trial_once() -> None:
    of = study()
    searching = search(of)
    found = [searching.suggest(f"t{k}") for k in range(4)]
    assert [f["number"] for f in found if isinstance(f, dict)] == [0, 1, 2, 3]
    assert of.trials[0].origin == "default"
    assert len({str(t.knobs) for t in of.trials}) == 4


def test_no_trial_begins_that_could_not_reach_a_rung() -> None:
    late = search(study(), deadline=time.time() + 5)
    assert isinstance(late.suggest("a"), dict), "the default does, however late, since all others are held against it"
    assert late.suggest("b") == Searcher.FINISHED


def test_a_trial_that_was_interrupted_goes_on_from_the_rung_that_it_had_reached() -> None:
    of = study()
    searching = search(of)
    searching.suggest("a")
    searching.on_trial_result("a", reported(0.7))
    of.trials[0].state = "waiting"
    found = search(Study.model_validate_json(of.model_dump_json()), first=[]).suggest("x")
    assert isinstance(found, dict)
    assert (found["number"], found["rung"]) == (0, 1)


def test_a_last_rung_is_never_saved_of_a_trial_that_runs() -> None:
    of, saved = study(), list[tuple[str, int]]()
    searching = search(of, on_change=lambda: saved.append((of.trials[0].state, len(of.trials[0].curve))))
    searching.suggest("a")
    searching.on_trial_complete("a", reported(0.7, done=True))
    assert saved == [("running", 0), ("done", 1)]


def test_what_happens_once_a_search_has_ended_is_not_the_trials_doing() -> None:
    of = study()
    searching = search(of)
    searching.suggest("a")
    searching.on_trial_result("a", reported(0.7))
    searching.ended = True
    searching.on_trial_result("a", reported(0.8, rung=2))
    searching.on_trial_complete("a", error=True)
    assert (of.trials[0].state, len(of.trials[0].curve)) == ("running", 1)
    assert searching.suggest("b") == Searcher.FINISHED
    assert Ended(searching).stop_all()


def test_where_every_trial_fails_the_search_ends() -> None:
    of = study()
    searching = search(of)
    for k in range(HOPELESS):
        assert isinstance(searching.suggest(f"t{k}"), dict)
        searching.on_trial_complete(f"t{k}", {"failure": "no such file", "done": True})
    assert searching.suggest("more") == Searcher.FINISHED


def test_no_more_trials_begin_than_are_wanted() -> None:
    searching = search(study(), most=2)
    assert [isinstance(searching.suggest(f"t{k}"), dict) for k in range(3)] == [True, True, False]


def test_what_a_trial_reports_is_recorded_and_saved() -> None:
    of, saves = study(), []
    searching = search(of, on_change=lambda: saves.append(len(of.trials[0].curve)))
    searching.suggest("a")
    searching.on_trial_result("a", reported(0.8))
    searching.on_trial_complete("a", reported(0.9, rung=2, done=True))
    trial = of.trials[0]
    assert [(r.score.value, r.draws, r.error) for r in trial.curve] == [(0.8, 2, 0.001), (0.9, 2, 0.001)]
    assert trial.state == "done"
    assert saves[-1] == 2


@pytest.mark.parametrize(("error", "result"), [(True, None), (False, {"failure": "diverged", "done": True})])
def test_a_trial_that_fails_is_marked_and_the_search_goes_on(error: bool, result: dict[str, Any] | None) -> None:
    of = study()
    searching = search(of)
    searching.suggest("a")
    searching.on_trial_complete("a", result, error=error)
    assert of.trials[0].state == "failed"
    assert of.trials[0].failure == ("diverged" if result else "its process died: out of memory, or the node is gone")
    assert isinstance(searching.suggest("b"), dict)
    assert parzen(of, ["diffusion"], [], seed=0)["family"] == "diffusion"


def test_a_search_goes_on_from_its_record() -> None:
    of = study()
    searching = search(of)
    for name in "abc":
        searching.suggest(name)
    searching.on_trial_complete("a", reported(0.5, done=True))
    of.trials[1].state = "waiting"  # the driver died
    again = search(Study.model_validate_json(of.model_dump_json()), first=[])
    found = again.suggest("x")
    assert isinstance(found, dict)
    assert (found["number"], found["knobs"]) == (1, of.trials[1].knobs)
    assert again.study.trials[0].state == "done"


def test_the_estimator_learns_where_it_is_good() -> None:
    of, rng = study(), np.random.default_rng(0)
    searching = search(of)
    while len(of.trials) < 60:
        knobs = space.random_knobs("diffusion", rng)
        of.trials.append(Trial(number=len(of.trials), origin="tpe", knobs=knobs, state="running"))
        searching.numbers["x"] = of.trials[-1].number
        searching.on_trial_result("x", reported(1 - abs(knobs["diffusion.dropout"] - 0.3)))
    proposed = [parzen(of, ["diffusion"], [], seed=seed)["diffusion.dropout"] for seed in range(12)]
    assert abs(np.mean(proposed) - 0.3) < 0.08
    assert parzen(of, ["diffusion", "vae"], [], seed=0)["family"] == "vae", "what was never tried is worth a look"


def test_several_objectives_are_told_apart() -> None:
    of = study("utility", "privacy")
    searching = search(of)
    searching.suggest("a")
    searching.on_trial_complete("a", reported(0.9, done=True))
    assert parzen(of, ["diffusion"], [], seed=0)["family"] == "diffusion"
    of.trials[0].curve[-1].score.copying = 0.2
    of.trials[0].curve[-1].score.value = 0.8
    assert insight.objectives(of, of.trials[0]) == [0.9, 0.8], (
        "utility itself, without the penalties that are an objective"
    )


def test_what_is_fixed_is_in_no_proposal() -> None:
    assert "training.batch" not in parzen(study(), ["vae"], ["training.batch"], seed=3)


def test_a_default_between_two_options_is_told_as_one_of_them() -> None:
    width = space.space("diffusion")["diffusion.width"]
    assert inside(width, 100) in (96, 128)


def test_the_memory_proposes_alone_until_the_estimator_has_enough_to_learn_from() -> None:
    of = study()
    idea = Trial(number=0, origin="surrogate", knobs=space.knobs_of(Recipe(family="vae")))
    searching = search(of, propose=lambda study, rng: idea)
    for k in range(KNOWN):
        searching.suggest(f"t{k}")
        searching.on_trial_complete(f"t{k}", reported(0.5, done=True))
    assert [t.origin for t in of.trials] == ["default"] + ["surrogate"] * (KNOWN - 1)
    for k in range(4):
        searching.suggest(f"u{k}")
    assert [t.origin for t in of.trials[KNOWN:]] == ["tpe", "surrogate"] * 2
    assert [t.number for t in of.trials] == list(range(KNOWN + 4))
