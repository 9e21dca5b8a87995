"""Artesian: generators of synthetic data that are trained, certified and watched.

    import artesian
    model = artesian.train("adult.parquet", target="income", budget="4m", out="adult-release")
    frame = model.sample(10_000, seed=1)                 # pandas; model.table(…) gives Arrow

The ``artesian`` command does the same; ``artesian --help`` lists what it can do.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
import typer.core

import cluster.commands
import serving.commands
import serving.key_commands
import synth.collapse.commands
import synth.commands
import synth.provenance.commands
import tuning.commands
from synth.errors import JobError, ReleaseError, UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from synth.asking import Quality
    from synth.balance import Balance
    from synth.data.conditions import Where
    from synth.evaluation.certificate import Certificate
    from synth.release import Release
    from synth.training.allowed import Rules

logger = logging.getLogger(__name__)

__all__ = ["Model", "UserError", "evaluate", "load", "refine", "serve", "train", "tune"]


class Model:
    """A release, ready to draw from."""

    def __init__(self, release: Release) -> None:
        from synth.sampling import Sampler

        self.release = release
        self._sampler = Sampler.from_release(release)

    def sample(
        self, rows: int, *, seed: int = 0, where: Where | None = None, balance: Balance | None = None,
        rare: Where | None = None, boost: float = 1.0, quality: Quality = "best",
    ) -> pd.DataFrame:  # fmt: skip
        """``rows`` synthetic rows as a pandas frame; the same seed gives the same rows.

        Every row meets ``where``: a clause such as ``"age>=65"``, several, or a mapping (``{"income": ">50K"}``). With
        ``balance``, a column or ``{"income": {"<=50K": 0.5, ">50K": 0.5}}``, its classes come in equal or given shares; with
        ``rare``, an event comes ``boost`` times as often as the model has it. Both add the column ``_weight``: how many of
        the model's rows a row stands for. ``quality`` "fast" draws rows of which nothing is asked by the release's student.
        UserError for what is unknown, impossible or too rare, and where there is no student.

        Whole numbers with missing values come as pandas' nullable ones, which floats would round beyond 2^53.
        Images come as NumPy arrays, uint8 of (height, width) or (height, width, 3), as ``train`` takes them.
        """
        table, schema = (
            self.table(rows, seed=seed, where=where, balance=balance, rare=rare, boost=boost, quality=quality),
            self._sampler.schema,
        )
        frame = _frame(table)
        if schema.image is not None and (shape := schema[schema.image].shape) is not None:
            from synth.data.images import array_of

            images = [image for chunk in table[schema.image].chunks for image in array_of(chunk, shape)]
            frame[schema.image] = [image[..., 0] for image in images] if shape[-1] == 1 else images
        return frame

    def table(
        self, rows: int, *, seed: int = 0, where: Where | None = None, balance: Balance | None = None,
        rare: Where | None = None, boost: float = 1.0, quality: Quality = "best",
    ) -> pa.Table:  # fmt: skip
        """The same as an Arrow table; images as their pixels, row by row, in the shape of the schema.

        Its schema's metadata are the rows' signed origin, which Parquet and Arrow files of it keep. Rows are logged, those of
        ``sample``, too (see ``synth.provenance.served``). Where either cannot be, that is a warning.
        """
        import pyarrow as pa

        from synth.provenance.served import Log, logged

        request = self._sampler.ask(where=where, balance=balance, rare=rare, boost=boost, quality=quality)
        key = None if request is None else request.key
        words: dict[str, Any] = {"where": where, "balance": balance, "rare": rare}
        words |= ({"boost": boost} if rare else {}) | ({} if quality == "best" else {"quality": quality})
        # First, for it makes the key where there is none yet, without which nothing is logged.
        schema = self._signed(self._sampler.arrow(request), rows, seed, key, words)
        batches = self._sampler.batches(rows, seed=seed, request=request)
        drawn = list(logged(self.release, batches, seed, key, log_of=Log.where_possible))
        return pa.Table.from_batches(drawn, self._sampler.arrow(request)).cast(schema)

    def _signed(self, schema: pa.Schema, rows: int, seed: int, key: str | None, words: Mapping[str, Any]) -> pa.Schema:
        """The schema with the origin of so many rows, or as it is where there can be none."""
        from synth.provenance.origin import Signed

        asked = {name: _plain(value) for name, value in words.items()}
        try:
            signed = Signed.of(self.release.manifest, seed=int(seed), first=0, rows=int(rows), key=key, asked=asked)
        except (UserError, ValueError) as e:  # ValueError: a seed or a number of rows that no origin can have
            logger.warning("%s: drawn rows carry no origin: %s", self.release.manifest.name, e)
            return schema
        return signed.into(schema)

    def fill(self, data: Any, *, seed: int = 0) -> pd.DataFrame:
        """A table (a pandas frame, an Arrow table or a path) with its missing cells drawn given what is known, and with the
        columns that it lacks. Known values, and columns that the release has not learnt, stay as they are.

        ``frame.attrs["notes"]`` say how many cells were filled, and which values the release had never seen.
        """
        import pyarrow as pa

        from synth.data.source import open_source
        from synth.filling import Filling

        filling = Filling(self._sampler, open_source(data, as_text=self._sampler.schema.text_columns), seed)
        frame = _frame(pa.Table.from_batches(filling.batches(), filling.schema))
        frame.attrs["notes"] = filling.notes
        return frame

    @property
    def certificate(self) -> Certificate:
        """What was measured when the release was made."""
        from synth.evaluation.certificate import Certificate

        name = f"{self.release.location}: certificate.json"
        if self.release.certificate is None:
            raise UserError(f"{name}: this release was published without one")
        try:
            return Certificate.model_validate(self.release.certificate)
        except ValueError as e:
            raise ReleaseError(f"{name}: is of another version or shape: {e}") from e


def _plain(value: Any) -> Any:
    """What was asked, as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    kept = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if kept else str(value)


def _frame(table: pa.Table) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    gaps = {c.type for c in table.columns if pa.types.is_integer(c.type) and c.null_count}
    nullable = {kind: pd.array([], dtype=str(kind).replace("i", "I").replace("u", "U")).dtype for kind in gaps}
    return table.to_pandas(types_mapper=nullable.get)


def train(
    data: Any,
    *,
    out: str | os.PathLike[str],
    target: str | None = None,
    test: Any = None,
    synthetic: Any = None,
    policy: str | os.PathLike[str] | None = None,
    ancestors: Sequence[str | os.PathLike[str]] = (),
    allow_missing_parent: bool = False,
    budget: str | None = None,
    recipe: str | os.PathLike[str] | None = None,
    address: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    **keys: Any,
) -> Model:
    """Train on a file, folder, URI, pandas frame or Arrow table, and return the release published at ``out``.

    Images are a folder of files, a column of encoded ones, or arrays, such as ``{"image": x, "label": y}`` with x uint8
    of (n, height, width) or (n, height, width, 3).

    ``synthetic`` rows are learnt from, too, of which the recipe's ``mix`` says how much: a table, a list of them, or of pairs
    ``(table, weight)``. What may be learnt from says ``policy``, a file, None: the user's; the releases that the rows were
    drawn from are looked for beside them and in the folders ``ancestors``, and with ``allow_missing_parent`` one that is out
    of reach is but recorded.

    ``keys`` are recipe keys, with ``__`` for the dot: ``seed=1``, ``training__workers=2``, ``categorical=["zip"]``.
    Raises UserError for what is wrong with the data or the recipe, and for what the policy does not allow.
    """
    from synth.recipe import Recipe, seconds, together
    from synth.training import mixing, run

    flags = {"target": target, "training.budget_s": None if budget is None else seconds(budget)}
    overrides = together({key.replace("__", "."): value for key, value in keys.items()}, flags)
    checked = Recipe.read(str(recipe) if recipe is not None else None, overrides)
    rules = _rules(policy, ancestors, allow_missing_parent)
    trained = run.train(
        data, checked, os.fspath(out), test=test, synthetic=mixing.listed(synthetic), rules=rules, address=address,
        overwrite=overwrite, resume=resume,
    )  # fmt: skip
    return load(trained.location)


def _rules(policy: str | os.PathLike[str] | None, ancestors: Sequence[str | os.PathLike[str]], missing: bool) -> Rules:
    from synth.training.allowed import Rules

    return Rules.read(
        None if policy is None else os.fspath(policy), [os.fspath(one) for one in ancestors], missing=missing
    )


def tune(
    data: Any,
    *,
    target: str,
    out: str | os.PathLike[str],
    budget: str = "30m",
    families: Sequence[str] = ("diffusion", "gan", "vae"),
    objective: Sequence[str] = ("utility",),
    trials: int | None = None,
    test: Any = None,
    policy: str | os.PathLike[str] | None = None,
    ancestors: Sequence[str | os.PathLike[str]] = (),
    allow_missing_parent: bool = False,
    memory: str | os.PathLike[str] | None = "default",
    address: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    **keys: Any,
) -> Model:
    """Search families and hyper-parameters by how well models trained on the samples do on real rows, and return the release
    published at ``out``; beside it, ``out.study`` holds the record and its report.

    ``keys`` are recipe keys, as of ``train``; what they set is not searched. ``policy``, ``ancestors`` and
    ``allow_missing_parent`` are as there, too. ``memory`` is where studies are remembered, None for nowhere. Raises UserError
    for what is wrong with the data, the recipe or the budget, and for what the policy does not allow.
    """
    from synth.recipe import Recipe, seconds, together
    from tuning import study
    from tuning.memory import default_store

    recipe = Recipe.read(None, together({k.replace("__", "."): v for k, v in keys.items()}, {"target": target}))
    store = default_store() if memory == "default" else None if memory is None else os.fspath(memory)
    wanted = study.Wanted(seconds(budget), families, objective, trials, store)
    tuned = study.tune(
        data, recipe, os.fspath(out), wanted, test=test, rules=_rules(policy, ancestors, allow_missing_parent),
        address=address, overwrite=overwrite, resume=resume,
    )  # fmt: skip
    return load(tuned.trained.location)


@contextmanager
def serve(
    *releases: str | os.PathLike[str], host: str = "127.0.0.1", port: int = 8000, keys: str | os.PathLike[str] | None = None,
    policy: str = "warn", address: str | None = None, **settings: Any,
) -> Iterator[str]:  # fmt: skip
    """Serve releases over HTTP for as long as the block lasts, at the URL that it gets.

        with artesian.serve("customers-release", port=0) as url: ...

    ``settings`` are those of ``serving.settings``, such as ``replicas=(1, 4)``. Raises UserError for what is wrong with them,
    ReleaseError for a release that is damaged or of a signer who is not known here.
    """
    from serving.launch import running, settings_of

    given = {"host": host, "port": port, "policy": policy, **({} if keys is None else {"keys": os.fspath(keys)})}
    with running(settings_of([os.fspath(r) for r in releases], None, given | settings), address) as url:
        yield url


def refine(
    release: str | os.PathLike[str], data: Any, *, out: str | os.PathLike[str], test: Any = None, budget: str = "1m",
    steps: int | None = None, by: str | None = None, feedback: Any = None, criteria: Sequence[str] = (),
    overwrite: bool = False,
) -> Model:  # fmt: skip
    """Better a release of a table by what real rows say of its samples, and return the release published at ``out``.

    ``data``, and ``test`` where they came apart, are the tables that the release was trained with. ``by`` is "discriminator",
    which guides the sampler, "neon" or "sims", away from what the release becomes when it learns from its own rows,
    "gradients" of a classifier, or "feedback" of a model of the target: ``feedback`` is "train", the path of a ``.skops``
    file, or a fitted estimator, and ``criteria`` what of it is learnt from ("targets", "practice", "entropy", "loss",
    "hardness"). It learns for the ``budget``, or so many ``steps``. Raises UserError where the tables are others, and where
    nothing is better on the select rows (and, with feedback, on the confirm rows) without covering fewer of them: nothing is
    published then.
    """
    from synth.recipe import seconds
    from synth.training.refine import refine
    from synth.training.refining.named import cure

    refined = refine(
        os.fspath(release), data, os.fspath(out), cure=cure(by, feedback, criteria), test=test, budget_s=seconds(budget),
        steps=steps, overwrite=overwrite,
    )  # fmt: skip
    return load(refined.location)


def load(release: str | os.PathLike[str]) -> Model:
    """A verified release, ready to draw from; ReleaseError names the file if it was altered."""
    from synth import release as releases

    return Model(releases.load(os.fspath(release)))


def evaluate(
    real: Any, synthetic: Any, *, test: Any, target: str | None = None, seed: int = 0,
    categorical: Sequence[str] = (), numerical: Sequence[str] = (), datetime: Sequence[str] = (),
    id: Sequence[str] = (), exclude: Sequence[str] = (), size: int | None = None,
) -> Certificate:  # fmt: skip
    """Measure any synthetic table against real train rows, with real rows nobody trained on as the baseline.

    ``categorical`` to ``exclude`` are lists of columns, where inference should not decide; ``size`` is the side of the
    squares that images of differing sizes become.
    """
    from synth.evaluation.compare import compare

    kinds = {"categorical": categorical, "numerical": numerical, "datetime": datetime, "ids": id, "exclude": exclude}
    listed = {kind: [names] if isinstance(names, str) else names for kind, names in kinds.items()}
    return compare(real, synthetic, test, target=target, seed=seed, size=size, kinds=listed).certificate


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as e:  # here, for typer makes a silent exit of it before main() could say how to go on
            print(f"\n{_scrubbed(e) or 'interrupted'}", file=sys.stderr)
            raise typer.Exit(130) from e


app = typer.Typer(
    cls=_Commands,
    help="Synthetic data that does not collapse: train a certified generator, draw from it, verify it.",
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(synth.commands.app)
app.add_typer(synth.collapse.commands.app)
app.add_typer(synth.provenance.commands.app)
app.add_typer(tuning.commands.app)
app.add_typer(serving.commands.app)
app.add_typer(serving.key_commands.keys)
app.add_typer(cluster.commands.app)


def _scrubbed(error: BaseException) -> str:
    from cluster.location import scrub  # a URI in a message may hold a password

    return scrub(str(error))


def main() -> None:
    """The ``artesian`` command: 2 for what the user can mend, 1 for what failed, 130 for Ctrl-C; no traceback for these."""
    try:
        app()
    except (UserError, JobError) as e:
        print(f"error: {_scrubbed(e)}", file=sys.stderr)
        sys.exit(2 if isinstance(e, UserError) else 1)


if __name__ == "__main__":
    main()
