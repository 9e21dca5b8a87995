"""A run that learns a small table by heart is over before its budget is, says so, goes on where it was cut, and is repeated
by the recipe of its release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch

from synth.recipe import Recipe
from synth.training import beacon, prepare, workers
from synth.training.schedule import ended

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SETTINGS = {"training.batch": 32, "training.learning_rate": 0.01, "training.warmup": 1, "training.ema": 0.9,
            "training.precision": "fp32", "training.memory": 1e6, "training.checkpoint_s": 2, "split": [0.1, 0.8, 0.0, 0.1],
            "diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4, "diffusion.dropout": 0.0}  # fmt: skip


def fit(run: Path, asks: str | None = None, **settings: Any) -> dict[str, Any]:
    """``asks`` for a stop once a note says that."""
    draw = np.random.default_rng(0)
    table = pa.table(
        {name: draw.choice(list("abcdefgh"), 600) for name in ("x", "y", "z", "u")} | {"v": draw.normal(size=600)}
    )
    keys = {f"training.{key}": value for key, value in settings.items()}
    recipe = Recipe.read(None, SETTINGS | keys).resolved(test_apart=False)
    prepared = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)

    def progress(phase: str, done: float, facts: dict[str, Any]) -> None:
        if asks is not None and any(asks in note for note in facts.get("notes", ())):
            beacon.ask_to_stop(str(run))

    return workers.fit(ray, recipe, prepared, str(run), progress, embedded=True)


@pytest.mark.parametrize("team", [1, 2])
def test_a_run_ends_when_more_buys_nothing_and_its_recipe_repeats_it(
    team: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "LOOK_S", 0.05)
    said = "the learning rate begins to fall"
    cut = fit(tmp_path / "cut.run", said, budget_s=40, early=True, workers=team)
    assert cut["stopped"] and cut["step"] < cut["total"], (cut["step"], cut["notes"], cut["checks"]["losses"])
    found = fit(tmp_path / "cut.run", budget_s=40, early=True, workers=team)  # goes on from its checkpoint
    assert not found["stopped"] and found["step"] == found["total"] and found["elapsed_s"] < 35
    begun, *nearer = (note for note in found["notes"] if "the loss on" in note)
    assert said in begun and "rows of select" in begun and "of 40 s will be left" in begun
    assert len(nearer) == len(found["shortened"]) and all("has risen" in note for note in nearer)
    assert found["checks"]["early"]["acted"] == 1 + len(nearer)
    losses = found["checks"]["watched"]["losses"]
    steps = [look["step"] for look in losses]
    assert steps == sorted(set(steps)) and len(steps) > 3 and all(look["error"] > 0 for look in losses)
    shortened = ended(found["step"], found["total"], found["shortened"], 0.6)
    again = fit(tmp_path / "again.run", steps=found["step"], shortened=shortened, early=True, workers=team)
    # That coverage falls over the last check is told, where it does.
    notes = [note for note in again["notes"] if "coverage fell" not in note]
    assert again["step"] == found["step"] and not notes and not again["checks"]["losses"]["looks"]
    assert all(torch.equal(again["weights"][name], found["weights"][name]) for name in found["weights"])


def test_whoever_does_not_ask_gets_all_of_the_budget(tmp_path: Path) -> None:
    found = fit(tmp_path / "x.run", budget_s=10)
    # Where steps become slower, as on a busy machine, the plan of a budget is shortened, too; it is used up all the same.
    assert found["elapsed_s"] > 9 and not any("the loss on" in note for note in found["notes"])
