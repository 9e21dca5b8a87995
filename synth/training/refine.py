"""Refining a release of table diffusion: a discriminator learns what its rows lack, and guides the sampler from then on.

What it learns is in ``synth.generators.guidance``. How much it is heard, its weight, is chosen on the rows of ``select``,
and unless they say that it helps nothing is published.

All of it runs in this process, without Ray and DeepSpeed: one network of half the denoiser's size, rows of the model that
are drawn once, and a fraction of the run that made the release, so that there is nothing to share and little to resume.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cluster import storage
from cluster.session import terminable
from synth import release as releases
from synth.data.codec import Codec
from synth.errors import UserError
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.layout import Encoded
from synth.generators.table_diffusion import TableDiffusion
from synth.provenance import keys
from synth.provenance.manifest import Training
from synth.recipe import Recipe, TrainingRecipe
from synth.release import Release
from synth.sampling import BLOCK, Sampler
from synth.training import prepare as preparing
from synth.training.device import name_of_device
from synth.training.engine import make_optimizer
from synth.training.prepare import FEW, Prepared
from synth.training.publish import Trained, publish
from synth.training.run import Interrupted
from synth.training.schedule import Schedule
from synth.training.selected import Measured, Selected
from synth.training.workers import Progress

OWN = 20_000  # most rows of the release to learn from
WEIGHTS = (0.5, 1.0, 2.0)  # that are tried; with 1, a discriminator that knew the ratio would put all right
HELD, EVERY = 0.1, 25  # share of the rows that the discriminator does not learn from, and the steps from try to try
LEARNING = TrainingRecipe(batch=1024, learning_rate=2e-3, warmup=20, memory=20)


def refine(
    release: storage.Location,
    data: object,
    out: str,
    *,
    test: object | None = None,
    budget_s: float = 60.0,
    steps: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda phase, done, facts: None,
) -> Trained:
    """Guide the release at ``release`` by a discriminator that learns for ``budget_s`` seconds, or so many ``steps``, from
    the rows of ``data`` that the release has learnt from, and publish what that gives at ``out``.

    Raises UserError where the release is of another family, the data are others, or no weight of the discriminator
    lowers the two-sample test on ``select`` without lowering coverage; Interrupted on Ctrl-C. Nothing is published then.
    """
    location = out if "://" in out else str(Path(out).resolve())
    storage.check_free(location, overwrite=overwrite)
    parent = releases.load(release)
    recipe = _recipe(parent)
    key_note = keys.ready()
    try:
        with terminable():
            published = _refine(parent, recipe, data, test, location, budget_s, steps, overwrite, progress)
    except KeyboardInterrupt as e:
        raise Interrupted(f"stopped; nothing was published, and {parent.location} is as it was") from e
    return published if key_note is None else replace(published, notes=[*published.notes, key_note])


def _refine(
    parent: Release, recipe: Recipe, data: object, test: object | None, out: str, budget_s: float, steps: int | None,
    overwrite: bool, progress: Progress,
) -> Trained:  # fmt: skip
    progress("reading the table", 0.0, {})
    table = _table(parent, recipe, data, test)
    plain = Sampler.from_release(parent)
    real = Encoded(*(np.concatenate(parts) for parts in zip(*_held(table), strict=True)))
    own = _own_rows(plain, min(len(real.cells), OWN), recipe.seed, progress)
    guided = _guided(recipe, parent, table.codec)
    generator = guided.generator
    assert isinstance(generator, TableDiffusion)
    length = {"steps": steps} if steps is not None else {"budget_s": budget_s}
    learning = TrainingRecipe(**(LEARNING.model_dump(exclude={"steps", "budget_s"}) | length))
    taken, seconds = learn(generator, real, own, learning, recipe.seed, progress)

    selected = Selected(table.codec, table.watched, recipe.seed)
    progress("choosing the weight", 0.0, {})
    before, found = selected.measure(plain), dict[float, Measured]()
    for i, weight in enumerate(WEIGHTS):
        progress("choosing the weight", (i + 1) / (len(WEIGHTS) + 1), {})
        generator.guidance = weight
        found[weight] = selected.measure(guided)
    helpful = {weight: after for weight, after in found.items() if after.improves(before)}
    if not helpful:
        raise UserError(_refusal(parent, before, found, taken))
    best = min(helpful, key=lambda weight: helpful[weight].c2st.value)
    note = (
        f"refined by a discriminator of weight {best:g}, which was chosen among {', '.join(f'{w:g}' for w in WEIGHTS)} on "
        f"{selected.rows:,} select rows: there the two-sample test of boosted trees went from {before} to "
        f"{found[best]}, and coverage from {before.coverage:.3f} to {found[best].coverage:.3f} "
        f"(other real rows: {selected.watch.real.coverage:.3f})"
    )
    table.notes.append(note)
    device = name_of_device(torch.device(guided.device))
    return publish(
        recipe.model_copy(update={"diffusion": recipe.diffusion.model_copy(update={"guidance": best})}),
        table, generator.state_dict(), out,
        training=Training(steps=taken, seconds=seconds, workers=1, zero=0, devices=[device], notes=[note]),
        took=f"release {parent.manifest.id[:12]}, refined in {taken:,} steps of {learning.batch:,} rows in {seconds:.0f} s "
        f"on {device}",
        overwrite=overwrite, progress=progress, parents=[parent.manifest.id],
        # Its own rows are what it learns to move away from: they count for nothing that it has learnt to be.
        real_fraction=parent.manifest.real_fraction,
    )  # fmt: skip


def _recipe(parent: Release) -> Recipe:
    """The recipe of a release that can be refined; UserError for others, with what to do instead."""
    recipe, images = Recipe.check(parent.recipe, where="the release's recipe"), parent.schema.image is not None
    if recipe.family != "diffusion" or images:
        kind = f"{recipe.family}{' of images' if images else ''}"
        raise UserError(
            f"{parent.location}: is of the family {kind}, and a discriminator guides the diffusion of tables alone; "
            f"train it for longer{'' if images else ', or with --family diffusion, and refine that'}"
        )
    if made := [entry.location for entry in parent.manifest.data if not entry.real]:
        raise UserError(
            f"{parent.location}: has learnt from synthetic rows, too ({', '.join(made)}), and a discriminator learns from real "
            "ones alone; refine a release of real rows"
        )
    if recipe.diffusion.guidance:
        raise UserError(
            f"{parent.location}: was refined already (diffusion.guidance={recipe.diffusion.guidance:g}); refine the "
            f"release that it was made from, {', '.join(p[:12] for p in parent.manifest.parents)}, with a longer --budget"
        )
    return recipe


def _table(parent: Release, recipe: Recipe, data: object, test: object | None) -> Prepared:
    """The table as the release has learnt it: the same split, schema and codec. UserError where any is another."""
    if test is None and recipe.split is not None and len(recipe.split) == 3:
        raise UserError(
            f"{parent.location}: was certified on test rows of their own, so its refinement must be, too: give them with "
            "--test FILE"
        )
    source = preparing.open_train(data, test, recipe)
    held, told = preparing.is_held(source, recipe)
    if not held:
        raise UserError(f"{told}; a release is refined where its table can be held: it cannot be refined yet")

    def same(differing: list[str], what: str) -> None:
        if differing:
            raise UserError(
                f"{source.location}: is not the table that {parent.location} has learnt from: {what} "
                f"{', '.join(map(repr, differing))}. Give that table, whole"
            )

    known = {c.name: c for c in parent.schema.columns}
    same([name for name in known if name not in source.schema.names], "it lacks")  # perhaps what the recipe names
    sources, schema = preparing.describe(source, test, recipe)
    same([c.name for c in schema.columns if known.get(c.name) != c], "other columns, or of another kind:")
    table = preparing.prepare(sources, schema, recipe)
    found, expected = table.codec.model_dump(mode="json")["columns"], parent.codec["columns"]
    same([a["name"] for a, b in zip(found, expected, strict=True) if a != b], "other values in")
    if table.watched.part != "select":
        raise UserError(
            f"{source.location}: the split {recipe.split} leaves {table.rows['select']} select rows, and it takes {FEW} to "
            "see whether a discriminator helps: train a release with more of them, such as --split 0.7,0.1,0.1,0.1"
        )
    return table


def _held(table: Prepared) -> list[Encoded]:
    assert isinstance(table.encoded, list), "prepared without a store"
    return table.encoded


def _own_rows(plain: Sampler, rows: int, seed: int, progress: Progress) -> Encoded:
    """Rows of the release, from noise of their own: none that anybody gets for a seed."""
    parts = []
    for block in range(-(-rows // BLOCK)):
        parts.append(plain.draw(BLOCK, Draw("refine", "own", seed, block, device=plain.device)))
        progress("drawing the release's rows", min((block + 1) * BLOCK / rows, 1.0), {})
    return Encoded(*(np.concatenate(arrays)[:rows] for arrays in zip(*parts, strict=True)))


def _guided(recipe: Recipe, parent: Release, codec: Codec) -> Sampler:
    """The release's generator with a discriminator that has learnt nothing yet."""
    settings = recipe.diffusion.model_copy(update={"guidance": 1.0})
    recipe = recipe.model_copy(update={"diffusion": settings})
    torch.manual_seed(recipe.seed)
    fresh = {n: t for n, t in build(recipe, codec.layout).state_dict().items() if n.startswith("discriminator.")}
    return Sampler.of(recipe, codec, {**parent.tensors, **fresh})


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
        *(_apart(rows, seed, what, device) for rows, what in ((real, "real"), (own, "own"))), strict=True
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
        batch = [_some(rows, recipe.batch // 2, draw) for rows in learnt]
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


def _apart(rows: Encoded, seed: int, what: str, device: torch.device) -> tuple[Encoded, Encoded]:
    """Arrays as tensors: those to learn from, and those that are kept apart."""
    order = Draw("apart", what, seed).permutation(len(rows.cells))
    cells, values = torch.from_numpy(rows.cells)[order].long(), torch.from_numpy(rows.values)[order].float()
    first = max(int(HELD * len(order)), 1)
    cells, values = cells.to(device), values.to(device)
    return Encoded(cells[first:], values[first:]), Encoded(cells[:first], values[:first])


def _some(rows: Encoded, number: int, draw: Draw) -> Encoded:
    chosen = (draw.uniform(number, 1)[:, 0] * len(rows.cells)).long().clamp_max(len(rows.cells) - 1)  # rounded up
    return Encoded(rows.cells[chosen], rows.values[chosen])


def _refusal(parent: Release, before: Measured, found: Mapping[float, Measured], steps: int) -> str:
    figures = [f"weight {w:g}: C2ST {m}, coverage {m.coverage:.3f}" for w, m in {0.0: before, **found}.items()]
    return (
        f"{parent.location}: nothing was published, since no weight of a discriminator that learnt for {steps:,} steps "
        f"lowers the two-sample test (C2ST) on select by more than its error without lowering coverage:\n  "
        + "\n  ".join(figures)
        + "\nGive it a longer --budget; where C2ST is near 0.5 already there is little to refine"
    )
