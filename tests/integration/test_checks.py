"""A run whose samples collapse while its loss improves ends at its best, and says so wherever somebody looks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from synth import release as releases
from synth.generators import families
from synth.generators.base import Call, Draw, Generator
from synth.generators.layout import Encoded, Layout
from synth.recipe import Recipe
from synth.training import loop, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]
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

            def sample(self, rows: int, draw: Draw) -> Encoded:
                values = self.spread(draw.normal(rows, self.spread.in_features)).detach()
                return Encoded(torch.zeros(rows, 0, dtype=torch.long), values)

            def remarks(self, batch: Encoded) -> list[str]:
                narrow = float(self.spread.weight.diagonal().mean()) < 0.5
                return [f"draws the middle of {batch.values.shape[1]} numbers"] if narrow else []

        return Shrinking

    made = make()
    [recipe] = families.FAMILIES

    def train(job: dict[str, Any]) -> None:
        from synth.generators import families
        from synth.training import loop

        [recipe] = families.FAMILIES
        families.FAMILIES[recipe] = made
        loop.train_worker(job)

    monkeypatch.setitem(families.FAMILIES, recipe, made)
    monkeypatch.setattr(loop, "train_worker", train)


def table(rows: int) -> pa.Table:
    draw = np.random.default_rng(0)
    return pa.table({"x": draw.normal(size=rows), "y": draw.normal(size=rows)})


def start(out: Path, progress: Callable[..., None] = lambda *said: None, **settings: Any) -> run.Trained:
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    return run.train(table(3000), Recipe.read(None, SETTINGS | keys), str(out), progress=progress)


def test_a_run_that_collapses_ends_at_its_best(shrinking: None, tmp_path: Path) -> None:
    seen: list[float] = []

    def progress(phase: str, done: float, facts: dict[str, Any]) -> None:
        if facts.get("coverage") is not None:
            seen.append(facts["coverage"])

    trained = start(tmp_path / "release", progress, training__zero=2, training__workers=2)
    training = trained.manifest.training
    assert training.watched is not None
    *before, last = training.watched.checks
    best = max(before, key=lambda check: check.coverage)
    assert last.step < STEPS and [check.step % (STEPS // 10) for check in training.watched.checks] == [0] * (
        len(before) + 1
    )
    assert last.coverage < best.coverage - 0.1 and last.loss < best.loss
    assert (training.watched.part, training.watched.rows) == ("select", 100) or training.watched.rows > 100
    remark, collapse, published = training.notes
    assert remark.endswith("draws the middle of 2 numbers")
    assert collapse.startswith(
        f"collapse at step {last.step}: coverage fell from {best.coverage:.2f} (step {best.step}) to"
    )
    assert "over 3 checks while the loss went from" in collapse
    assert published == f"what is published is the best checkpoint, of step {training.steps}"
    assert best.step <= training.steps < last.step
    # What is published is not what the run ended with.
    weights = releases.load(trained.location).tensors["spread.weight"].diagonal().mean()
    assert weights > 0.5 > 0.05 * (STEPS - last.step) / STEPS
    assert set(training.notes) <= set(trained.notes)
    report = (Path(trained.location) / "report.html").read_text()
    assert "During training" in report and f"step {last.step}: " in report
    assert seen and min(seen) < 1


def test_without_checks_it_ends_collapsed_and_a_short_fall_is_told(shrinking: None, tmp_path: Path) -> None:
    unwatched = start(tmp_path / "unwatched", training__checks=0)
    assert unwatched.manifest.training.watched is None and unwatched.manifest.training.steps == STEPS
    assert unwatched.manifest.training.notes == []
    assert releases.load(unwatched.location).tensors["spread.weight"].abs().max() < 0.1
    assert "During training" not in (Path(unwatched.location) / "report.html").read_text()
    short = start(tmp_path / "short", training__checks=3)
    assert short.manifest.training.steps == STEPS and json.loads(short.manifest.canonical())
    fall = short.manifest.training.notes[-1]
    assert fall.startswith(f"step {STEPS}: coverage fell from ") and "over 2 checks" in fall
