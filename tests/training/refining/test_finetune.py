"""A short training in this process moves a generator towards the rows that it is shown, and the same steps do the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Encoded
from synth.recipe import Recipe, TrainingRecipe
from synth.training.engine import make_optimizer
from synth.training.refining.finetune import finetune, slowed
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


def test_a_slower_training_decays_weights_as_much_a_step_and_clips_as_the_release_did() -> None:
    parent = TrainingRecipe(learning_rate=3e-3, memory=120, clip=0.5, beta2=0.99, batch=512, steps=1000)
    slow = slowed(parent, TrainingRecipe(steps=30, warmup=5), 0.1)
    assert (slow.steps, slow.warmup, slow.batch, slow.clip, slow.beta2) == (30, 5, 512, 0.5, 0.99)
    decays = [
        make_optimizer(torch.nn.Linear(3, 3), one, 10_000).param_groups[0]["weight_decay"] for one in (parent, slow)
    ]
    assert decays[0] == pytest.approx(decays[1])


def test_losses_that_change_on_the_way_go_on_from_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, seen = build(Recipe.check({"family": "vae"}), MIXED), list[int]()
    losses = type(generator).losses

    def noted(self: Any, call: Any, batch: Encoded, draw: Draw, step: int) -> Any:
        seen.append(step)
        return losses(self, call, batch, draw, step)

    monkeypatch.setattr(type(generator), "losses", noted)
    rows = Encoded(torch.zeros(64, len(MIXED.cells), dtype=torch.long), torch.zeros(64, MIXED.values))
    finetune(generator, [rows], TrainingRecipe(steps=3, batch=32), 0, lambda *_: None, "learning", 500)
    assert seen == [500, 501, 502]
