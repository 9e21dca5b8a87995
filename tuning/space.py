"""Which recipes are searched: what each family says of its knobs, as flat settings that a search can reason about.

``Knobs`` are the family and a value for each key of its space, as in ``{"family": "vae", "training.batch": 256, …}``. On
top of what a person has fixed in a recipe they make a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synth.errors import UserError
from synth.family import COMMON, DiffusionRecipe, FamilyRecipe, GanRecipe, VaeRecipe
from synth.ranges import Range
from synth.recipe import Recipe

Knobs = dict[str, Any]

TABLES: dict[str, type[FamilyRecipe]] = {"diffusion": DiffusionRecipe, "gan": GanRecipe, "vae": VaeRecipe}
KEYS = [*COMMON, *(key for family in TABLES.values() for key in family.SPACE if key not in COMMON)]
"""All keys of all families, in the order of ``vector``."""


def space(family: str, *, fixed: Sequence[str] = ()) -> dict[str, Range]:
    """The keys of a family and their ranges, but for those that are ``fixed``; UserError for a family without any."""
    if family not in TABLES:
        raise UserError(f"--families {family}: has no search space; choose among {', '.join(TABLES)}")
    return {key: range_ for key, range_ in TABLES[family].SPACE.items() if key not in fixed}


def sampling(family: str) -> frozenset[str]:
    """The keys that a trained model can change."""
    return TABLES[family].SAMPLING


def moving(family: str) -> frozenset[str]:
    """The keys that a model can change while it is trained, and as it is sampled."""
    return TABLES[family].MOVING | TABLES[family].SAMPLING


def settings(recipe: Recipe, *, prefix: str = "") -> dict[str, Any]:
    """What was set in a recipe, by dotted key."""
    return _flat(recipe.model_dump(exclude_unset=True), prefix)


def knobs_of(recipe: Recipe) -> Knobs:
    """The knobs that a recipe has, with its family's own defaults where nothing was set."""
    values = _flat(recipe.suited(images=False).model_dump(), "")
    return {"family": recipe.family} | {key: values[key] for key in space(recipe.family)}


def recipe_of(base: Recipe, knobs: Knobs) -> Recipe:
    """The recipe with these knobs, and all else as ``base`` has it. What ``base`` leaves open stays open."""
    return Recipe.read(None, settings(base) | knobs)


def random_knobs(family: str, rng: np.random.Generator, *, near: Knobs | None = None, change: float = 1.0) -> Knobs:
    """Knobs drawn evenly from the family's space; with ``near`` only a share ``change`` of them, the others as there."""
    found: Knobs = {"family": family}
    for key, range_ in space(family).items():
        drawn = range_.value(float(rng.random()))
        found[key] = drawn if near is None or rng.random() < change else near[key]
    return found


def vector(knobs: Knobs) -> np.ndarray:
    """float64 (families + KEYS,): which family it is, and where each knob lies on its range; NaN for those it has not."""
    of = space(knobs["family"])
    where = [of[key].unit(knobs[key]) if key in of and key in knobs else np.nan for key in KEYS]
    return np.array([float(knobs["family"] == family) for family in TABLES] + where)


def _flat(part: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in part.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
