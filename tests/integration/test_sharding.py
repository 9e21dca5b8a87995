"""Training on Ray Train with DeepSpeed equals plain PyTorch, at every ZeRO stage and number of workers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe
from synth.training.engine import Average, make_optimizer
from synth.training.feed import Feed
from synth.training.schedule import Schedule

pytestmark = [pytest.mark.integration, pytest.mark.slow]
LAYOUT = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.04,) * 25, ordered=25)), values=2)
STEPS, BATCH = 12, 64


def recipe(**training: Any) -> Recipe:
    keys = {"steps": STEPS, "batch": BATCH, "precision": "fp32", "warmup": 3} | training
    return Recipe.check({"training": keys, "diffusion": {"width": 32, "blocks": 2}})


def rows() -> Encoded:
    draw = np.random.default_rng(0)
    cells = np.stack([draw.integers(0, size, 300) for size in LAYOUT.sizes], 1).astype(np.int32)
    return Encoded(cells, draw.normal(size=(300, 2)).astype(np.float32))


@cache
def plain(accumulate: int) -> dict[str, torch.Tensor]:
    """The averaged weights after STEPS of plain PyTorch, each over ``accumulate`` micro-batches."""
    wanted = recipe()
    torch.manual_seed(wanted.seed)
    model = build(wanted, LAYOUT)
    feed = Feed([rows()], seed=wanted.seed, batch=BATCH, rank=0, world=1, device=torch.device("cpu"))
    named = dict(model.players["denoiser"].named_parameters())
    schedule, average = Schedule.of(wanted.training), Average([p.data for p in named.values()], wanted.training.ema)
    optimizer = make_optimizer(model, wanted.training, feed.rows)
    for step in range(STEPS):
        optimizer.zero_grad()
        for index in range(accumulate):
            micro = feed(step, slice(index * BATCH // accumulate, (index + 1) * BATCH // accumulate))
            _, loss = next(model.losses(model.players, micro, Draw(wanted.seed, "train", step, index)))
            (loss / accumulate).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), wanted.training.clip)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.step()
        average.update()
    return dict(zip(named, average.shards, strict=True))


@pytest.mark.parametrize(
    ("zero", "workers", "accumulate"),
    [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 1), (0, 2, 1), (2, 2, 1), (3, 2, 1), (0, 1, 2), (2, 2, 2)],
)
def test_weights_equal_plain_pytorch(tmp_path: Path, zero: int, workers: int, accumulate: int) -> None:
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from synth.training import beacon, checkpoint
    from synth.training.loop import train_worker

    name = f"zero{zero}-{workers}-{accumulate}"
    beacon.clear(name)
    job = {
        "recipe": recipe(zero=zero, workers=workers, accumulate=accumulate).model_dump(),
        "layout": LAYOUT.model_dump(),
        "parts": [ray.put(tuple(rows()))],
        "run": name,
    }
    result = TorchTrainer(
        train_worker,
        train_loop_config=job,
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name=name, storage_path=str(tmp_path)),
    ).fit()
    with result.checkpoint.as_directory() as folder:
        _, found = checkpoint.averaged(Path(folder))
    for key, expected in plain(accumulate).items():
        torch.testing.assert_close(
            found[f"denoiser.{key}"], expected, atol=2e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}"
        )
