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

EVERY = 25  # steps from one call of progress to the next


def slowed(parent: TrainingRecipe, length: TrainingRecipe, share: float) -> TrainingRecipe:
    """As the release was trained, but for as long as ``length`` says and at a ``share`` of the learning rate. Weight decay
    keeps its coefficient: at a lower rate it would otherwise outweigh what is learnt, and shrink what was."""
    return parent.model_copy(
        update={
            "steps": length.steps, "budget_s": length.budget_s, "shortened": [], "warmup": length.warmup,
            "learning_rate": share * parent.learning_rate, "memory": parent.memory / share,
        }
    )  # fmt: skip


def finetune(
    generator: Generator, pools: Sequence[Encoded], recipe: TrainingRecipe, seed: int, progress: Progress, phase: str,
    first: int = 0,
) -> tuple[int, float]:  # fmt: skip
    """Train ``generator`` in place on batches that take as many rows of each of ``pools``, tensors on its device; (steps,
    seconds) it took. ``first``: the steps that it has behind it, for losses that change on the way. As many steps as a budget
    came to give the same weights, unless it had to be cut short.

    What is left is the mean of the weights over the last half of the steps: what was averaged over thousands of steps loses by
    a few hundred that are not (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima", arXiv 1803.05407).
    """
    generator.train()
    device = next(generator.parameters()).device
    rows = sum(len(pool.cells) for pool in pools)
    optimizers = {name: make_optimizer(player, recipe, rows) for name, player in generator.players.items()}
    weights = [weight for player in generator.players.values() for weight in player.parameters()]
    means, averaged = [weight.detach().clone() for weight in weights], 0
    schedule, step, began = Schedule.of(recipe), 0, time.monotonic()
    while not schedule.finished(step):
        draw = Draw("finetune", seed, step, device=device)
        parts = [some(pool, recipe.batch // len(pools), draw) for pool in pools]
        batch = Encoded(torch.cat([p.cells for p in parts]), torch.cat([p.values for p in parts]))
        losses = []
        for name, loss in generator.losses(generator.players, batch, draw, first + step):
            for group in optimizers[name].param_groups:
                group["lr"] = schedule.rate(step)
            optimizers[name].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(generator.players[name].parameters(), recipe.clip)
            optimizers[name].step()
            losses.append(loss.detach())
        step, elapsed = step + 1, time.monotonic() - began
        if schedule.last(step, 0.5):
            averaged += 1
            for mean, weight in zip(means, weights, strict=True):
                mean.lerp_(weight.detach(), 1 / averaged)
        schedule.observe(step, elapsed)
        schedule.hold(step, elapsed)
        if step % EVERY == 0 or schedule.finished(step):
            facts = {"step": step, "loss": float(sum(losses)), "rows": step * recipe.batch, "elapsed_s": elapsed}
            progress(phase, schedule.fraction(step, elapsed), facts)
    with torch.no_grad():
        for weight, mean in zip(weights, means, strict=True):
            weight.copy_(mean)
    generator.eval()
    return step, time.monotonic() - began
