"""Two players under DeepSpeed equal plain PyTorch, and the critic is not touched by the generator's step.

All cases of a number of workers are trained one after the other by the same workers, since starting them takes longest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe
from synth.training.engine import make_optimizer
from synth.training.feed import Feed, Share
from synth.training.schedule import Schedule

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]
LAYOUT = Layout(
    cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.04,) * 25, ordered=25), Cell(shares=(0.2, 0.8))), values=2, target=2
)
STEPS, BATCH = 20, 63  # which two workers share unequally

Case = dict[str, Any]
WASSERSTEIN: Case = {"objective": "wasserstein", "gamma": 10.0}
SPECTRAL: Case = {"gamma": 0.0, "spectral": True}
PLAIN: Case = {"objective": "non-saturating", "gamma": 0.0}
CASES: dict[int, list[Case]] = {
    1: [{"zero": 0}, {"zero": 1}, {"zero": 2}],
    2: [
        {"zero": 0},
        {"zero": 1},
        {"zero": 2},
        {"zero": 2, **WASSERSTEIN},
        {"zero": 2, **SPECTRAL},
        {"zero": 3, **PLAIN},
    ],
}


def recipe(workers: int = 1, zero: int = 0, **gan: Any) -> Recipe:
    training = {"steps": STEPS, "batch": BATCH, "precision": "fp32", "warmup": 3, "zero": zero, "workers": workers}
    return Recipe.check({"family": "gan", "training": training, "gan": {"width": 32} | gan}).suited(images=False)


def rows() -> Encoded:
    draw = np.random.default_rng(0)
    cells = np.stack([draw.integers(0, size, 300) for size in LAYOUT.sizes], 1).astype(np.int32)
    return Encoded(cells, draw.normal(size=(300, 2)).astype(np.float32))


def name(case: Case) -> str:
    return "-".join(map(str, case.values()))


def plain(**gan: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of both players, step by step, and the weights after STEPS of plain PyTorch."""
    wanted = recipe(**gan)
    torch.manual_seed(wanted.seed)
    model, losses = build(wanted, LAYOUT), []
    feed = Feed([rows()], Share(wanted.seed, BATCH, 1, 0, 1, torch.device("cpu")))
    optimizers = {k: make_optimizer(player, wanted.training, feed.rows) for k, player in model.players.items()}
    schedule = Schedule.of(wanted.training)
    for step in range(STEPS):
        draw = Draw(wanted.seed, "train", step, 0)
        for player, loss in model.losses(model.players, feed(step, slice(0, BATCH)), draw, step):
            for group in optimizers[player].param_groups:
                group["lr"] = schedule.rate(step)
            optimizers[player].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.players[player].parameters(), wanted.training.clip)
            optimizers[player].step()
            losses.append(loss.item())
    return losses, {key: p.detach() for key, p in model.named_parameters()}


def train_all(job: dict[str, Any]) -> None:
    """One worker: every case's losses, its part of the weights, and what the generator's step left in the critic."""
    import torch.distributed as dist
    from ray.train import get_context
    from safetensors.torch import save_file

    from synth.training import loop

    rank, world = get_context().get_world_rank(), get_context().get_world_size()
    for case in CASES[world]:
        keys = recipe(world, **case).model_dump()
        watched = {"rows": [rows()], "count": 300, "part": "train", "left_out": 0}
        job_of_case = {"recipe": keys, "layout": LAYOUT.model_dump(), "run": "", "notes": [], "watched": watched}
        worker = loop.Worker(job_of_case, [(1.0, [rows()])], rank, world)
        told = torch.stack([loss for _ in range(STEPS) for loss in worker.optimize()])
        dist.all_reduce(told)
        parts = {f"{k}.{f.name}/{f.start}": f.weight.clone() for k, mine in worker.owned.items() for f in mine}
        save_file(parts, Path(job["folder"], f"{name(case)}-{rank}.safetensors"))

        draw = Draw(0, part=worker.feed.share.mine, total=BATCH)
        pending = worker.generator.losses(worker.engines, worker.feed(STEPS, slice(0, BATCH)), draw, STEPS)
        left = {}
        for player, loss in pending:
            before = [f.weight.clone() for f in worker.owned["critic"]]
            worker.engines[player].backward(loss)
            left[player] = any(p.grad is not None and bool(p.grad.any()) for p in worker.generator.critic.parameters())
            worker.engines[player].step()
            after = [f.weight for f in worker.owned["critic"]]
            left[f"{player} moved it"] = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        facts = {"losses": (told / world).tolist(), "left": left}
        Path(job["folder"], f"{name(case)}-{rank}.json").write_text(json.dumps(facts))


@pytest.fixture(scope="module")
def trained(together: Callable[..., Path]) -> Callable[[int], Path]:
    return cache(partial(together, train_all))


@pytest.mark.parametrize(("workers", "case"), [(n, case) for n in CASES for case in CASES[n]], ids=str)
def test_both_players_equal_plain_pytorch(trained: Callable[[int], Path], workers: int, case: Case) -> None:
    from safetensors.torch import load_file

    folder, gan = trained(workers), {key: value for key, value in case.items() if key != "zero"}
    losses, weights = plain(**gan)
    # To a Wasserstein critic a constant in all scores makes no difference, so that rounding alone moves it.
    free = case.get("objective") == "wasserstein"
    for rank in range(workers):
        facts = json.loads((folder / f"{name(case)}-{rank}.json").read_text())
        assert facts["losses"] == pytest.approx(losses, rel=1e-5, abs=1e-3 if free else 1e-6)
        for place, part in load_file(folder / f"{name(case)}-{rank}.safetensors").items():
            key, _, start = place.rpartition("/")
            expected = weights[key].flatten()[int(start) : int(start) + len(part)]
            atol = 1e-3 if free else 2e-5
            torch.testing.assert_close(part, expected, atol=atol, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize(("workers", "case"), [(n, case) for n in CASES for case in CASES[n]], ids=str)
def test_the_generators_step_leaves_nothing_in_the_critic(
    trained: Callable[[int], Path], workers: int, case: Case
) -> None:
    facts = [json.loads((trained(workers) / f"{name(case)}-{rank}.json").read_text()) for rank in range(workers)]
    assert all(f["left"]["critic moved it"] for f in facts)
    assert not any(f["left"]["generator"] or f["left"]["generator moved it"] for f in facts)
