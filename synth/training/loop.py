"""The one training loop, run by every worker: it owns engines, precision, accumulation, averages and checkpoints.

The generator only says what its losses are. Nothing here knows a family.
"""

from __future__ import annotations

import math
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from cluster.location import without_credentials
from cluster.session import impatient
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Encoded, Layout
from synth.recipe import Recipe
from synth.training import beacon, checkpoint, shards
from synth.training.engine import Average, make_engine
from synth.training.feed import Feed
from synth.training.schedule import Schedule

# Looks at the clock, the loss and the stop signal cost a synchronisation: so many steps lie between them, or fewer
# where they take longer than so many seconds.
PULSE, PULSE_S = 10, 1.0


def device_of_worker() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def computes_in_bf16(precision: str, device: torch.device) -> bool:
    """Whether products run in bfloat16: ``auto`` says yes where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def train_worker(job: dict[str, Any]) -> None:
    """Train one worker's share of a run; the body that Ray Train calls on every worker.

    ``job`` holds the recipe and the layout as plain data, references to the encoded batches in Ray's object store
    ("parts"), and the run's location, which names it ("run").
    """
    import ray
    import ray.train

    impatient()
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    run: str = job["run"]
    recipe, layout = Recipe.model_validate(job["recipe"]), Layout.model_validate(job["layout"])
    training = recipe.training
    device = device_of_worker()
    if device.type == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(recipe.seed)  # initial weights; every later draw has an address
    generator = build(recipe, layout).to(device)
    feed = Feed(
        [Encoded(*p) for p in ray.get(job["parts"])],
        seed=recipe.seed, batch=training.batch, rank=rank, world=world, device=device,
    )  # fmt: skip
    bf16 = computes_in_bf16(training.precision, device)
    engines = {
        name: make_engine(player, training, feed.rows, device, bf16=bf16) for name, player in generator.players.items()
    }
    owned = {name: shards.fragments(engine) for name, engine in engines.items()}
    averages = {name: Average([f.weight for f in mine], training.ema) for name, mine in owned.items()}
    autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=bf16)

    schedule, step, before = Schedule.of(training), 0, 0.0
    notes: list[str] = []
    if (latest := ray.train.get_checkpoint()) is not None:
        found, notes = checkpoint.newest_whole(latest, rank, world)
        if found is None:
            whole = f"{without_credentials(run)}: holds no whole checkpoint; start anew with --overwrite"
            beacon.show(run, failure="\n".join([*notes, whole]))
            return
        with found.as_directory() as folder:
            saved = checkpoint.restore(Path(folder), engines, owned, averages)
        step, before, schedule.total = saved["step"], saved["elapsed_s"], saved["total"]
        notes = [*saved["notes"], *notes]

    size = training.batch // training.accumulate
    micros = [slice(start, start + size) for start in range(0, training.batch, size)]
    started = saved_at = time.monotonic()
    losses: list[torch.Tensor] = []
    loss, stop, pulse = math.nan, False, step + 1
    while not (schedule.finished(step) or stop):
        rate = schedule.rate(step)
        for index, micro in enumerate(micros):
            draw = Draw(recipe.seed, "train", step, index, device=device, part=feed.mine, total=size)
            pending = generator.losses(engines, feed(step, micro), draw)
            while True:
                with autocast():  # left before each step: it caches weights in bf16, which the step makes stale
                    following = next(pending, None)
                if following is None:
                    break
                player, value = following
                engine = engines[player]
                for group in engine.optimizer.param_groups:
                    group["lr"] = rate
                engine.backward(value)
                engine.step()
                losses.append(value.detach())
        for average in averages.values():
            average.update()
        step += 1
        if step >= pulse or schedule.finished(step):
            elapsed = before + time.monotonic() - started
            loss = float(torch.stack(losses).mean())
            losses.clear()
            due = time.monotonic() - saved_at >= training.checkpoint_s
            asked = rank == 0 and beacon.stop_asked(run)
            elapsed, due, stop, diverged = _agree(world, device, elapsed, due, asked, not math.isfinite(loss))
            if diverged:  # no exception: Ray Train would retry what can only happen again
                beacon.show(run, failure=f"the loss is no longer finite at step {step}: lower training.learning_rate"
                                         f" ({training.learning_rate})")  # fmt: skip
                return
            schedule.observe(step, elapsed)
            pulse = step + min(max(int(PULSE_S * step / elapsed), 1), PULSE)
            if rank == 0:
                beacon.show(run, step=step, total=schedule.total, fraction=schedule.fraction(step, elapsed),
                            loss=loss, rows=step * training.batch, elapsed_s=elapsed)  # fmt: skip
            if due or stop or schedule.finished(step):
                progress = {
                    "step": step, "total": schedule.total, "elapsed_s": elapsed, "loss": loss,
                    "rows_per_s": step * training.batch / elapsed, "stopped": stop and not schedule.finished(step),
                    "precision": "bf16" if bf16 else "fp32", "device": _device_name(device), "notes": notes,
                    "workers": world, "zero": training.zero,
                }  # fmt: skip
                with checkpoint.written(engines, owned, averages, progress, rank, world) as folder:
                    ray.train.report(progress, checkpoint=ray.train.Checkpoint.from_directory(folder))
                saved_at = time.monotonic()


def _agree(
    world: int, device: torch.device, elapsed: float, due: bool, stop: bool, diverged: bool
) -> tuple[float, bool, bool, bool]:
    """The latest clock, and what any rank wants, on every rank: the workers must save, stop and give up together."""
    if world == 1:
        return elapsed, due, stop, diverged
    said = torch.tensor([elapsed, due, stop, diverged], dtype=torch.float64, device=device)
    dist.all_reduce(said, op=dist.ReduceOp.MAX)
    return float(said[0]), bool(said[1]), bool(said[2]), bool(said[3])


def _device_name(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device) if device.type == "cuda" else str(torch.cpu.get_capabilities()["cpu_name"])
    )
