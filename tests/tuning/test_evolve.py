from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.errors import UserError
from synth.ranges import Choice, Number
from synth.recipe import Recipe
from tests.tuning.world import table, worth
from tuning import space
from tuning.evolve import MORE, evolve, mutated
from tuning.memory import Past
from tuning.prior import Prior


def told(rng: np.random.Generator, count: int, family: str = "diffusion") -> list[tuple[space.Knobs, float]]:
    drawn = [space.random_knobs(family, rng) for _ in range(count)]
    return [(knobs, worth(1.0, knobs)) for knobs in drawn]


@pytest.mark.parametrize("family", space.TABLES)
def test_children_are_new_valid_and_beyond_the_space(family: str) -> None:
    rng = np.random.default_rng(0)
    parents = told(rng, 8, family)
    found = evolve(rng, parents, 60)
    assert len({str(s.knobs) for s in found} | {str(k) for k, _ in parents}) == 68
    assert {s.origin for s in found} == {"mutation"}
    searched, beyond, more = space.space(family), 0, 0
    for suggestion in found:
        recipe = space.recipe_of(Recipe(), suggestion.knobs)
        assert recipe.family == family
        places = [searched[key].unit(suggestion.knobs[key]) for key in searched]
        beyond += any(not -1e-9 <= place <= 1 + 1e-9 for place in places)
        more += bool(MORE[family].keys() & suggestion.knobs.keys())
    assert beyond >= 5 and more >= 5


def test_generations_improve_past_the_range() -> None:
    """Here the best learning rate is the greatest of the space, and sizes beyond it are free to be found."""
    rng = np.random.default_rng(1)
    known = told(rng, 12)

    def size(knobs: space.Knobs) -> float:
        return math.log(knobs["diffusion.width"])

    known = [(knobs, size(knobs)) for knobs, _ in known]
    for _ in range(60):
        known += [(s.knobs, size(s.knobs)) for s in evolve(rng, known, 1)]
    assert max(knobs["diffusion.width"] for knobs, _ in known) > 512


def test_the_fittest_breed_and_failures_do_not() -> None:
    rng = np.random.default_rng(2)
    best, *others = (space.random_knobs("vae", rng) for _ in range(5))
    failed = space.random_knobs("gan", rng)
    found = evolve(rng, [(failed, math.nan), (best, 1.0), *((k, 0.1) for k in others)], 20)
    shared = [sum(s.knobs.get(key) == value for key, value in best.items()) for s in found]
    assert {s.knobs["family"] for s in found} == {"vae"}
    assert np.mean(shared) > 0.6 * len(best)
    assert evolve(rng, [(failed, math.nan)], 3) == []


def test_what_is_fixed_does_not_mutate() -> None:
    rng = np.random.default_rng(3)
    parents = [(knobs | {"diffusion.width": 128}, value) for knobs, value in told(rng, 6)]
    assert {s.knobs["diffusion.width"] for s in evolve(rng, parents, 30, fixed=["diffusion.width"])} == {128}
    switch = {"gan.spectral"}
    gan = [(knobs | {"gan.spectral": False}, value) for knobs, value in told(rng, 1, "gan")]
    only = evolve(rng, gan, 5, fixed={*space.space("gan"), *MORE["gan"]} - switch)
    assert [s.knobs for s in only] == [gan[0][0] | {"gan.spectral": True}]
    everything = [*space.space("diffusion"), *MORE["diffusion"]]
    with pytest.raises(UserError, match="every knob of diffusion is fixed"):
        evolve(rng, parents, 1, fixed=everything)


def test_the_surrogate_picks_from_the_litter(pasts: list[Past]) -> None:
    prior = Prior(pasts, table(0.9), ["diffusion", "vae"], seconds=20)
    parents = told(np.random.default_rng(4), 8)
    blind, seeing = (evolve(np.random.default_rng(5), parents, 12, prior=p) for p in (None, prior))
    assert np.mean([worth(0.9, s.knobs) for s in seeing]) > np.mean([worth(0.9, s.knobs) for s in blind])
    assert all(s.expected is not None for s in seeing) and all(s.expected is None for s in blind)


@given(st.integers(0, 10_000), st.integers(0, 6))
def test_a_mutation_of_sizes_is_a_size(seed: int, at: int) -> None:
    sizes = (64, 96, 128, 192, 256, 384, 512)
    found = mutated(Choice(sizes), sizes[at], np.random.default_rng(seed))
    assert isinstance(found, int) and found >= 1
    assert found in sizes or found < 64 or found > 512
    assert mutated(Choice((False, True)), True, np.random.default_rng(seed)) in (False, True)
    rate = mutated(Number(1e-3, 1e-2, log=True), 3e-3, np.random.default_rng(seed))
    assert rate > 0 and math.isfinite(rate)
