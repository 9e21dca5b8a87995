"""The spaces: every knob is a key of the recipe, and every draw a recipe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.errors import UserError
from synth.family import DiffusionRecipe, GanRecipe, VaeRecipe
from synth.ranges import Choice, Number
from synth.recipe import Recipe
from tuning import space

FAMILIES = list(space.TABLES)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_draw_is_a_recipe_and_says_its_knobs(family: str) -> None:
    for seed in range(20):
        knobs = space.random_knobs(family, np.random.default_rng(seed))
        recipe = space.recipe_of(Recipe(), knobs)
        assert space.knobs_of(recipe) == knobs


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_lies_in_its_own_space(family: str) -> None:
    default = space.knobs_of(Recipe(family=family))
    for key, range_ in space.space(family).items():
        assert -1e-9 <= range_.unit(default[key]) <= 1 + 1e-9, key


@pytest.mark.parametrize("recipe", [DiffusionRecipe, GanRecipe, VaeRecipe])
def test_what_sampling_can_change_is_searched(recipe: type) -> None:
    assert recipe.SAMPLING
    assert set(recipe.SPACE) >= recipe.SAMPLING


def test_the_defaults_of_a_family_are_kept_where_a_recipe_leaves_them_open() -> None:
    recipe = space.recipe_of(Recipe(target="y"), {"family": "gan", "gan.width": 64}).suited(images=False)
    assert (recipe.target, recipe.gan.width, recipe.training.beta1) == ("y", 64, 0.0)


def test_what_is_set_is_not_searched() -> None:
    assert "diffusion.width" not in space.space("diffusion", fixed=["diffusion.width"])


def test_a_family_without_a_space_is_named() -> None:
    with pytest.raises(UserError, match=r"--families flow: has no search space; choose among diffusion, gan, vae"):
        space.space("flow")


@given(st.floats(0, 1))
def test_a_place_on_the_unit_interval_comes_back(unit: float) -> None:
    for range_ in (Number(0.01, 3.0, log=True), Number(-2.0, 5.0)):
        assert range_.unit(range_.value(unit)) == pytest.approx(unit, abs=0.01)


@given(st.sampled_from([Choice((1, 2, 4)), Choice(("a", "b")), Number(2, 6, whole=True)]), st.floats(-1, 2))
def test_a_value_comes_back_from_its_place(range_: Choice | Number, unit: float) -> None:
    value = range_.value(unit)
    assert range_.value(range_.unit(value)) == value


def test_a_choice_between_two_options_lies_between_them() -> None:
    assert Choice((64, 128, 256)).unit(100) == pytest.approx(0.25)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_a_vector_says_the_family_and_the_place_of_each_knob(seed: int) -> None:
    knobs = space.random_knobs("vae", np.random.default_rng(seed))
    found = space.vector(knobs)
    assert found[: len(FAMILIES)].tolist() == [0, 0, 1]
    known = ~np.isnan(found[len(FAMILIES) :])
    assert {key for key, has in zip(space.KEYS, known, strict=True) if has} == set(space.space("vae"))
