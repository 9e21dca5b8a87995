"""Which class a recipe's family names."""

from __future__ import annotations

from collections.abc import Callable

from synth.family import (
    DiffusionRecipe,
    FamilyRecipe,
    GanRecipe,
    ImageDiffusionRecipe,
    ImageGanRecipe,
    ImageVaeRecipe,
    VaeRecipe,
)
from synth.generators.base import Generator
from synth.generators.image_diffusion import ImageDiffusion
from synth.generators.image_gan import ImageGAN
from synth.generators.image_vae import ImageVAE
from synth.generators.layout import Layout
from synth.generators.table_diffusion import TableDiffusion
from synth.generators.table_gan import TableGan
from synth.generators.table_vae import TableVAE
from synth.recipe import Recipe

FAMILIES: dict[type[FamilyRecipe], Callable[..., Generator]] = {
    DiffusionRecipe: TableDiffusion,
    GanRecipe: TableGan,
    ImageDiffusionRecipe: ImageDiffusion,
    ImageGanRecipe: ImageGAN,
    ImageVaeRecipe: ImageVAE,
    VaeRecipe: TableVAE,
}


def build(recipe: Recipe, layout: Layout) -> Generator:
    """A generator with fresh weights (from torch's global seed, set by the caller)."""
    settings = recipe.settings(images=layout.image is not None)
    return FAMILIES[type(settings)](layout, **settings.model_dump())
