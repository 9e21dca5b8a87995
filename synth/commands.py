"""The ``artesian`` command's words for this room; those that draw, sample and fill, have their own file.

Each imports what it needs when it is called: ``artesian --help`` must not wait for torch and Ray.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from synth.errors import UserError
from synth.sample_commands import Seed, fill_command, sample_command

app = typer.Typer()
Columns = Annotated[
    list[str] | None, typer.Option(metavar="A,B", help="columns of this kind, where inference is wrong")
]
SetKey = typer.Option("--set", metavar="KEY=VALUE", help="any key of the recipe, such as diffusion.width=512")
ZeroStage = typer.Option(
    metavar="auto|0..3", help="what is sharded over the workers [default: what the memory asks for]"
)
SplitShares = typer.Option(metavar="0.7,0.1,0.1,0.1", help="train, select, confirm, test; 1,0,0 with --test")
PolicyFile = Annotated[
    str | None,
    typer.Option(
        "--policy", metavar="FILE", help="what may be learnt from [default: policy.yaml beside the signing key]"
    ),
]
Ancestors = Annotated[
    list[str] | None, typer.Option("--ancestors", metavar="FOLDER", help="holds releases that rows were drawn from")
]
MissingParent = Annotated[
    bool, typer.Option("--allow-missing-parent", help="go on where such a release is out of reach, and record the gap")
]
DEMO = "demo-release"


@app.command("train", epilog="Example: artesian train adult.parquet --target income --budget 4m --out adult-release")
def train_command(
    data: Annotated[str, typer.Argument(help="a table (Parquet, CSV, Arrow, ORC, NDJSON) or a folder of images; or a URI")],
    out: Annotated[str, typer.Option(help="folder or URI of the release")],
    target: Annotated[str | None, typer.Option(metavar="COL", help="the column that models will predict")] = None,
    test: Annotated[str | None, typer.Option(metavar="FILE", help="real rows to certify on; see --split")] = None,
    split: Annotated[str | None, SplitShares] = None,
    categorical: Columns = None, numerical: Columns = None, datetime: Columns = None, id: Columns = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="A,B", help="columns to leave out")] = None,
    constraint: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="holds in every row: 'start <= end'")] = None,
    synthetic: Annotated[
        list[str] | None, typer.Option(metavar="FILE[@WEIGHT]", help="synthetic rows to learn from, too; may be repeated")
    ] = None,
    mix: Annotated[
        str | None, typer.Option(metavar="golden|SHARE", help="share of real rows in each batch then [default: golden]")
    ] = None,
    verify: Annotated[
        float | None, typer.Option(metavar="SHARE", help="of synthetic rows, those that judges of real rows find likeliest")
    ] = None,
    subset: Annotated[
        float | None, typer.Option(metavar="SHARE", help="of synthetic rows, those that lie far from each other")
    ] = None,
    finetune: Annotated[
        float | None, typer.Option(metavar="SHARE", help="last share of the steps, on real rows alone")
    ] = None,
    policy: PolicyFile = None, ancestors: Ancestors = None, allow_missing_parent: MissingParent = False,
    recipe: Annotated[str | None, typer.Option(metavar="FILE", help="YAML; flags override its keys")] = None,
    family: Annotated[str | None, typer.Option(help="diffusion, gan or vae")] = None,
    budget: Annotated[str | None, typer.Option(metavar="4m", help="training time from the first step [default: 4m]")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="optimizer steps, instead of --budget")] = None,
    workers: Annotated[str | None, typer.Option(metavar="N|LEAST,MOST", help="with two, as many as there is room for")] = None,
    zero: Annotated[str | None, ZeroStage] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    set_: Annotated[list[str] | None, SetKey] = None,
    address: Annotated[str | None, typer.Option(metavar="URI", help="a Ray cluster to join, instead of starting one")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the release or unfinished run at --out")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the unfinished run at --out")] = False,
) -> None:  # fmt: skip
    """Train a generator on a table or images, certify it on real rows it has not seen, and publish a signed release."""
    from synth.recipe import Recipe, parse_setting, seconds, team, together

    kinds = {"categorical": categorical, "numerical": numerical, "datetime": datetime, "id": id, "exclude": exclude}
    flags = {
        "target": target, "family": family, "seed": seed, "training.steps": steps,
        "training.workers": None if workers is None else team(workers),
        "training.zero": int(zero) if zero and zero.isdigit() else zero,
        "training.budget_s": None if budget is None else seconds(budget),
        "split": None if split is None else listed([split]),
        "mix": _mix(mix), "verify": verify, "subset": subset, "finetune": finetune, "constraints": constraint,
        **{name: listed(given) for name, given in kinds.items() if given},
    }  # fmt: skip
    checked = Recipe.read(recipe, together(dict(parse_setting(text) for text in set_ or ()), flags))
    from synth.training.allowed import Rules

    rules = Rules.read(policy, ancestors or (), missing=allow_missing_parent)
    _train(
        data, checked, out, synthetic or (), test=test, rules=rules, address=address, overwrite=overwrite, resume=resume
    )


def _mix(text: str | None) -> float | str | None:
    """As the recipe has it, which says what is wrong with a word that is neither."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _train(data: str, recipe: Any, out: str, synthetic: Sequence[str] = (), **options: Any) -> None:
    from synth.progress import Display
    from synth.training import run
    from synth.training.mixing import Given

    given = [Given.parse(text) for text in synthetic]
    with Display() as display:
        tell(run.train(data, recipe, out, synthetic=given, progress=display, **options), display)


def tell(trained: Any, display: Any) -> None:
    from cluster.location import join, without_credentials
    from synth.evaluation.summary import figures_table

    for note in trained.notes:
        display.console.print(f"note: {note}")
    display.console.print(figures_table(trained.certificate))
    place, report = map(without_credentials, (trained.location, join(trained.location, "report.html")))
    display.console.print(f"release {trained.manifest.id[:12]} at {place}\nreport  {report}", soft_wrap=True)


@app.command("refine", epilog="Example: artesian refine adult-release --against adult.parquet --out adult-refined")
def refine_command(
    release: Annotated[str, typer.Argument(help="folder or URI of a release of a table")],
    against: Annotated[
        str, typer.Option("--against", "--on", metavar="DATA", help="the real table that the release has learnt from")
    ],
    out: Annotated[str, typer.Option(help="folder or URI of the refined release")],
    by: Annotated[
        str | None, typer.Option(help="discriminator, neon, sims, gradients or feedback [default: discriminator]")
    ] = None,
    feedback: Annotated[
        str | None, typer.Option(metavar="train|MODEL", help="a scikit-learn pipeline as a .skops file; or one that is trained")
    ] = None,
    criterion: Annotated[
        str | None, typer.Option(metavar="A,B", help="targets, practice (the default two), entropy, loss, hardness")
    ] = None,
    test: Annotated[str | None, typer.Option(metavar="FILE", help="the test rows, if the release had a file of them")] = None,
    budget: Annotated[str, typer.Option(metavar="1m", help="how long is learnt")] = "1m",
    steps: Annotated[int | None, typer.Option(min=1, help="optimizer steps, instead of --budget")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the release at --out")] = False,
) -> None:  # fmt: skip
    """Better a release by what real rows say of its samples, or publish nothing and say why.

    By a discriminator, which learns what its rows still lack and guides its sampler; by neon or sims, away from what it
    becomes when it learns from its own rows; by the gradients of a classifier; or by --feedback of a model that predicts the
    target, from which it learns. What is taken is chosen on the select rows: samples must be harder to tell from these or,
    with feedback, models must learn more from them, which the confirm rows confirm; and no fewer rows may be covered. The
    release stays as it is; the new one names it as its parent.
    """
    from synth.progress import Display
    from synth.recipe import seconds
    from synth.training.refine import refine
    from synth.training.refining.named import cure

    with Display() as display:
        tell(
            refine(
                release, against, out, cure=cure(by, feedback, listed([criterion] if criterion else None)), test=test,
                budget_s=seconds(budget), steps=steps, overwrite=overwrite, progress=display,
            ),
            display,
        )  # fmt: skip


app.command("sample", epilog="Example: artesian sample adult-release -n 100000 --where 'age>=65' --out rows.parquet")(
    sample_command
)
app.command("fill", epilog="Example: artesian fill gaps.csv --release adult-release --out whole.csv")(fill_command)


@app.command(
    "evaluate", epilog="Example: artesian evaluate train.parquet synthetic.csv --test test.parquet --target income"
)
def evaluate_command(
    real: Annotated[str, typer.Argument(help="the real rows, or images, that the generator learnt from")],
    synthetic: Annotated[str, typer.Argument(help="a synthetic table, whoever made it")],
    test: Annotated[str, typer.Option(metavar="REAL_TEST", help="real rows that the generator never saw")],
    target: Annotated[str | None, typer.Option(metavar="COL")] = None,
    categorical: Columns = None, numerical: Columns = None, datetime: Columns = None, id: Columns = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="A,B", help="columns to leave out")] = None,
    json_: Annotated[str | None, typer.Option("--json", metavar="FILE", help="write the certificate here")] = None,
    report: Annotated[str | None, typer.Option(metavar="FILE", help="write the HTML report here")] = None,
    size: Annotated[
        int | None, typer.Option(min=4, max=1024, help="pixels a side that images of differing sizes are resized to")
    ] = None,
    features: Annotated[str | None, typer.Option(metavar="FILE", help="TorchScript network to compare images by")] = None,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Score any synthetic table: fidelity, diversity, utility, privacy, each beside its real-against-real baseline."""
    from cluster.location import without_credentials
    from synth.evaluation.compare import compare
    from synth.evaluation.report import render
    from synth.evaluation.summary import figures_table
    from synth.progress import Display

    kinds = {"categorical": categorical, "numerical": numerical, "datetime": datetime, "ids": id, "exclude": exclude}
    for path in (json_, report):  # before minutes of work
        if path is not None and not (Path(path).parent.is_dir() and os.access(Path(path).parent, os.W_OK)):
            raise UserError(f"{path}: cannot be written: {Path(path).parent} is no folder that you may write to")
    with Display() as display:
        found = compare(
            real, synthetic, test, target=target, seed=seed, size=size,
            kinds={name: listed(given) for name, given in kinds.items()}, network=features,
            progress=lambda what, done: display(f"certifying: {what}", done, {}),
        )  # fmt: skip
    display.console.print(figures_table(found.certificate))
    if json_:
        _write_text(json_, found.certificate.model_dump_json(indent=1))
    if report:
        title = Path(without_credentials(synthetic)).name
        page = render(found.certificate, title=title, real=found.real, synthetic=found.synthetic, schema=found.schema)
        _write_text(report, page)


@app.command("verify", epilog="Example: artesian verify adult-release")
def verify_command(release: Annotated[str, typer.Argument(help="folder or URI of a release")]) -> None:
    """Say whether a release is whole, and who signed it; exit status 1 if not."""
    from synth import release as releases

    found = releases.verify(release)
    print(found)
    raise typer.Exit(0 if found.whole else 1)


@app.command("doctor", epilog="Example: artesian doctor --address HOST:6379 --out s3://bucket/runs")
def doctor_command(
    address: Annotated[str | None, typer.Option(metavar="URI", help="a Ray cluster, whose nodes are asked as well")] = None,
    out: Annotated[str | None, typer.Option(metavar="URI", help="where every node should be able to write")] = None,
    json_: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:  # fmt: skip
    """Check this machine: packages, devices, memory, Ray's authentication, the signing key; and a cluster's nodes."""
    from dataclasses import asdict

    from cluster.doctor import diagnose
    from synth.provenance.keys import key_file

    checks = diagnose(key_file=key_file())
    if address is not None or out is not None:
        from cluster.nodes import diagnose_cluster
        from cluster.session import connected

        with connected(address) as ray:
            checks += diagnose_cluster(ray, out)
    if json_:
        print(json.dumps([asdict(c) for c in checks], indent=1))
    else:
        for c in checks:
            print(f"{c.status:5s} {c.name}: {c.detail}" + (f"\n      {c.remedy}" if c.remedy else ""))
    raise typer.Exit(1 if any(c.status == "fail" for c in checks) else 0)


@app.command("demo", epilog="Example: artesian demo")
def demo_command(
    out: Annotated[str, typer.Option(help="folder of the release")] = DEMO,
    budget: Annotated[str, typer.Option(metavar="2m", help="training time")] = "2m",
    overwrite: Annotated[bool, typer.Option("--overwrite", help=f"replace a release other than {DEMO}")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the unfinished run at --out")] = False,
) -> None:
    """Train on the shipped Adult census table: the whole way from a table to a certified release, in a few minutes."""
    from synth.data.demo import adult
    from synth.recipe import Recipe, seconds

    recipe = Recipe.read(None, {"target": "income", "training.budget_s": seconds(budget)})
    overwrite = overwrite or out == DEMO  # the demo's own, made anew each time
    _train(str(adult()), recipe, out, test=None, address=None, overwrite=overwrite, resume=resume)


def listed(given: list[str] | None) -> list[str]:
    return [name.strip() for text in given or () for name in text.split(",")]


def _write_text(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as e:
        raise UserError(f"{path}: cannot be written: {e.strerror}") from e
