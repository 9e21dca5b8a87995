"""A search over recipes for one table, from the table to the release of what it found.

    open, split  ──►  trials, scored on select  ──►  the best and the default, trained for the rest of the budget and sampled
                                             in other ways  ──►  finalists on confirm  ──►  release, certified on test

Trials never see the rows of ``confirm``, and nothing but the certificate sees those of ``test``. All that is known lies in
``<out>.study``: the record, its report, and a run a trial with its checkpoints. Where the driver dies, ``resume`` goes on.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
from ray.exceptions import RayError

from cluster import storage
from cluster.machine import usable_cores
from cluster.session import connected, terminable
from synth.data.hashing import hash_rows
from synth.errors import JobError, UserError
from synth.provenance import keys
from synth.recipe import Recipe
from synth.training import allowed, room, workers
from synth.training import prepare as preparing
from synth.training.allowed import Rules
from synth.training.claim import earlier, take
from synth.training.prepare import Prepared
from synth.training.publish import Trained
from synth.training.run import Interrupted, check_guidance, check_synthetic
from synth.training.stored import record
from tuning import space
from tuning.driver import REPORT, Driver, Method, Show
from tuning.features import describe
from tuning.ideas import Ideas, remembered
from tuning.memory import remember
from tuning.objective import Objective
from tuning.plan import plan
from tuning.record import FILE, Study
from tuning.table import Table

GOES_ON = "what is finished is kept: the same command with --resume goes on"
OBJECTIVES = ("utility", "coverage", "privacy")
FAMILIES = tuple(space.TABLES)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a study: how long, which families, what counts, at most how many trials; where earlier studies are
    remembered (None: nowhere), whether recipes beyond the hand-written spaces are bred; and whether trials are stopped
    early (successive halving) or change while they train (population-based)."""

    budget_s: float
    families: Sequence[str] = FAMILIES
    objective: Sequence[str] = ("utility",)
    trials: int | None = None
    store: str | None = None
    evolve: bool = False
    method: Method = "halving"

    def claim(self) -> dict[str, object]:
        """What a search goes on with, as JSON has it; where it is remembered may change."""
        asked = asdict(self) | {"families": list(self.families), "objective": list(self.objective)}
        return {name: value for name, value in asked.items() if name != "store"}


@dataclass(frozen=True)
class Tuned:
    """What a study published, its record, and where its report is."""

    trained: Trained
    study: Study
    report: str


def tune(
    data: object,
    recipe: Recipe,
    out: str,
    wanted: Wanted,
    *,
    test: object | None = None,
    address: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    choose: int | None = None,
    rules: Rules | None = None,
    show: Show = lambda study, moment, left, phase: None,
) -> Tuned:
    """Search, decide and publish at ``out``. What is set in ``recipe`` holds for every trial. With ``choose``, nothing is
    searched: of the study that was, this trial is published. ``rules`` are those of what may be learnt from, None: the user's.

    Raises UserError for what is wrong with the data, the recipe, the place or the budget; Interrupted on Ctrl-C.
    """
    began = time.monotonic()
    check(recipe, wanted)
    base, recipe = recipe, recipe.resolved(test_apart=test is not None)
    if address is None:  # before Ray is started for nothing
        plan(wanted.budget_s, [(usable_cores(), 0)], workers=recipe.training.most, trials=wanted.trials)
    location = out if "://" in out else str(Path(out).resolve())
    folder = storage.append(location, ".study")
    storage.check_free(location, overwrite=overwrite)
    resume = resume or choose is not None
    earlier(folder, resume=resume, overwrite=overwrite)
    key_note = keys.ready()
    source = preparing.open_train(data, test, recipe)
    sources, schema = preparing.describe(source, test, recipe)
    rules = replace(Rules.read() if rules is None else rules, mixed=False)
    descent = allowed.check(rules, sources)
    if schema.image is not None:
        raise UserError(f"{source.location}: images have no search space; train them: artesian train")
    if not preparing.is_held(source, recipe)[0]:
        raise UserError(
            f"{source.location}: is larger than training.hold_mib={recipe.training.hold_mib:,}, and every trial holds the "
            "table: raise it, or tune on a sample of the rows"
        )
    claim: dict[str, object] = {"recipe": recipe.sha256(), "data": {k: s.fingerprint() for k, s in sources.items()}}
    if choose is None:
        claim["search"] = wanted.claim()
    take(folder, claim, resume=resume, overwrite=overwrite)
    pasts = remembered(wanted.store)

    def prepare() -> Prepared:
        table = preparing.prepare(sources, schema, recipe, keep=("select", "confirm"))
        allowed.check_prepared(rules, table)
        return table

    prepared = workers.in_background(prepare).result
    with connected(address) as ray, terminable():
        rows = prepared()

        def judge(part: str) -> Objective:
            return Objective(schema, rows.real, rows.kept[part], part=part, seed=recipe.seed)

        selecting = judge("select")
        if resume and storage.exists(storage.join(folder, FILE)):
            study = Study.load(folder)
        else:  # also where an earlier start did not come as far as its first record
            study = begun(recipe, base, wanted, rows, selecting.real)
        spread = plan(
            study.budget_s, room.nodes(ray), workers=recipe.training.most, trials=wanted.trials,
            size=rows.rows["train"] * record(rows.codec.layout).itemsize,
        )  # fmt: skip
        if study.rungs:  # on a cluster of another size, too: trials are compared by what they reached at the same rung
            spread = replace(spread, rungs=tuple(study.rungs))
        study.slots, study.rungs = spread.slots, list(spread.rungs)
        driver = Driver(
            ray, study, spread, Table(sources, schema, base, test is not None, descent), folder, show,
            on_confirm=lambda: judge("confirm"), began=began - study.spent_s, embedded=address is None,
        )  # fmt: skip
        try:
            if choose is not None:
                driver.choose(choose)
            elif not study.decided:
                if study.long_s is None:
                    ideas = Ideas(study, spread, wanted.families, space.settings(base), pasts, evolved=wanted.evolve)
                    driver.search(selecting, wanted.families, wanted.trials, ideas, wanted.method)
                driver.lengthen(selecting)
                driver.decide()
            trained = driver.release(location, overwrite=overwrite)
        except KeyboardInterrupt as e:
            driver.save()
            raise Interrupted(f"stopped; {GOES_ON}") from e
        except (JobError, RayError) as e:
            driver.save()
            raise JobError(f"{e}\n{GOES_ON}") from e
    notes = list(trained.notes) if key_note is None else [*trained.notes, key_note]
    if wanted.store is not None:
        try:
            remember(wanted.store, study)
        except UserError as e:  # the release is there all the same
            notes.append(f"the study is not remembered: {e}")
    return Tuned(replace(trained, notes=notes), study, storage.join(folder, REPORT))


def check(recipe: Recipe, wanted: Wanted) -> None:
    """UserError for what cannot be searched."""
    check_guidance(recipe)
    check_synthetic(recipe, ())
    for family in wanted.families:
        space.space(family)
    if unknown := [part for part in wanted.objective if part not in OBJECTIVES]:
        raise UserError(f"--objective {','.join(unknown)}: is none of {', '.join(OBJECTIVES)}")
    if "utility" not in wanted.objective:
        raise UserError(
            f"--objective {','.join(wanted.objective)}: lacks utility, by which trials are stopped and finalists chosen; add it"
        )
    if "family" in recipe.model_fields_set and list(wanted.families) != [recipe.family]:
        raise UserError(
            f"family={recipe.family}: is set, and --families asks for {', '.join(wanted.families)}; give --families "
            f"{recipe.family}, or leave family out"
        )
    if wanted.method not in (ways := get_args(Method)):
        raise UserError(f"--method {wanted.method}: is none of {', '.join(ways)}")
    if recipe.target is None:
        raise UserError(
            "a search needs a target, by which samples are told to be useful or not: name one with --target"
        )
    for key in ("steps", "budget_s"):
        if (given := getattr(recipe.training, key)) is not None:
            raise UserError(f"training.{key}={given}: how long trials train follows from --budget; leave it out")


def begun(recipe: Recipe, base: Recipe, wanted: Wanted, rows: Prepared, real: dict[str, float]) -> Study:
    """The record of a study before its first trial."""
    schema = rows.schema
    assert schema.target is not None and schema.task is not None
    return Study(
        id=secrets.token_hex(8),
        created=datetime.now(UTC),
        data=storage.without_credentials(rows.sources["train"].location),
        key=split_key(rows, recipe),
        recipe=base.model_dump(exclude_unset=True),
        target=schema.target,
        task=schema.task,
        rows=rows.rows,
        features=describe(schema, rows.real, seed=recipe.seed),
        real=real,
        objective=list(wanted.objective),
        budget_s=wanted.budget_s,
        slots=1,
        rungs=[],
    )


def split_key(rows: Prepared, recipe: Recipe) -> str:
    """Names the rows that decide: of each part its size and the sum of its rows' hashes, whatever their order, with the
    shares and the seed that dealt them. Tables that differ in a row there have different ones."""
    parts: dict[str, pa.Table] = {**rows.kept, "test": rows.test}
    sums = [f"{name}={part.num_rows}:{_sum(part, recipe.seed):016x}" for name, part in sorted(parts.items())]
    return " ".join([*sums, f"split={recipe.split}", f"seed={recipe.seed}"])


def _sum(part: pa.Table, seed: int) -> int:
    total = np.zeros((), np.uint64)
    for batch in part.to_batches():
        total = total + hash_rows(batch, seed).sum(dtype=np.uint64)  # modulo 2^64
    return int(total)
