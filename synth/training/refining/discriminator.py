"""A discriminator learns what a release's rows lack, and guides its sampler from then on.

What it learns is in ``synth.generators.guidance``. One network of half the denoiser's size, rows of the model that are drawn
once, and a fraction of the run that made the release.
"""

from __future__ import annotations

import copy
import math
import time

import torch

from synth.errors import UserError
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Encoded
from synth.generators.table_diffusion import TableDiffusion
from synth.recipe import Recipe, TrainingRecipe
from synth.release import Release
from synth.sampling import Sampler
from synth.training.engine import make_optimizer
from synth.training.refining.ground import Ground, Offer, Offers, Realism, some, tensors
from synth.training.schedule import Schedule
from synth.training.workers import Progress

WEIGHTS = (0.5, 1.0, 2.0)  # that are tried; with 1, a discriminator that knew the ratio would put all right
HELD, EVERY = 0.1, 25  # share of the rows that the discriminator does not learn from, and the steps from try to try


class Discriminator(Realism):
    """The cure ``discriminator``."""

    name = "discriminator"

    def check(self, parent: Release, recipe: Recipe) -> None:
        """See ``Cure``."""
        images = parent.schema.image is not None
        if recipe.family != "diffusion" or images:
            kind = f"{recipe.family}{' of images' if images else ''}"
            raise UserError(
                f"{parent.location}: is of the family {kind}, and a discriminator guides the diffusion of tables alone; "
                f"train it for longer{'' if images else ', or with --family diffusion, and refine that'}"
            )

    def offers(self, ground: Ground, length: TrainingRecipe, progress: Progress) -> Offers:
        """See ``Cure``."""
        recipe, real = ground.recipe, ground.real()
        own = ground.own(progress)
        guided = _guided(ground)
        generator = guided.generator
        assert isinstance(generator, TableDiffusion)
        taken, seconds = learn(generator, real, own, length, recipe.seed, progress)
        found = [
            Offer(
                f"weight {weight:g}",
                recipe.model_copy(update={"diffusion": recipe.diffusion.model_copy(update={"guidance": weight})}),
                generator.state_dict(),
                taken,
                seconds,
            )
            for weight in WEIGHTS
        ]
        return Offers(found, "a discriminator")


def _guided(ground: Ground) -> Sampler:
    """The release's generator with a discriminator that has learnt nothing yet."""
    recipe, codec = ground.recipe, ground.table.codec
    settings = recipe.diffusion.model_copy(update={"guidance": 1.0})
    recipe = recipe.model_copy(update={"diffusion": settings})
    torch.manual_seed(recipe.seed)
    fresh = {n: t for n, t in build(recipe, codec.layout).state_dict().items() if n.startswith("discriminator.")}
    return Sampler.of(recipe, codec, {**ground.parent.tensors, **fresh})


def learn(
    generator: TableDiffusion, real: Encoded, own: Encoded, recipe: TrainingRecipe, seed: int, progress: Progress
) -> tuple[int, float]:
    """Teach the discriminator of ``generator`` to tell ``real`` rows from its ``own``, arrays; (steps, seconds) it took.

    A tenth of both is kept apart, and the weights are those that told it best: real rows are few, and what is known of
    them by heart would pull samples towards copies of them. As many ``steps`` as a budget came to give the same weights.
    """
    discriminator = generator.discriminator
    assert discriminator is not None
    device = next(discriminator.parameters()).device
    learnt, held = zip(
        *(_apart(tensors(rows, device), seed, what) for rows, what in ((real, "real"), (own, "own"))), strict=True
    )
    least = min(len(rows.cells) for rows in held)
    tried = [Encoded(*(a[:least] for a in rows)) for rows in held]
    optimizer = make_optimizer(discriminator, recipe, len(learnt[1].cells) * 2)
    schedule, step, began = Schedule.of(recipe), 0, time.monotonic()
    best, weights = math.inf, copy.deepcopy(discriminator.state_dict())
    while not schedule.finished(step):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        draw = Draw("refine", seed, step, device=device)
        batch = [some(rows, recipe.batch // 2, draw) for rows in learnt]
        loss = generator.discrimination(batch[0], batch[1], draw)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step, elapsed = step + 1, time.monotonic() - began
        schedule.observe(step, elapsed)
        if step % EVERY == 0 or schedule.finished(step):
            with torch.no_grad():
                found = float(generator.discrimination(tried[0], tried[1], Draw("held", seed, device=device)))
            if found < best:
                best, weights = found, copy.deepcopy(discriminator.state_dict())
            facts = {"step": step, "loss": found, "rows": step * recipe.batch, "elapsed_s": elapsed}
            progress("learning to tell them apart", schedule.fraction(step, elapsed), facts)
    discriminator.load_state_dict(weights)
    return step, time.monotonic() - began


def _apart(rows: Encoded, seed: int, what: str) -> tuple[Encoded, Encoded]:
    """Rows to learn from, and those that are kept apart."""
    order = Draw("apart", what, seed).permutation(len(rows.cells)).to(rows.cells.device)
    cells, values = rows.cells[order], rows.values[order]
    first = max(int(HELD * len(order)), 1)
    return Encoded(cells[first:], values[first:]), Encoded(cells[:first], values[:first])
