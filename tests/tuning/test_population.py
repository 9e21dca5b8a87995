"""Recipes that change while they train."""

import time
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synth.recipe import Recipe
from tests.tuning.test_halving import trial
from tests.tuning.test_search import reported, study
from tuning import space
from tuning.population import Population, exploited, explored
from tuning.record import Study, Trial


def population(of: Study, members: int = 3) -> Population:
    default = Trial(number=0, origin="default", knobs=space.knobs_of(Recipe()))
    options: dict[str, Any] = {
        "families": ["diffusion"], "fixed": {}, "first": [default] if not of.trials else [], "least_s": 10, "most": None,
        "propose": lambda study, rng: None, "deadline": time.time() + 600, "on_change": lambda: None,
    }  # fmt: skip
    return Population(of, members=members, segment_s=20.0, **options)


def run(search: Population, name: str, value: float) -> dict[str, Any]:
    found = search.suggest(name)
    assert isinstance(found, dict)
    search.on_trial_complete(name, reported(value, done=True))
    return found


def test_members_go_on_by_segments_and_the_worst_leaves_its_model() -> None:
    of = study()
    search = population(of)
    search.fixed = {"training.learning_rate": 0.003}
    for number, value in enumerate((0.9, 0.7, 0.5)):
        found = run(search, str(number), value)
        assert (found["continued"], found["until"]) == (None, 20.0)
    second = [run(search, f"b{k}", 0.8) for k in range(3)]
    assert [f["continued"] for f in second] == [0, 1, 0], "the third's place is taken by a copy of the best"
    assert all(f["until"] == 40.0 for f in second)
    by_number = {t.number: t for t in of.trials}
    assert by_number[second[0]["number"]].knobs == by_number[0].knobs
    copy = by_number[second[2]["number"]].knobs
    changed = {key for key in copy if copy[key] != by_number[0].knobs[key]}
    assert changed
    assert changed <= space.moving("diffusion") - set(search.fixed), "what is set is not searched"


def test_a_population_goes_on_from_its_record() -> None:
    of = study()
    search = population(of)
    for k, value in enumerate((0.9, 0.7, 0.5)):
        run(search, str(k), value)
    again = population(Study.model_validate_json(of.model_dump_json()))
    assert run(again, "x", 0.8)["continued"] == run(search, "x", 0.8)["continued"] == 0


def test_only_trials_that_came_as_far_are_compared() -> None:
    ends = [
        trial(k, v).model_copy(update={"until": u, "state": "done"})
        for k, (v, u) in enumerate([(0.9, 40.0), (0.5, 20.0)])
    ]
    assert exploited(ends[1], ends, np.random.default_rng(0)) is ends[1]


@given(st.integers(0, 500))
def test_what_is_explored_stays_in_the_space_and_the_network_as_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    knobs = space.random_knobs("vae", rng)
    found = explored(knobs, rng)
    for key, range_ in space.space("vae").items():
        assert 0 <= range_.unit(found[key]) <= 1
        assert found[key] == knobs[key] or key in space.moving("vae")
