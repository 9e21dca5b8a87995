"""A run whose samples collapse while its loss improves ends at its best, and says so wherever somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch

from synth.family import DiffusionRecipe
from synth.generators import families
from synth.generators.base import Call, Draw, Generator
from synth.generators.given import Given
from synth.generators.layout import Encoded, Layout
from synth.provenance.manifest import Watched
from synth.recipe import Recipe
from synth.training import loop, prepare, workers

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]
STEPS = 80
SETTINGS = {"training.steps": STEPS, "training.batch": 64, "training.learning_rate": 0.05, "training.warmup": 1,
            "training.decay": 0.1, "training.ema": 0.0, "training.precision": "fp32", "training.memory": 1e6}  # fmt: skip


@pytest.fixture
def shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diffusion, here and in the workers, is a generator that learns to draw the middle alone."""

    def make() -> type[Generator]:  # within, so that workers get it by value
        class Shrinking(Generator):
            def __init__(self, layout: Layout, **settings: Any) -> None:
                super().__init__()
                self.spread = torch.nn.Linear(layout.values, layout.values, bias=False)
                torch.nn.init.eye_(self.spread.weight)

            @property
            def players(self) -> dict[str, torch.nn.Module]:
                return {"spread": self.spread}

            def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, torch.Tensor]]:
                yield "spread", call["spread"](draw.normal(*batch.values.shape)).square().mean()

            def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
                values = self.spread(draw.normal(rows, self.spread.in_features)).detach()
                return Encoded(torch.zeros(rows, 0, dtype=torch.long), values)

            def remarks(self, batch: Encoded) -> list[str]:
                narrow = float(self.spread.weight.diagonal().mean()) < 0.5
                return [f"draws the middle of {batch.values.shape[1]} numbers"] if narrow else []

        return Shrinking

    made = make()

    def train(job: dict[str, Any]) -> None:
        from synth.generators import families
        from synth.training import loop

        families.FAMILIES[DiffusionRecipe] = made
        loop.train_worker(job)

    monkeypatch.setitem(families.FAMILIES, DiffusionRecipe, made)
    monkeypatch.setattr(loop, "train_worker", train)


def fit(run: Path, progress: Callable[..., None] = lambda *said: None, **settings: Any) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    table = pa.table({"x": draw.normal(size=3000), "y": draw.normal(size=3000)})
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    recipe = Recipe.read(None, SETTINGS | keys).resolved(test_apart=False)
    prepared = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
    return workers.fit(ray, recipe, prepared, str(run), progress, embedded=True)


def test_a_run_that_collapses_ends_at_its_best(
    shrinking: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "LOOK_S", 0.01)  # 80 steps may be over within one of its looks
    seen: list[float] = []

    def progress(phase: str, done: float, facts: dict[str, Any]) -> None:
        if facts.get("coverage") is not None:
            seen.append(facts["coverage"])

    found = fit(tmp_path / "x.run", progress, training__zero=2, training__workers=2)
    watched = Watched.model_validate(found["checks"]["watched"])
    assert watched.part == "select" and watched.rows >= 100 and watched.real.coverage > 0.9
    steps = [check.step for check in watched.checks]
    assert steps == list(range(STEPS // 10, steps[-1] + 1, STEPS // 10)) and steps[-1] < STEPS
    *before, last = watched.checks
    best = max(before, key=lambda check: check.coverage)
    assert last.coverage < best.coverage - 0.1 and last.loss < best.loss
    remark, collapse, published = found["notes"]
    assert remark.endswith("draws the middle of 2 numbers")
    fall = (
        f"coverage fell from {best.coverage:.2f} (step {best.step}) to {last.coverage:.2f} over 3 checks while the loss"
    )
    assert collapse.startswith(f"collapse at step {last.step}: {fall}")
    assert published == f"what is published is the best checkpoint, of step {found['step']}"
    assert best.step <= found["step"] < last.step - STEPS // 10
    assert found["weights"]["spread.weight"].diagonal().min() > 0.5
    assert seen and min(seen) < 1


def test_a_fall_too_short_to_end_a_run_is_told(shrinking: None, tmp_path: Path) -> None:
    found = fit(tmp_path / "x.run", training__checks=3, training__learning_rate=0.02)  # half the spread is left at 27
    assert found["step"] == STEPS and [check["step"] for check in found["checks"]["watched"]["checks"]] == [27, 54, 80]
    assert found["weights"]["spread.weight"].abs().max() < 0.1
    *_, fall, little = found["notes"]
    assert fall.startswith(f"step {STEPS}: coverage fell from ") and "over 2 checks" in fall
    assert little.startswith(f"step {STEPS}: samples cover ") and ": a collapse" in little
