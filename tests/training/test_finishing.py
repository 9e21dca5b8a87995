"""What a model gets between its training and its certificate."""

from __future__ import annotations

import pytest
import torch

from synth.generators.table_diffusion import TableDiffusion
from synth.recipe import Recipe
from synth.training import distil, raking
from synth.training.finishing import finish
from tests.generators.test_table_diffusion import MIXED, batch, fit, small


def trained() -> TableDiffusion:
    model = small(MIXED)
    fit(model, batch(MIXED), 20)
    return model.eval()


def recipe(**training: object) -> Recipe:
    return Recipe.check({"training": {"steps": 900} | training})


def test_the_recipe_that_is_published_gives_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distil, "LEAST", 2)
    monkeypatch.setattr(raking, "BLOCKS", 2)
    first, again, notes = trained(), trained(), list[str]()
    monkeypatch.setattr(distil, "EACH", 450)
    monkeypatch.setattr(distil, "SOON", 300)
    published = finish(first, recipe(), notes, lambda *told: None)
    assert published.training.distilled == 2 and first.student is not None
    assert "raked" in notes[0] and "a student for --quality fast has learnt from 2,048 rows" in notes[1]
    assert finish(again, published, [], lambda *told: None) == published
    for (name, one), other in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_refined_model_stays_as_it_was_confirmed() -> None:
    model = trained()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    refined = recipe(distilled=1).model_copy(update={"refined": "neon"})
    finish(model, refined, [], lambda *told: None)
    assert model.student is not None
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in before.items())


def test_a_student_that_is_asked_for_and_cannot_be_is_told() -> None:
    notes = list[str]()
    published = finish(small(MIXED, guidance=1.0), recipe(distilled=5), notes, lambda *told: None)
    assert published.training.distilled == 0
    assert notes == ["training.distilled=5: nothing here can be taught to a student; there is none"]


def test_the_callers_random_numbers_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    model = trained()
    torch.random.set_rng_state(state)
    finish(model, recipe(distilled=1), [], lambda *told: None)
    assert torch.equal(torch.random.get_rng_state(), state)
