"""A training loop with no Ray and no DeepSpeed, for what is to be learnt about the generators alone.

Batches, losses, optimizers, precision, schedule and averaged weights are the project's own, and so is the watch: its
checks need no cluster.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from synth.generators.base import Draw, Generator
from synth.generators.families import build
from synth.generators.layout import Encoded, Layout
from synth.recipe import Recipe
from synth.training.checks import Checks
from synth.training.device import computes_in_bf16
from synth.training.engine import Average, make_optimizer
from synth.training.schedule import Schedule
from synth.training.shards import Fragment

CPU = torch.device("cpu")


@contextmanager
def alone() -> Iterator[None]:
    """A process group of this process, which the checks ask what it says."""
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{Path(folder, 'store')}", rank=0, world_size=1)
        yield
        dist.destroy_process_group()


def train(
    recipe: Recipe, layout: Layout, batch: Callable[[int], Encoded], rows: int, select: Encoded | None = None, *,
    clock: Callable[[], float] = time.monotonic, rungs: Sequence[float] = (),
    at_rung: Callable[[Generator, float], None] = lambda model, spent: None,
) -> tuple[Generator, dict[str, Any]]:  # fmt: skip
    """The generator with its averaged weights, and what there is to tell.

    ``batch`` is what a step sees, of a table of so many ``rows``; samples are held against ``select``, encoded arrays. A
    collapse is told, but ends nothing here: what becomes of it is to be seen. ``clock`` counts the budget;
    ``time.process_time`` is fair to runs that share a machine. After each of the shares ``rungs`` of the training,
    ``at_rung`` is given the averaged weights so far, and the seconds.
    """
    training = recipe.training
    torch.manual_seed(recipe.seed)
    model = build(recipe, layout)
    optimizers = {name: make_optimizer(player, training, rows) for name, player in model.players.items()}
    owned = {
        name: [Fragment(n, p.shape, 0, p.data, slice(0, p.numel()), p) for n, p in player.named_parameters()]
        for name, player in model.players.items()
    }
    averages = {name: Average([f.weight for f in mine], training.ema) for name, mine in owned.items()}
    watched = {"count": 0, "rows": [], "part": "select", "left_out": 0}
    if select is not None:
        watched |= {"count": len(select.cells), "rows": [select]}
    checks = Checks(recipe, model, layout, watched, CPU, rank=0, world=1)
    losses: dict[str, list[float]] = {name: [] for name in optimizers}
    notes, collapse = list[str](), None
    schedule, bf16, step, spent = Schedule.of(training), computes_in_bf16(training.precision, CPU), 0, 0.0
    looked, ahead = 0.0, list(rungs)
    while not schedule.finished(step):
        began = clock()
        pending = model.losses(model.players, batch(step), Draw(recipe.seed, "train", step, 0), step)
        while True:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                following = next(pending, None)
            if following is None:
                break
            name, loss = following
            optimizers[name].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.players[name].parameters(), training.clip)
            for group in optimizers[name].param_groups:
                group["lr"] = schedule.rate(step)
            optimizers[name].step()
            losses[name].append(loss.item())
        for average in averages.values():
            average.update()
        step, spent = step + 1, spent + clock() - began
        checks.add(losses[name][-1], 1)
        schedule.observe(step, spent)
        schedule.hold(step, spent)
        fraction = schedule.fraction(step, spent)
        if ahead and fraction >= ahead[0]:
            with averaged(owned, averages):
                at_rung(model.eval(), spent)
            model.train()
            ahead.pop(0)
        if checks.due(fraction):
            falling, began = schedule.total is not None, clock()
            found = checks.look(step, fraction, spent, owned, averages, falling=falling)
            looked += clock() - began
            notes, collapse = notes + found.notes, collapse or found.collapse
            if found.enough is not None:
                notes.append(found.enough)
                schedule.sooner(step)
        if step % 100 == 0:
            said = ", ".join(f"{name} {statistics.mean(values[-100:]):.4f}" for name, values in losses.items())
            print(f"step {step} of {schedule.total or '?'}: {said}", file=sys.stderr)
    put(owned, averages)
    told = {
        "steps": step, "seconds": round(spent, 1), "trained_rows_per_s": round(step * training.batch / spent, 1),
        "parameters": sum(p.numel() for player in model.players.values() for p in player.parameters()),
        "losses": {name: round(statistics.mean(values[-100:]), 4) for name, values in losses.items()},
    }  # fmt: skip
    if select is not None:
        seen = checks.record["checks"]
        told |= {
            "watched": {key: [round(check[key], 3) for check in seen] for key in ("coverage", "modes")},
            "collapse": collapse, "notes": notes, "looks_s": round(looked, 1),
            "held_out": [[look["step"], round(look["loss"], 4)] for look in checks.losses["looks"]],
        }  # fmt: skip
    return model.eval(), told


def put(owned: Mapping[str, list[Fragment]], averages: Mapping[str, Average]) -> None:
    """The averaged weights in the place of the others."""
    for name, mine in owned.items():
        for fragment, average in zip(mine, averages[name].shards, strict=True):
            fragment.weight.copy_(average)


@contextmanager
def averaged(owned: Mapping[str, list[Fragment]], averages: Mapping[str, Average]) -> Iterator[None]:
    """The same for a while."""
    kept = {name: [fragment.weight.clone() for fragment in mine] for name, mine in owned.items()}
    put(owned, averages)
    yield
    for name, mine in owned.items():
        for fragment, weight in zip(mine, kept[name], strict=True):
            fragment.weight.copy_(weight)


def as_arrays(rows: Encoded) -> Encoded:
    return Encoded(*(np.asarray(part) for part in rows))
