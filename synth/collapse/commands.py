"""The ``artesian`` command's word for the laboratory."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from synth.commands import Ancestors, Columns, MissingParent, SetKey, listed

app = typer.Typer()


@app.command(
    "collapse", epilog="Example: artesian collapse adult.parquet --target income --generations 8 --out adult-collapse"
)
def collapse_command(
    data: Annotated[str, typer.Argument(help="a table (Parquet, CSV, Arrow, ORC, NDJSON), or a URI")],
    out: Annotated[str, typer.Option(help="folder or URI of the study and its report")],
    target: Annotated[str | None, typer.Option(metavar="COL", help="the column that models will predict")] = None,
    generations: Annotated[int, typer.Option(min=1, max=999, help="after the first, which learns from real rows")] = 8,
    policy: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="replace, mix:SHARE, accumulate, accumulate-subsample, fresh:WEIGHT|golden")
    ] = None,
    family: Annotated[
        str, typer.Option(help="mixture, kernel or categorical, fitted in moments; diffusion, gan or vae, trained")
    ] = "mixture",
    budget: Annotated[
        str | None, typer.Option(metavar="90s", help="training time of a generation that is trained [default: 4m]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="chains of each policy")] = 3,
    rows: Annotated[int | None, typer.Option(metavar="N", help="of a generation [default: 10000, or what there is]")] = None,
    categorical: Columns = None, numerical: Columns = None, datetime: Columns = None, id: Columns = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="A,B", help="columns to leave out")] = None,
    lineage_policy: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="what may be learnt from [default: policy.yaml beside the signing key]")
    ] = None,
    ancestors: Ancestors = None, allow_missing_parent: MissingParent = False,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    set_: Annotated[list[str] | None, SetKey] = None,
    address: Annotated[str | None, typer.Option(metavar="URI", help="a Ray cluster to join, instead of starting one")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the study at --out")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the study at --out")] = False,
) -> None:  # fmt: skip
    """Show what becomes of models that learn from their own samples: generation after generation under several policies,
    measured on real rows, beside a control that learns from real rows alone.
    """
    from synth.collapse.study import POLICIES
    from synth.recipe import Recipe, parse_setting, seconds, together

    kinds = {"categorical": categorical, "numerical": numerical, "datetime": datetime, "id": id, "exclude": exclude}
    flags = {
        "target": target, "seed": seed, "training.budget_s": None if budget is None else seconds(budget),
        **{name: listed(given) for name, given in kinds.items() if given},
    }  # fmt: skip
    recipe = Recipe.read(None, together(dict(parse_setting(text) for text in set_ or ()), flags))
    from synth.training.allowed import Rules

    rules = Rules.read(lineage_policy, ancestors or (), missing=allow_missing_parent)
    _collapse(
        data, recipe, out, name=family, policies=POLICIES if policy is None else tuple(listed([policy])),
        generations=generations, seeds=seeds, rows=rows, rules=rules, address=address, overwrite=overwrite, resume=resume,
    )  # fmt: skip


def _collapse(data: str, recipe: Any, out: str, **options: Any) -> None:
    from cluster.location import without_credentials
    from synth.collapse import lesson
    from synth.collapse.study import collapse
    from synth.progress import Display

    with Display() as display:
        study, report = collapse(data, recipe, out, progress=display, **options)
    for sentence in lesson.sentences(study):
        display.console.print(sentence, soft_wrap=True, highlight=False)
    print(f"report  {without_credentials(report)}")
