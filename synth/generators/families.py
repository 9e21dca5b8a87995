"""Which class a recipe's family names."""

from __future__ import annotations

from collections.abc import Callable

from synth.family import DiffusionRecipe, FamilyRecipe, VaeRecipe
from synth.generators.base import Generator
from synth.generators.layout import Layout
from synth.generators.table_diffusion import TableDiffusion
from synth.generators.table_vae import TableVAE
from synth.recipe import Recipe

FAMILIES: dict[type[FamilyRecipe], Callable[..., Generator]] = {
    DiffusionRecipe: TableDiffusion,
    VaeRecipe: TableVAE,
}


def build(recipe: Recipe, layout: Layout) -> Generator:
    """A generator with fresh weights (from torch's global seed, set by the caller)."""
    settings = recipe.settings(images=layout.image is not None)
    return FAMILIES[type(settings)](layout, **settings.model_dump())
