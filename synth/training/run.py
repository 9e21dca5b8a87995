"""The main job: a table in, a certified release out.

    open, infer  ──►  split, fit, encode  ──►  Ray Train × DeepSpeed  ──►  sample, certify  ──►  publish
                      (while Ray starts)

What of this reads a table that is too large to be held runs on the cluster, which is joined first then.

Nothing appears at ``out`` until the release is complete. Until then the run lives beside it, at ``<out>.run``: its
checkpoints, and a marker that says which recipe and data it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.session import connected, terminable
from synth.data.passes import here, on_cluster
from synth.data.schema import Schema
from synth.data.source import Source
from synth.errors import JobError, UserError
from synth.provenance import keys
from synth.provenance.lineage import Parting
from synth.provenance.manifest import Selection, Training, Watched
from synth.recipe import Recipe
from synth.training import allowed, mixing, room, workers
from synth.training import prepare as preparing
from synth.training.allowed import Rules
from synth.training.claim import earlier, take
from synth.training.mixing import Given
from synth.training.parting import split_of
from synth.training.prepare import Prepared
from synth.training.publish import Trained, publish
from synth.training.schedule import ended
from synth.training.snapshot import CHECKPOINTS
from synth.training.workers import Progress

STORE = "encoded"  # the folder of a run that holds the rows of a table which is streamed
UNPUBLISHED = "trained, not yet published; the same command with --resume publishes it"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; the message says what was kept and how to go on with it."""


def train(
    data: object,
    recipe: Recipe,
    out: str,
    *,
    test: object | None = None,
    synthetic: Sequence[Given] = (),
    rules: Rules | None = None,
    address: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = lambda phase, done, facts: None,
) -> Trained:
    """Train a generator on ``data`` (see ``synth.data.source.open_source``) and publish its release at ``out``.
    ``synthetic`` rows take part in the training alone, with the weight that the recipe's ``mix`` leaves them; what may be
    learnt from ``rules`` say, None: those of the user's policy.

    Raises UserError for anything wrong with the data, the recipe or the place, before Ray starts where it can be known
    then; Interrupted on Ctrl-C.
    """
    check_guidance(recipe)
    check_synthetic(recipe, synthetic)
    recipe = recipe.resolved(test_apart=test is not None)
    location = out if "://" in out else str(Path(out).resolve())
    storage.check_free(location, overwrite=overwrite)
    run = storage.append(location, ".run")
    earlier(run, resume=resume, overwrite=overwrite)  # before the table is read, which may take long
    progress("reading the table", 0.0, {})
    source = preparing.open_train(data, test, recipe)
    held, told = preparing.is_held(source, recipe)
    progress("reading the table", 0.0, {"told": [told]})
    with ExitStack() as early:
        over, store = here, None
        if not held:
            store = storage.join(run, STORE)
            if preparing.spreads(source, embedded=address is None):
                progress("starting Ray", 0.0, {})
                ray = early.enter_context(connected(address))
                # Tasks wait for nodes without end, also for those that can never be; the workers' are there for them.
                room.find(ray, recipe.training.least, progress, embedded=address is None)
                over = on_cluster(lambda what, done: progress(what, done, {}))
        sources, schema = preparing.describe(source, test, recipe, over, synthetic)
        progress("reading the table", 1.0, {"told": schema.summary()})
        recipe = recipe.suited(images=schema.image is not None)
        claim: dict[str, Any] = {
            "recipe": _claimed(recipe).sha256(),
            "data": {name: s.fingerprint() for name, s in sources.items()},
        }
        check(recipe, schema)
        _check_mixed(recipe, sources, held)
        rules = Rules.read() if rules is None else rules
        parting = Parting.of(split_of(recipe), schema)
        descent = allowed.check(rules, sources, synthetic, recipe.mix, parting)
        key_note = keys.ready()  # now: a key that cannot be used should not cost the training first
        if synthetic:
            claim["synthetic"] = [one.weight for one in synthetic]
        take(run, claim, resume=resume, overwrite=overwrite)

        def prepare() -> Prepared:
            table = preparing.prepare(sources, schema, recipe, store=store, over=over, synthetic=synthetic)
            allowed.check_prepared(rules, table)
            table.notes += descent
            return table

        # What reads in this process needs no Ray, and does not wait for it. Passes of the cluster end with it, which an
        # interruption of this thread has them do.
        prepared = workers.in_background(prepare).result if held else prepare
        published = _run(recipe, prepared, location, run, address, overwrite, progress)
    return published if key_note is None else replace(published, notes=[*published.notes, key_note])


def _run(
    recipe: Recipe,
    prepared: Callable[[], Prepared],
    location: str,
    run: str,
    address: str | None,
    overwrite: bool,
    progress: Progress,
) -> Trained:
    """Train on what ``prepared`` returns and publish; what is left of the run where that fails is said."""
    try:
        progress("starting Ray", 0.0, {})
        with connected(address) as ray, terminable():
            table = prepared()
            facts = workers.fit(ray, recipe, table, run, progress, embedded=address is None)
    except workers.NeverLearntError:
        storage.remove_tree(run)
        raise
    except BaseException as e:
        outlook = _left(run)
        if isinstance(e, KeyboardInterrupt):
            raise Interrupted(f"stopped; {outlook}") from e
        if isinstance(e, JobError):
            raise JobError(f"{e}\n{outlook}") from e
        raise
    if facts["stopped"]:
        raise Interrupted(f"stopped at step {facts['step']}; nothing is lost: the same command with --resume goes on")
    if facts["asked"]:  # too late to stop the training
        raise Interrupted(UNPUBLISHED)
    weights = facts.pop("weights")
    try:
        with terminable():
            published = publish_run(recipe, table, weights, facts, location, overwrite=overwrite, progress=progress)
    except KeyboardInterrupt as e:
        raise Interrupted(UNPUBLISHED) from e
    except UserError as e:
        raise UserError(f"{e}\n{UNPUBLISHED}") from e
    storage.remove_tree(run)
    # For the person at work, and not for those who read the certificate.
    return replace(published, notes=[*published.notes, *facts["notes"]])


def check(recipe: Recipe, schema: Schema) -> None:
    """UserError for what a recipe asks for that a training on such a table cannot do."""
    check_guidance(recipe)
    _check_network(recipe, schema)
    _check_target(recipe, schema)


def check_guidance(recipe: Recipe) -> None:
    """UserError for what takes a release."""
    if recipe.refined is not None:
        raise UserError(
            f"refined={recipe.refined!r}: is what a release was refined by, and no training is; leave it out, and refine the "
            "release then: artesian refine"
        )
    for key, cure in {"guidance": "discriminator", "contrast": "sims", "tutored": "gradients"}.items():
        if value := getattr(recipe.diffusion, key):
            what = "discriminator" if key == "guidance" else "network for it"
            raise UserError(
                f"diffusion.{key}={value:g}: there is no {what} before there is a release; train with diffusion.{key}=0, then "
                f"refine the release: artesian refine --by {cure}"
            )


def check_synthetic(recipe: Recipe, synthetic: Sequence[Given]) -> None:
    """UserError for what a recipe says of synthetic rows where there are none."""
    asked = {"mix": "golden", "verify": None, "subset": None, "finetune": 0.0}
    for key, without in asked.items():
        if not synthetic and getattr(recipe, key) != without:
            raise UserError(
                f"{key}={getattr(recipe, key)}: there are no synthetic rows to mix real ones with; name some by "
                "--synthetic FILE"
            )


def _check_network(recipe: Recipe, schema: Schema) -> None:
    """UserError for a network that the certificate could not compare images by: before the training, not after."""
    network = recipe.image.features
    if network is None:
        return
    if schema.image is None:
        raise UserError(f"image.features={network!r}: there are no images to compare by it; leave it out")
    from synth.evaluation.image_features import given
    from synth.evaluation.image_rows import image_shape

    given(network, image_shape(schema), 0)


def _check_target(recipe: Recipe, schema: Schema) -> None:
    """UserError for a family's option that needs a class where there is none."""
    wanted = recipe.settings(images=schema.image is not None).classified
    if wanted is None or schema.task == "classification":
        return
    found = "there is none" if schema.target is None else f"'{schema.target}' is a {schema[schema.target].kind} column"
    raise UserError(
        f"{wanted}: needs a target that is a class, and {found}; name a categorical one with --target, or set "
        f"{wanted.partition('=')[0]}=0"
    )


def _check_mixed(recipe: Recipe, sources: Mapping[str, Source], held: bool) -> None:
    """UserError for tables that are mixed and are more than a worker holds, all together."""
    mixed = [source for name, source in sources.items() if name.startswith(mixing.NAME)]
    size = sum(preparing.size_of(source, recipe) for source in (sources["train"], *mixed))
    if mixed and (not held or size > recipe.training.hold_mib):
        raise UserError(
            f"{sources['train'].location} and the synthetic rows: {size:,.0f} MiB when encoded, beyond "
            f"training.hold_mib={recipe.training.hold_mib:,}, and rows that are streamed are not mixed: raise it, or take a "
            "sample of the rows"
        )


def _claimed(recipe: Recipe) -> Recipe:
    """The recipe, but for what may change from one start of a run to the next: how many workers, and how sharded."""
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"workers": 1, "zero": 0})})


def _left(run: str) -> str:
    """What can be done with a run that ended early; one without a checkpoint is taken away."""
    try:
        if CHECKPOINTS in storage.list_files(run):
            return "what was saved is kept: the same command with --resume goes on"
        storage.remove_tree(run)
    except (UserError, OSError) as e:  # the storage may be what failed, and the first error is the one to show
        return f"whether anything was saved cannot be seen: {e}"
    return "no checkpoint was saved yet, so there is nothing to resume: start anew"


def publish_run(
    recipe: Recipe,
    table: Prepared,
    weights: Mapping[str, Any],
    facts: Mapping[str, Any],
    out: str,
    *,
    overwrite: bool,
    progress: Progress,
    selection: Selection | None = None,
) -> Trained:
    """Certify and publish what was trained, with what the run took, as its ``facts`` say; ``selection`` is how its recipe
    was chosen among others."""
    # As the last steps were taken, which may have been in an earlier start.
    ways = {"workers": facts["workers"], "zero": facts["zero"]}
    total = facts.get("total", facts["step"])  # as far as it is known
    shortened = ended(facts["step"], total, facts["shortened"], recipe.training.decay)
    length = {"steps": facts["step"], "budget_s": None, "shortened": shortened}
    resolved = recipe.training.model_copy(update=length | ways)
    recipe = recipe.model_copy(update={"training": resolved})
    watched = facts["checks"]["watched"] and Watched.model_validate(facts["checks"]["watched"])
    training = Training(
        steps=facts["step"], seconds=facts["elapsed_s"], workers=facts["workers"], watched=watched,
        zero=facts["zero"], sharding=facts["sharding"], devices=[facts["device"]], notes=facts["notes"],
        selection=selection,
    )  # fmt: skip
    took = (
        f"{facts['step']:,} steps of {recipe.training.batch:,} rows in {facts['elapsed_s']:.0f} s, "
        f"{facts['workers']} worker(s), ZeRO {facts['zero']}, {facts['precision']} on {facts['device']}"
    )
    return publish(
        recipe,
        table,
        weights,
        out,
        training=training,
        took=took,
        overwrite=overwrite,
        progress=progress,
        real_fraction=(real := allowed.real_share(table))
        and 1 - (1 - real) * (1 - facts.get("alone", 0) / facts["step"]),
    )
