"""State saved by two ranks goes on at one and at three, and at another ZeRO stage, as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe
from synth.training.engine import Average, make_optimizer
from synth.training.feed import Feed, Share

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]
LAYOUT = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.04,) * 25, ordered=25)), values=2)
STAGES = (0, 1, 2, 3)
BEFORE, AFTER, BATCH = 6, 20, 48  # of 48 rows, one, two and three ranks have as many each, and half of them learn cells


def recipe(zero: int, workers: int = 1) -> Recipe:
    training = {"batch": BATCH, "precision": "fp32", "zero": zero, "workers": workers, "steps": BEFORE + AFTER}
    return Recipe.check({"training": training, "diffusion": {"width": 24, "blocks": 2}})


def feed(rank: int, world: int) -> Feed:
    draw = Draw("rows")
    cells = torch.stack([(draw.uniform(300, 1)[:, 0] * size).int() for size in LAYOUT.sizes], 1).numpy()
    rows = Encoded(cells, draw.normal(300, 2).numpy())
    return Feed([rows], Share(0, BATCH, 1, rank, world, torch.device("cpu")))


def rate(step: int) -> float:
    return 3e-3 / (step + 1)


@ray.remote(max_calls=1, num_cpus=0.5)  # a process of its own: DeepSpeed's state is global
def train(folder: str, rank: int, world: int, first: int, last: int) -> dict[int, dict[str, Any]]:
    """Steps ``first`` … ``last`` of every stage, from what is saved in ``folder`` and with what is saved there after."""
    import os
    import shutil

    import torch.distributed as dist

    from synth.training import checkpoint, shards
    from synth.training.engine import make_engine

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store-{world}", rank=rank, world_size=world)
    rows, found = feed(rank, world), {}
    for stage in STAGES:
        torch.manual_seed(world)  # other weights at each number of ranks: those that count are the saved ones
        model, training = build(recipe(stage), LAYOUT), recipe(stage, world).training
        engine = make_engine(
            model.players["denoiser"], training, rows.rows, torch.device("cpu"), zero=stage, bf16=False
        )
        engines, owned = {"denoiser": engine}, {"denoiser": shards.fragments(engine)}
        averages = {"denoiser": Average([f.weight for f in owned["denoiser"]], training.ema)}
        if first:
            other = stage if world == 1 else (stage + 1) % len(STAGES)  # also what another stage saved
            checkpoint.restore(Path(folder, str(other)), engines, owned, averages)
        losses = []
        for step in range(first, last):
            draw = Draw(0, "train", step, 0, part=rows.share.mine, total=BATCH)
            _, loss = next(model.losses(engines, rows(step, slice(0, BATCH)), draw, step))
            for group in engine.optimizer.param_groups:
                group["lr"] = rate(step)
            engine.backward(loss)
            engine.step()
            averages["denoiser"].update()
            dist.all_reduce(loss := loss.detach().clone())
            losses.append(float(loss) / world)
        saved = Path(folder, f"{stage}" if not first else f"{stage}-at-{world}")
        written = checkpoint.write(engines, owned, averages, {"step": last}, rank, world)
        shutil.copytree(written, saved, dirs_exist_ok=True)
        shutil.rmtree(written)
        dist.barrier()
        found[stage] = {"losses": losses, "owned": sum(len(f) for f in owned["denoiser"])}
    return found


def ranks(folder: Path, world: int, first: int, last: int) -> list[dict[int, dict[str, Any]]]:
    return ray.get([train.remote(str(folder), rank, world, first, last) for rank in range(world)])


def plain() -> tuple[list[float], dict[str, dict[str, torch.Tensor]]]:
    """Losses and state of as many steps of plain PyTorch, from the weights that two ranks begin with."""
    torch.manual_seed(2)
    model, training, rows = build(recipe(0), LAYOUT), recipe(0).training, feed(0, 1)
    named = dict(model.players["denoiser"].named_parameters())
    optimizer, average = (
        make_optimizer(model, training, rows.rows),
        Average([p.data for p in named.values()], training.ema),
    )
    losses = []
    for step in range(BEFORE + AFTER):
        _, loss = next(model.losses(model.players, rows(step, slice(0, BATCH)), Draw(0, "train", step, 0), step))
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
        optimizer.step()
        average.update()
        losses.append(loss.item())
    kinds = {"weight": {n: p.data for n, p in named.items()}, "average": dict(zip(named, average.shards, strict=True))}
    return losses, kinds | {k: {n: optimizer.state[p][k] for n, p in named.items()} for k in ("exp_avg", "exp_avg_sq")}


def test_saved_at_two_ranks_and_resumed_at_one_and_three(tmp_path: Path) -> None:
    from synth.training import checkpoint

    losses, state = plain()
    begun = ranks(tmp_path, 2, 0, BEFORE)
    for stage in STAGES:
        assert begun[0][stage]["losses"] == pytest.approx(losses[:BEFORE], rel=1e-5), stage
    for world in (1, 3):
        resumed = ranks(tmp_path, world, BEFORE, BEFORE + AFTER)
        for stage in STAGES:
            assert resumed[0][stage]["losses"] == pytest.approx(losses[BEFORE:], rel=1e-5), (stage, world)
            folder = tmp_path / f"{stage}-at-{world}"
            with checkpoint.opened(folder, checkpoint.progress_of(folder)) as saved:
                for kind, tensors in state.items():
                    whole = saved["denoiser"].whole(kind)
                    assert whole.keys() == tensors.keys()
                    for name, tensor in tensors.items():
                        error, size = (whole[name] - tensor).abs().max(), tensor.abs().max()
                        assert error <= 1e-3 * size, (stage, world, kind, name, error, size)
            owned, total = [rank[stage]["owned"] for rank in resumed], sum(t.numel() for t in state["weight"].values())
            assert owned == [total] * world if stage == 0 else sum(owned) == total and max(owned) < 1.2 * total / world
