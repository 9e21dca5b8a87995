"""A sampler of a table whose network has learnt nothing."""

from __future__ import annotations

import pyarrow as pa
import torch

from synth.data.codec import Fit
from synth.data.infer import infer
from synth.data.source import open_source
from synth.generators.families import build
from synth.recipe import Recipe
from synth.sampling import Sampler


def untrained(table: pa.Table, noise: float) -> Sampler:
    """Without noise, each column is by itself as the training rows have it; with it, all depend on all: an untrained head is
    zero, and would hide what depends on what."""
    recipe = Recipe.read(None, {"diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4})
    fit = Fit(infer(open_source(table)))
    for batch in table.to_batches():
        fit.update(batch)
    codec = fit.finish(**recipe.codec.model_dump())
    torch.manual_seed(0)
    generator = build(recipe, codec.layout)
    for parameter in generator.parameters():
        parameter.data += noise * torch.randn_like(parameter)
    return Sampler(generator, codec)
