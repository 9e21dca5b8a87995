"""Which class a recipe's family names."""

from __future__ import annotations

from synth.generators.base import Generator
from synth.generators.layout import Layout
from synth.generators.table_diffusion import TableDiffusion
from synth.recipe import Recipe


def build(recipe: Recipe, layout: Layout) -> Generator:
    """A generator with fresh weights (from torch's global seed, set by the caller)."""
    families = {"diffusion": (TableDiffusion, recipe.diffusion)}
    kind, settings = families[recipe.family]
    return kind(layout, **settings.model_dump())
