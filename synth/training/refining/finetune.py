"""A short training in this process, of a generator that has been trained, on rows that are held.

A fraction of the run that made it: there is nothing to share and little to resume.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from synth.generators.base import Draw, Generator
from synth.generators.layout import Encoded
from synth.recipe import TrainingRecipe
from synth.training.engine import make_optimizer
from synth.training.refining.ground import some
from synth.training.schedule import Schedule
from synth.training.workers import Progress


def finetune(
    generator: Generator, pools: Sequence[Encoded], recipe: TrainingRecipe, seed: int, progress: Progress, phase: str
) -> tuple[int, float]:  # fmt: skip
    """Train ``generator`` in place on batches that take as many rows of each of ``pools``, tensors on its device; (steps,
    seconds) it took. As many steps as a budget came to give the same weights."""
    generator.train()
    device = next(generator.parameters()).device
    rows = sum(len(pool.cells) for pool in pools)
    optimizers = {name: make_optimizer(player, recipe, rows) for name, player in generator.players.items()}
    schedule, step, began = Schedule.of(recipe), 0, time.monotonic()
    while not schedule.finished(step):
        draw = Draw("finetune", seed, step, device=device)
        parts = [some(pool, recipe.batch // len(pools), draw) for pool in pools]
        batch = Encoded(torch.cat([p.cells for p in parts]), torch.cat([p.values for p in parts]))
        losses = []
        for player, loss in generator.losses(generator.players, batch, draw, step):
            for group in optimizers[player].param_groups:
                group["lr"] = schedule.rate(step)
            optimizers[player].zero_grad()
            loss.backward()
            optimizers[player].step()
            losses.append(loss.detach())
        step, elapsed = step + 1, time.monotonic() - began
        schedule.observe(step, elapsed)
        schedule.hold(step, elapsed)
        if step % 25 == 0 or schedule.finished(step):
            facts = {"step": step, "loss": float(sum(losses)), "rows": step * recipe.batch, "elapsed_s": elapsed}
            progress(phase, schedule.fraction(step, elapsed), facts)
    generator.eval()
    return step, time.monotonic() - began
