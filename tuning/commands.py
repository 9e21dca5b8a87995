"""The ``artesian`` command's word for this room."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from synth.commands import Ancestors, Columns, MissingParent, PolicyFile, SetKey, SplitShares, listed, tell
from synth.errors import UserError

app = typer.Typer()


@app.command("tune", epilog="Example: artesian tune adult.parquet --target income --budget 30m --out adult-release")
def tune_command(
    data: Annotated[str, typer.Argument(help="a table (Parquet, CSV, Arrow, ORC, NDJSON), or a URI")],
    target: Annotated[str, typer.Option(metavar="COL", help="the column that models will predict")],
    out: Annotated[str | None, typer.Option(help="folder or URI of the release; beside it OUT.study")] = None,
    budget: Annotated[str, typer.Option(metavar="30m", help="time for all: trials, finalists, the release")] = "30m",
    trials: Annotated[int | None, typer.Option(min=1, help="at most so many [default: as many as fit]")] = None,
    families: Annotated[str, typer.Option(metavar="A,B", help="diffusion, gan, vae")] = "diffusion,gan,vae",
    objective: Annotated[
        str, typer.Option(metavar="A,B", help="utility, or several of utility, coverage, privacy: a Pareto front")
    ] = "utility",
    test: Annotated[str | None, typer.Option(metavar="FILE", help="real rows to certify on; see --split")] = None,
    split: Annotated[str | None, SplitShares] = None,
    categorical: Columns = None, numerical: Columns = None, datetime: Columns = None, id: Columns = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="A,B", help="columns to leave out")] = None,
    constraint: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="holds in every row: 'start <= end'")] = None,
    policy: PolicyFile = None, ancestors: Ancestors = None, allow_missing_parent: MissingParent = False,
    recipe: Annotated[str | None, typer.Option(metavar="FILE", help="YAML; what it sets is not searched")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="of each trial")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    set_: Annotated[list[str] | None, SetKey] = None,
    memory: Annotated[str | None, typer.Option(metavar="URI", help="where studies are remembered; none: nowhere")] = None,
    method: Annotated[
        str, typer.Option(help="halving: stop early; population: change knobs while training, for long runs")
    ] = "halving",
    evolve: Annotated[bool, typer.Option("--evolve", help="also try sizes and noise beyond the spaces")] = False,
    recommend: Annotated[bool, typer.Option("--recommend", help="only print the recipe to start with, and why")] = False,
    choose: Annotated[int | None, typer.Option(metavar="TRIAL", help="release this trial of a finished study")] = None,
    address: Annotated[str | None, typer.Option(metavar="URI", help="a Ray cluster to join, instead of starting one")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the release or study at --out")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the unfinished study at --out")] = False,
) -> None:  # fmt: skip
    """Search families and hyper-parameters for samples that are useful: by how well models trained on them do on real rows.

    Trials are judged on the select rows, the best, trained for longer, again on confirm, and the release is certified on
    test. What was learnt from this table is remembered for the next.
    """
    from synth.recipe import Recipe, parse_setting, seconds, together

    kinds = {"categorical": categorical, "numerical": numerical, "datetime": datetime, "id": id, "exclude": exclude}
    flags = {
        "target": target, "seed": seed, "training.workers": workers, "constraints": constraint,
        "split": None if split is None else listed([split]),
        **{name: listed(given) for name, given in kinds.items() if given},
    }  # fmt: skip
    checked = Recipe.read(recipe, together(dict(parse_setting(text) for text in set_ or ()), flags))
    wanted = {
        "budget_s": seconds(budget), "families": listed([families]), "objective": listed([objective]), "trials": trials,
        "store": _store(memory), "evolve": evolve, "method": method,
    }  # fmt: skip
    if recommend:
        _recommend(data, checked, test, wanted)
        return
    if out is None:
        raise UserError("--out is missing: name a folder or URI for the release, or ask for --recommend alone")
    from synth.training.allowed import Rules

    rules = Rules.read(policy, ancestors or (), missing=allow_missing_parent)
    _tune(
        data,
        checked,
        out,
        wanted,
        test=test,
        rules=rules,
        address=address,
        overwrite=overwrite,
        resume=resume,
        choose=choose,
    )


def _tune(data: str, recipe: Any, out: str, wanted: dict[str, Any], **options: Any) -> None:
    from cluster.location import without_credentials
    from tuning.display import Live, final
    from tuning.study import Wanted, tune

    with Live() as live:
        tuned = tune(data, recipe, out, Wanted(**wanted), show=live, **options)
    live.console.print(final(tuned.study))
    tell(tuned.trained, live)
    live.console.print(f"study   {without_credentials(tuned.report)}", soft_wrap=True)


def _recommend(data: str, recipe: Any, test: str | None, wanted: dict[str, Any]) -> None:
    from tuning.recommend import recommend
    from tuning.study import Wanted

    print(recommend(data, recipe, Wanted(**wanted), test=test))


def _store(memory: str | None) -> str | None:
    """Where studies are remembered."""
    from tuning.memory import default_store

    if memory == "none":
        return None
    return default_store() if memory is None else memory
