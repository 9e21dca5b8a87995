"""A study of collapse: chains of generators under several policies, side by side, and what became of them.

    OUT/study.json                                     all that is known
    OUT/report.html                                    the same to look at
    OUT/chains/POLICY-SEED/generation-000.parquet      what a generation drew, from which a chain that was cut goes on

Generations learn from the train part of the table's split alone and are measured on select and confirm; test is left alone.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster import storage
from cluster.session import connected, impatient, result, terminable
from synth.collapse import families
from synth.collapse.chain import Family, chain
from synth.collapse.measures import Judge
from synth.collapse.policies import CONTROL, Policy
from synth.collapse.record import FILE, Asked, Chain, Study
from synth.collapse.report import render
from synth.collapse.trained import RUNS, Trained
from synth.data import sink
from synth.data.constraints import parse
from synth.errors import JobError, UserError
from synth.evaluation.frame import Lens
from synth.recipe import Recipe
from synth.training import allowed, room
from synth.training import prepare as preparing
from synth.training.allowed import Rules
from synth.training.claim import earlier, take
from synth.training.run import Interrupted, check

POLICIES = ("replace", "mix:0.1", "mix:0.5", "accumulate", "accumulate-subsample", "fresh:golden")
MOST, LEAST = 10_000, 100  # rows of a generation where nobody says how many, and in any case
LOOK_S = 1.0
REPORT = "report.html"
GOES_ON = "what was measured is kept: the same command with --resume goes on"
CHAINS = "chains"

Progress = Callable[[str, float, dict[str, Any]], None]


@dataclass(frozen=True)
class Shared:
    """What all chains have in common. ``train``: the compared columns of all rows that may be learnt from."""

    folder: str
    asked: Asked
    train: pa.Table
    family: Family[pa.Table]
    judge: Judge

    def real(self, policy: Policy, seed: int, generation: int) -> pa.Table:
        """The real rows of a generation: of each seed others, and new ones each time where the policy is of fresh rows."""
        size = self.asked.rows
        first = generation * size if policy.kind == "fresh" else 0
        return _shuffled(self.train, self.asked.seed, seed).slice(first, size)


def _shuffled(train: pa.Table, key: int, seed: int) -> pa.Table:
    """The real rows in the order in which the chains of a ``seed`` take them; the first chain's are those of the judge."""
    return train.take(np.random.default_rng([key, seed]).permutation(len(train)))


def collapse(
    data: object, recipe: Recipe, out: str, *, name: str = "mixture", policies: tuple[str, ...] = POLICIES,
    generations: int = 8, seeds: int = 3, rows: int | None = None, address: str | None = None, overwrite: bool = False,
    resume: bool = False, rules: Rules | None = None, progress: Progress = lambda phase, done, facts: None,
) -> tuple[Study, str]:  # fmt: skip
    """Have generators of the family ``name`` learn from their own samples, and measure each generation; the study, and where
    its report is. Of the ``recipe`` the target, the columns' kinds, the split and the seed hold, and all else for a family that
    is trained. The control, which learns from real rows alone, is always among the policies.
    ``rules`` say what may be learnt from, None: the user's.

    UserError for what is wrong with the data, the policies or the place; Interrupted on Ctrl-C.
    """
    chosen = list(dict.fromkeys(str(Policy.parse(text)) for text in (*policies, CONTROL)))
    families.check(name)
    families.check_heeded(name, recipe)
    folder = out if "://" in out else str(Path(out).resolve())
    if storage.exists(storage.join(folder, FILE)) and not (overwrite or resume):
        place = storage.without_credentials(folder)
        raise UserError(f"{place}: holds a study; go on with it by --resume, or replace it with --overwrite")
    earlier(folder, resume=resume, overwrite=overwrite)
    progress("reading the table", 0.0, {})
    recipe = recipe.resolved(test_apart=False)
    sources, schema = preparing.open_sources(data, None, recipe)
    source = sources["train"]
    rules = replace(Rules.read() if rules is None else rules, mixed=False)
    descent = allowed.check(rules, sources)
    if schema.image is not None:
        raise UserError(f"{source.location}: holds images, and the families of a study are of tables")
    prepared = preparing.prepare(sources, schema, recipe, keep=("select", "confirm"))
    allowed.check_prepared(rules, prepared)
    lens = Lens.fit(schema, {"the real rows": prepared.real})
    names = [name for name in schema.names if name in lens.names]  # in the order in which tables are drawn
    train = prepared.real.select(names)
    held = pa.concat_tables([prepared.kept["select"], prepared.kept["confirm"]]).select(names)
    asked = Asked(
        family=name, policies=chosen, generations=generations, seeds=seeds, seed=recipe.seed,
        rows=_size(len(train), chosen, generations, rows),
    )  # fmt: skip
    progress("reading the table", 1.0, {"told": schema.summary()})
    shuffled = _shuffled(train, asked.seed, 0)
    judge = Judge(lens, shuffled.slice(0, asked.rows), held, asked.seed)
    shared = Shared(folder, asked, train, _family(asked, recipe, lens, train, names, folder, address is None), judge)
    others = shuffled.slice(asked.rows, asked.rows)
    study = Study(
        data=Path(str(source.location)).name, target=schema.target, asked=asked, found=[],
        rows={"real": len(train), "held out": len(held)}, real=dict(judge(others)) if len(others) >= LEAST else {},
        notes=list(dict.fromkeys([*schema.notes, *descent, *lens.notes, *judge.notes])),
    )  # fmt: skip
    claim = {"study": asked.model_dump(), "recipe": recipe.sha256(), "data": source.fingerprint()}
    take(folder, claim, resume=resume, overwrite=overwrite)
    try:
        _run(shared, address, lambda done: progress("generations", done, {}))
    except KeyboardInterrupt as e:
        raise Interrupted(f"stopped; {GOES_ON}") from e
    finally:
        study.found = known(folder, asked)
        report = publish(study, folder)
    return study, report


def _family(
    asked: Asked, recipe: Recipe, lens: Lens, train: pa.Table, names: list[str], folder: str, embedded: bool
) -> Family[pa.Table]:
    if asked.family in families.EXACT:
        return families.exact(asked.family, lens, train, asked.rows)
    recipe = recipe.model_copy(update={"family": asked.family}).suited(images=False)
    check(recipe, lens.schema)

    def compared(text: str) -> bool:
        return all(set(constraint.columns) <= set(names) for constraint in parse(text, lens.schema))

    kept = [text for text in lens.schema.constraints if compared(text)]
    columns = [lens.schema[name] for name in names]
    return Trained(recipe, lens.schema.model_copy(update={"columns": columns, "constraints": kept}), folder, embedded)


def publish(study: Study, folder: str) -> str:
    """Write what is known, and where its report is."""
    study.save(folder)
    report = storage.join(folder, REPORT)
    storage.write_bytes(report, render(study).encode())
    return report


def _size(train: int, policies: list[str], generations: int, wanted: int | None) -> int:
    """Rows of a generation. UserError for more than there are, and for too few to learn anything from."""
    fresh = any(Policy.parse(text).kind == "fresh" for text in policies)
    room = train // (generations + 1) if fresh else train
    why = f" for each of {generations + 1} generations, since a policy of fresh rows is among them" if fresh else ""
    if room < LEAST:
        raise UserError(
            f"{train:,} real rows to learn from are {room:,}{why}, and a generation takes {LEAST}: bring more rows, or ask for "
            "fewer --generations, or leave the fresh policies out"
        )
    if wanted is not None and not LEAST <= wanted <= room:
        raise UserError(f"--rows {wanted:,}: a generation takes {LEAST} to {room:,} of the {train:,} real rows{why}")
    return min(MOST, room) if wanted is None else wanted


def _run(shared: Shared, address: str | None, progress: Callable[[float], None]) -> None:
    """All chains, side by side on the cluster; those that were cut go on. JobError where one is lost."""
    every = len(shared.asked.chains) * (shared.asked.generations + 1)
    progress(0.0)
    with connected(address) as ray, terminable():
        trained = shared.asked.family not in families.EXACT
        # A training has a worker of its own, which takes the core; what waits for it takes memory all the same.
        slots = room.spread(room.nodes(ray), 1)[0] if trained else len(shared.asked.chains)
        work, held = ray.remote(num_cpus=int(not trained), max_retries=3)(work_on), ray.put(shared)
        todo, pending = iter(shared.asked.chains), list[Any]()
        try:
            while True:
                pending += [work.remote(held, *one) for one in itertools.islice(todo, slots - len(pending))]
                if not pending:
                    break
                ready, pending = ray.wait(pending, timeout=LOOK_S)
                for one in ready:
                    result(one, f"a chain of generations ({GOES_ON})")
                progress(_measured(shared.folder) / every)
        finally:
            for one in pending:  # whoever stops wants the cores back
                ray.cancel(one, force=True)
            _tidy(shared.folder)
    if (there := _measured(shared.folder)) < every:
        raise JobError(
            f"{storage.without_credentials(shared.folder)}: {every - there} generations were written where this machine does "
            "not see them; give --out a URI that all nodes share"
        )


def _tidy(folder: str) -> None:
    """Take away what trainings that were cut have left."""
    place = storage.join(folder, RUNS)
    for run in {name.partition("/")[0] for name in _files(place)}:
        storage.remove_tree(storage.join(place, run))


def _measured(folder: str) -> int:
    """How many generations are."""
    return sum(name.endswith(".json") for name in _files(storage.join(folder, CHAINS)))


def _files(place: str) -> dict[str, int]:
    return storage.list_files(place) if storage.exists(place) else {}


def known(folder: str, asked: Asked) -> list[Chain]:
    """What was measured so far of each chain."""
    chains = []
    for policy, seed in asked.chains:
        told = _told(_place(folder, policy, seed), asked.generations)
        figures, seconds = [one["figures"] for one in told], [one["seconds"] for one in told]
        chains.append(Chain(policy=policy, seed=seed, figures=figures, seconds=seconds))
    return chains


def work_on(shared: Shared, policy: str, seed: int) -> None:
    """One chain, from where it was cut or from its beginning."""
    from threadpoolctl import threadpool_limits

    impatient()
    given, asked, place = Policy.parse(policy), shared.asked, _place(shared.folder, policy, seed)
    drawn = [_drawn(place, g).cast(shared.train.schema) for g in range(len(_told(place, asked.generations)))]
    if not storage.is_remote(place):
        Path(place).mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):  # a core is what a chain has asked for
        began = time.perf_counter()
        for number, (model, rows) in enumerate(
            chain(
                shared.family, given, lambda g: shared.real(given, seed, g), asked.generations,
                lambda g: np.random.default_rng([asked.seed, seed, g]), drawn=drawn, draws=asked.rows,
            ), len(drawn),
        ):  # fmt: skip
            seconds = time.perf_counter() - began
            sink.write(rows.to_batches(), rows.schema, storage.join(place, f"{_name(number)}.parquet"), "parquet")
            told = {"figures": dict(shared.judge(rows, model)), "seconds": seconds}
            # Last: with it the generation is whole.
            storage.write_bytes(
                storage.join(place, f"{_name(number)}.json"), json.dumps(told, allow_nan=False).encode()
            )
            began = time.perf_counter()


def _place(folder: str, policy: str, seed: int) -> str:
    return storage.join(folder, f"{CHAINS}/{policy.replace(':', '-')}-{seed}")


def _name(generation: int) -> str:
    return f"generation-{generation:03}"


def _told(place: str, generations: int) -> list[dict[str, Any]]:
    """What is known of the generations of a chain, up to the first that is not whole."""
    there, told = _files(place), list[dict[str, Any]]()
    while len(told) <= generations and f"{_name(len(told))}.json" in there:
        told.append(json.loads(storage.read_bytes(storage.join(place, f"{_name(len(told))}.json"))))
    return told


def _drawn(place: str, generation: int) -> pa.Table:
    """What a generation drew, in the types that Parquet has."""
    filesystem, path = storage.resolve(storage.join(place, f"{_name(generation)}.parquet"))
    return pq.read_table(path, filesystem=filesystem)
