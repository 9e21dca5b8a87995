"""What is trained for longer, and how it is sampled then."""

import time
from typing import Any

import numpy as np
import pytest

from synth.recipe import Recipe
from tests.tuning.test_halving import trial
from tests.tuning.test_search import reported, study
from tuning import space
from tuning.longer import Longer, changes, recipes, ways
from tuning.record import Study, Trial

KNOBS = space.knobs_of(Recipe())


def searched(*values: float, error: float = 0.001) -> Study:
    """A study whose search is over, with the default first."""
    of = study()
    of.trials = [
        trial(k, v, error=error).model_copy(update={"knobs": KNOBS | {"training.decay": k / 10}, "state": "done"})
        for k, v in enumerate(values)
    ]
    return of


def longer(of: Study, most: int = 2, **others: Any) -> Longer:
    first = [t.model_copy(update={"number": len(of.trials) + k}) for k, t in enumerate(recipes(of, most))]
    options: dict[str, Any] = {"fixed": {}, "deadline": time.time() + 600, "on_change": lambda: None}
    return Longer(of, first=first, **(options | others))


@pytest.mark.parametrize(
    ("values", "most", "parents"),
    [
        ((0.8, 0.9, 0.7), 2, [0, 1]),
        ((0.8, 0.7, 0.9), 3, [0, 2, 1]),
        ((0.8,), 2, [0]),
    ],
)
def test_the_default_and_the_best_others_are_trained_for_longer(
    values: tuple[float, ...], most: int, parents: list[int]
) -> None:
    found = recipes(searched(*values), most)
    assert [t.parent for t in found] == parents


def test_a_default_that_failed_is_not_trained_again() -> None:
    of = searched(0.8, 0.9, 0.7)
    of.trials[0].state = "failed"
    assert [t.parent for t in recipes(of, 2)] == [1, 2]


def test_of_a_recipe_with_several_segments_one_is_trained() -> None:
    of = searched(0.8, 0.9, 0.95, 0.7)
    of.trials[1].knobs = of.trials[0].knobs
    assert [t.parent for t in recipes(of, 3)] == [0, 2, 3]


def test_what_is_left_of_the_search_does_not_begin_any_more() -> None:
    of = searched(0.8, 0.9)
    of.trials.append(Trial(number=2, origin="portfolio", knobs=KNOBS))
    found = longer(of).suggest("a")
    assert isinstance(found, dict)
    assert (found["number"], of.trials[3].parent) == (3, 0)


def test_models_are_sampled_in_other_ways_once_they_are_trained() -> None:
    of = searched(0.8, 0.9)
    searching = longer(of)
    assert [searching.suggest(name)["number"] for name in "ab"] == [2, 3]  # type: ignore[index]
    assert searching.suggest("c") is None, "there is nothing to sample yet"
    searching.on_trial_complete("b", reported(0.95, done=True))
    found = [searching.suggest(f"w{k}") for k in range(3)]
    assert {f["model"] for f in found if isinstance(f, dict)} == {3}
    searching.on_trial_complete("a", reported(0.9, done=True))
    following = searching.suggest("x")
    assert isinstance(following, dict)
    assert following["model"] == 2, "the model of which fewer ways were tried"
    assert len({str(t.knobs) for t in ways(of, of.trials[3])}) == 3
    assert len(of.trials) == 8


def test_a_model_that_failed_is_not_sampled_and_without_any_it_is_over() -> None:
    of = searched(0.8, 0.9)
    searching = longer(of)
    for name in "ab":
        searching.suggest(name)
        searching.on_trial_complete(name, {"failure": "diverged", "done": True})
    assert searching.over


def test_however_late_the_models_are_trained_and_then_it_is_over() -> None:
    of = searched(0.8, 0.9)
    searching = longer(of, deadline=time.time() - 1)
    for name in "ab":
        assert isinstance(searching.suggest(name), dict)
    searching.on_trial_complete("a", reported(0.9, done=True))
    assert searching.over


def test_what_a_person_has_fixed_is_sampled_so() -> None:
    of = searched(0.8, 0.9)
    searching = longer(of, fixed={key: KNOBS[key] for key in space.sampling("diffusion")})
    for name in "ab":
        searching.suggest(name)
        searching.on_trial_complete(name, reported(0.9, done=True))
    assert searching.over, "no other way is left"


def test_a_number_has_no_temperature_of_its_classes() -> None:
    of = searched(0.8, 0.9)
    of.task = "regression"
    searching = longer(of)
    searching.suggest("a")
    searching.on_trial_complete("a", reported(0.9, done=True))
    for k in range(20):
        searching.suggest(f"w{k}")
    usual = KNOBS["diffusion.target_temperature"]
    assert {t.knobs["diffusion.target_temperature"] for t in of.trials} == {usual}


def test_first_each_knob_is_moved_by_itself_and_then_several_around_the_best() -> None:
    ranges = {key: range_ for key, range_ in space.space("diffusion").items() if key in space.sampling("diffusion")}
    base, rng = dict(KNOBS), np.random.default_rng(0)
    alone: list[dict[str, Any]] = []
    while len(found := changes(base, base, ranges, len(alone), rng)) == 1:
        alone.append(found)
    assert len({str(c) for c in alone}) == len(alone) == 8
    assert {key for c in alone for key in c} == set(ranges)
    best = base | {"diffusion.temperature": 0.9, "diffusion.steps": 20}
    joint = [changes(base, best, ranges, len(alone) + k, rng) for k in range(200)]
    assert np.mean([c["diffusion.temperature"] for c in joint]) == pytest.approx(0.9, abs=0.02)
    assert all(c != {key: best[key] for key in ranges} for c in joint), "each is another way"


def test_the_same_ways_come_again_from_the_same_record() -> None:
    def suggested() -> list[Trial]:
        of = searched(0.8, 0.9)
        searching = longer(of)
        searching.suggest("a")
        searching.on_trial_complete("a", reported(0.9, done=True))
        for k in range(14):
            searching.suggest(f"w{k}")
        return of.trials

    assert suggested() == suggested()
