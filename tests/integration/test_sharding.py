"""Training on Ray Train with DeepSpeed equals plain PyTorch: at every ZeRO stage, number of workers and way to save memory.

All cases of a number of workers are trained one after the other by the same workers, since starting them takes longest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe
from synth.training import checkpoint
from synth.training.engine import Average, make_optimizer
from synth.training.feed import Feed, Share
from synth.training.schedule import Schedule

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]
LAYOUT = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.04,) * 25, ordered=25)), values=2)
STEPS, BATCH = 50, 64
LOOKED_AT = "looked-at.safetensors"  # the weights that the last check drew with

Case = dict[str, Any]
CASES: dict[int, list[Case]] = {
    1: [{"zero": 0}, {"zero": 1}, {"zero": 2}, {"zero": 3}, {"zero": 0, "accumulate": 2}],
    2: [
        {"zero": 0}, {"zero": 1}, {"zero": 2}, {"zero": 3}, {"zero": 0, "accumulate": 2}, {"zero": 2, "accumulate": 2},
        {"zero": 3, "accumulate": 2}, {"zero": 1, "offload": True}, {"zero": 2, "offload": True},
        {"zero": 3, "offload": True, "recompute": True}, {"zero": 0, "recompute": True},
    ],
    3: [{"zero": 0}, {"zero": 2, "accumulate": 2}, {"zero": 3}],  # 64 rows are 22, 21 and 21
}  # fmt: skip


def recipe(**training: Any) -> Recipe:
    keys = {"steps": STEPS, "batch": BATCH, "precision": "fp32", "warmup": 3, "checks": 2} | training
    return Recipe.check({"training": keys, "diffusion": {"width": 32, "blocks": 2}})


def rows() -> Encoded:
    draw = np.random.default_rng(0)
    cells = np.stack([draw.integers(0, size, 300) for size in LAYOUT.sizes], 1).astype(np.int32)
    return Encoded(cells, draw.normal(size=(300, 2)).astype(np.float32))


def name(case: Case) -> str:
    return "-".join(f"{key}-{value}" for key, value in case.items())


@cache
def plain(accumulate: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Each step's loss, and the averaged weights after STEPS of plain PyTorch over ``accumulate`` micro-batches."""
    wanted = recipe()
    torch.manual_seed(wanted.seed)
    model = build(wanted, LAYOUT)
    feed = Feed([rows()], Share(wanted.seed, BATCH, 1, 0, 1, torch.device("cpu")))
    named = dict(model.players["denoiser"].named_parameters())
    schedule, average = Schedule.of(wanted.training), Average([p.data for p in named.values()], wanted.training.ema)
    optimizer, losses = make_optimizer(model, wanted.training, feed.rows), np.zeros(STEPS)
    for step in range(STEPS):
        optimizer.zero_grad()
        for index in range(accumulate):
            micro = feed(step, slice(index * BATCH // accumulate, (index + 1) * BATCH // accumulate))
            _, loss = next(model.losses(model.players, micro, Draw(wanted.seed, "train", step, index), step))
            (loss / accumulate).backward()
            losses[step] += loss.item() / accumulate
        torch.nn.utils.clip_grad_norm_(model.parameters(), wanted.training.clip)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.step()
        average.update()
    return losses.tolist(), dict(zip(named, average.shards, strict=True))


def train_all(job: dict[str, Any]) -> None:
    """One worker: every case's losses and last checkpoint, in a folder of the case's name."""
    from ray.train import get_context

    from synth.training import loop

    class Told(loop.Worker):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.told: list[float] = []

        def optimize(self) -> list[torch.Tensor]:
            losses = super().optimize()
            self.told += [float(loss) for loss in losses]
            return losses

        def save(self, *, wait: bool, at_best: bool | None = None) -> None:  # Ray Train knows nothing of the cases
            facts = {"step": self.step}
            written = checkpoint.write(self.engines, self.owned, self.averages, facts, self.rank, self.world)
            if self.finished:
                shutil.copytree(written, self.run, dirs_exist_ok=True)
            shutil.rmtree(written)

    rank, world = get_context().get_world_rank(), get_context().get_world_size()
    for case in CASES[world]:
        run = Path(job["folder"], name(case))
        keys = recipe(workers=world, **case).model_dump()
        watched = {"rows": [rows()], "count": 300, "part": "train", "left_out": 0}
        job_of_case = {
            "recipe": keys, "layout": LAYOUT.model_dump(), "run": str(run), "notes": [], "watched": watched,
        }  # fmt: skip
        worker = Told(job_of_case, [(1.0, [rows()])], rank, world)
        worker.train(None)
        assert [check["step"] for check in worker.checks.record["checks"]] == [STEPS // 2, STEPS]
        if worker.checks.generator is not None:
            save_file(worker.checks.generator.state_dict(), run / LOOKED_AT)
        (run / f"{rank}.json").write_text(json.dumps(worker.told))


@pytest.fixture(scope="module")
def trained(together: Callable[..., Path]) -> Callable[[int], Path]:
    return cache(partial(together, train_all))


@pytest.mark.parametrize(
    ("workers", "case"), [(workers, case) for workers in CASES for case in CASES[workers]], ids=str
)
def test_losses_and_weights_equal_plain_pytorch(trained: Callable[[int], Path], workers: int, case: Case) -> None:
    accumulate = case.get("accumulate", 1)
    losses, weights = plain(accumulate)
    folder = trained(workers) / name(case)
    told = np.mean([json.loads((folder / f"{rank}.json").read_text()) for rank in range(workers)], axis=0)
    assert told.reshape(STEPS, accumulate).mean(1).tolist() == pytest.approx(losses, rel=1e-5)
    _, found = checkpoint.averaged(folder)
    looked_at = load_file(folder / LOOKED_AT)
    assert looked_at.keys() == found.keys() and all(torch.equal(looked_at[key], found[key]) for key in found)
    for key, expected in weights.items():
        torch.testing.assert_close(
            found[f"denoiser.{key}"], expected, atol=2e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}"
        )
