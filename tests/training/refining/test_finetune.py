"""A short training in this process moves a generator towards the rows that it is shown, and the same steps do the same."""

from __future__ import annotations

import copy

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Encoded
from synth.recipe import Recipe, TrainingRecipe
from synth.training.refining.finetune import finetune
from tests.generators.test_table_diffusion import MIXED

LENGTH = TrainingRecipe(steps=60, batch=256, learning_rate=3e-3, warmup=5)


@pytest.mark.parametrize("family", ["diffusion", "vae"])
def test_it_learns_what_it_is_shown(family: str) -> None:
    places = MIXED
    torch.manual_seed(0)
    recipe = Recipe.check({"family": family, "diffusion": {"width": 32, "blocks": 1, "steps": 8}})
    generator = build(recipe, places)
    rows = Encoded(
        torch.stack([torch.zeros(512, dtype=torch.long) for _ in places.cells], 1),
        torch.full((512, places.values), 1.5),
    )

    def share(one: torch.nn.Module) -> float:
        drawn = one.eval().sample(400, Draw("look"))  # type: ignore[operator]
        return float((drawn.cells == 0).float().mean())

    before, copied = share(generator), copy.deepcopy(generator)
    steps, seconds = finetune(generator, [rows], LENGTH, 0, lambda *_: None, "learning")
    assert steps == 60 and seconds > 0 and share(generator) > before + 0.2
    finetune(copied, [rows], LENGTH, 0, lambda *_: None, "learning")
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, copied.state_dict()[name]), name
