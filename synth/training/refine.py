"""Refining a release of tables: what real rows say of its samples betters it, or nothing is published.

Each way to do so is a cure (``synth.training.refining``), which makes a few offers. Which of them is taken is decided on the
rows of ``select``; one that is to be more useful is looked at once more, on those of ``confirm``.

All of it runs in this process, without Ray and DeepSpeed: a fraction of the run that made the release, so that there is nothing
to share and little to resume.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from cluster import storage
from cluster.session import terminable
from synth import release as releases
from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.manifest import Training
from synth.recipe import Recipe, TrainingRecipe
from synth.release import Release
from synth.sampling import Sampler
from synth.training import prepare as preparing
from synth.training.device import name_of_device
from synth.training.prepare import FEW, MOST_WATCHED, Prepared, Watched
from synth.training.publish import Trained, publish
from synth.training.refining.discriminator import Discriminator
from synth.training.refining.ground import Cure, Ground, Offer, Offers
from synth.training.run import Interrupted
from synth.training.selected import Measured, Selected, Useful
from synth.training.workers import Progress

LOOKED_AT = ("select", "confirm")
LEARNING = TrainingRecipe(batch=1024, learning_rate=2e-3, warmup=20, memory=20)


def refine(
    release: storage.Location,
    data: object,
    out: str,
    *,
    cure: Cure | None = None,
    test: object | None = None,
    budget_s: float = 60.0,
    steps: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda phase, done, facts: None,
) -> Trained:
    """Better the release at ``release`` by a ``cure`` (None: a discriminator) that learns for ``budget_s`` seconds, or so many
    ``steps``, from the rows of ``data`` that the release has learnt from, and publish what that gives at ``out``.

    Raises UserError where the cure is none of this release, the data are others, or nothing that it offers is better on
    ``select`` without covering fewer rows; Interrupted on Ctrl-C. Nothing is published then.
    """
    location = out if "://" in out else str(Path(out).resolve())
    storage.check_free(location, overwrite=overwrite)
    parent = releases.load(release)
    cure = Discriminator() if cure is None else cure
    recipe = _recipe(parent, cure)
    key_note = keys.ready()
    length = {"steps": steps} if steps is not None else {"budget_s": budget_s}
    learning = TrainingRecipe(**(LEARNING.model_dump(exclude={"steps", "budget_s"}) | length))
    try:
        with terminable():
            progress("reading the table", 0.0, {})
            table = _table(parent, recipe, data, test, cure)
            ground = Ground(parent, recipe, table, Sampler.from_release(parent))
            published = _refine(ground, cure, learning, location, overwrite, progress)
    except KeyboardInterrupt as e:
        raise Interrupted(f"stopped; nothing was published, and {parent.location} is as it was") from e
    return published if key_note is None else replace(published, notes=[*published.notes, key_note])


def _refine(
    ground: Ground, cure: Cure, learning: TrainingRecipe, out: str, overwrite: bool, progress: Progress
) -> Trained:
    parent, table, seed = ground.parent, ground.table, ground.recipe.seed
    progress("looking at the release as it is", 0.0, {})
    selected = _looking(table, seed, table.watched, cure)
    before = selected.measure(ground.plain)
    offers, found = cure.offers(ground, learning, progress), list[Measured]()
    for done, offer in enumerate(offers.found, 1):
        progress("choosing", done / (len(offers.found) + 1), {})
        found.append(selected.measure(_sampler(ground, offer)))
    lacks = [after.lacks(before, useful=cure.useful, recall=cure.recall) for after in found]
    helpful = [k for k, lacking in enumerate(lacks) if not lacking]
    if not helpful:
        raise UserError(_refusal(ground, offers, before, found, lacks, selected))
    best = min(helpful, key=lambda k: cure.rank(found[k]))
    offer, device = offers.found[best], name_of_device(torch.device(ground.plain.device))
    tried = ", ".join(one.name for one in offers.found)
    note = (
        f"refined by {offers.by} of {offer.name}, which was chosen among {tried} on {selected.rows:,} select rows: "
        f"{_went(before, found[best])} (coverage of other real rows: {selected.watch.real.coverage:.3f})"
    )
    if cure.useful or table.rows["confirm"] >= FEW:
        confirm = _looking(table, seed + 1, _confirm(ground), cure)
        progress("confirming", 0.0, {})
        once, again = confirm.measure(ground.plain), confirm.measure(_sampler(ground, offer))
        lacking = again.lacks(once, useful=True) if cure.useful else again.loses(once, recall=cure.recall)
        if lacking:
            raise UserError(_refusal(ground, replace(offers, found=[offer]), once, [again], [lacking], confirm))
        note += f"; and on {confirm.rows:,} confirm rows: {_went(once, again)}"
    table.notes.append(note)
    steps, learnt = parent.manifest.training.steps, parent.manifest.real_fraction
    if offers.real is not None:
        learnt = (steps * learnt + offer.steps * offers.real) / (steps + offer.steps)
    return publish(
        offer.recipe.model_copy(update={"refined": f"{cure.name}: {offer.name}, {offer.steps} steps"}),
        table, offer.weights, out,
        training=Training(
            steps=offer.steps, seconds=offer.seconds, workers=1, zero=0, devices=[device], notes=[note]
        ),
        took=f"release {parent.manifest.id[:12]}, refined in {offer.steps:,} steps in {offer.seconds:.0f} s on {device}",
        overwrite=overwrite, progress=progress, parents=[parent.manifest.id],
        # Own rows that a cure moves away from count for nothing that it has learnt to be.
        real_fraction=learnt,
    )  # fmt: skip


def _looking(table: Prepared, seed: int, watched: Watched, cure: Cure) -> Selected:
    return Selected(table.codec, watched, seed, Useful(table, watched.part, seed) if cure.useful else None)


def _confirm(ground: Ground) -> Watched:
    """Of the confirm rows, as many as of the select rows are held against samples, at random."""
    codec, rows = ground.table.codec, ground.table.kept["confirm"]
    chosen = np.random.default_rng(ground.recipe.seed).permutation(len(rows))[:MOST_WATCHED]
    [batch] = rows.take(np.sort(chosen)).combine_chunks().to_batches()
    known = codec.encodable(batch)
    return Watched([codec.encode(batch.filter(pa.array(known)))], "confirm", int((~known).sum()))


def _sampler(ground: Ground, offer: Offer) -> Sampler:
    return Sampler.of(offer.recipe, ground.table.codec, offer.weights)


def _recipe(parent: Release, cure: Cure) -> Recipe:
    """The recipe of a release that can be refined; UserError for others, with what to do instead."""
    recipe = Recipe.check(parent.recipe, where="the release's recipe")
    cure.check(parent, recipe)
    guided = f"diffusion.guidance={recipe.diffusion.guidance:g}" if recipe.diffusion.guidance else None
    if (
        told := recipe.refined or guided
    ) is not None:  # each time takes another look at the same select and confirm rows
        raise UserError(
            f"{parent.location}: was refined already ({told}); refine the release that it was made from, "
            f"{', '.join(p[:12] for p in parent.manifest.parents)}, with a longer --budget"
        )
    if parent.schema.image is not None:
        raise UserError(f"{parent.location}: is of images, and tables alone are refined; train it for longer")
    if made := [entry.location for entry in parent.manifest.data if not entry.real]:
        raise UserError(
            f"{parent.location}: has learnt from synthetic rows, too ({', '.join(made)}), and it takes real ones alone to tell "
            "what samples lack; refine a release of real rows"
        )
    return recipe


def _table(parent: Release, recipe: Recipe, data: object, test: object | None, cure: Cure) -> Prepared:
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
    table = preparing.prepare(sources, schema, recipe, keep=LOOKED_AT)
    found, expected = table.codec.model_dump(mode="json")["columns"], parent.codec["columns"]
    same([a["name"] for a, b in zip(found, expected, strict=True) if a != b], "other values in")
    if cure.useful and table.rows["confirm"] < FEW:
        raise UserError(
            f"{source.location}: the split {recipe.split} leaves {table.rows['confirm']} confirm rows, and it takes {FEW} to "
            "confirm that models learn more: train a release with more of them, such as --split 0.7,0.1,0.1,0.1"
        )
    if table.watched.part != "select":
        raise UserError(
            f"{source.location}: the split {recipe.split} leaves {table.rows['select']} select rows, and it takes {FEW} to "
            "see whether it helps: train a release with more of them, such as --split 0.7,0.1,0.1,0.1"
        )
    return table


def _went(before: Measured, after: Measured) -> str:
    told = [
        f"the two-sample test of boosted trees went from {before} to {after}",
        f"coverage from {before.coverage:.3f} to {after.coverage:.3f}",
    ]
    if before.recall is not None and after.recall is not None:
        told.append(f"recall from {before.recall:.3f} to {after.recall:.3f}")
    if before.utility is not None and after.utility is not None:
        told.insert(0, f"utility went from {before.utility.relative.value:.4f} to {after.utility.relative.value:.4f}")
    return ", ".join(told)


def _refusal(
    ground: Ground, offers: Offers, before: Measured, found: list[Measured], lacks: list[list[str]], on: Selected
) -> str:
    told = [f"{offers.plain}: {before.told}"]
    for offer, measured, lacking in zip(offers.found, found, lacks, strict=True):
        told.append(f"{offer.name}: {measured.told}: {', '.join(lacking) if lacking else 'passed'}")
    steps = max(offer.steps for offer in offers.found)
    return (
        f"{ground.parent.location}: nothing was published, since {offers.by} that learnt for {steps:,} steps offers nothing "
        f"that is better on {on.part} by more than its error and covers no fewer rows:\n  "
        + "\n  ".join(told)
        + "\nGive it a longer --budget; where these figures are near those of real rows already (utility 1, C2ST 0.5, coverage "
        f"{on.watch.real.coverage:.3f}) there is little to refine"
    )
