"""The ``artesian`` command's words for this room: lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from synth.commands import Ancestors, MissingParent
from synth.errors import UserError

if TYPE_CHECKING:
    from rich.tree import Tree

    from synth.provenance.lineage import Node

app = typer.Typer()


@app.command("lineage", epilog="Example: artesian lineage adult-release --ancestors releases/")
def lineage_command(
    place: Annotated[str, typer.Argument(metavar="FILE|RELEASE", help="a table, or the folder of a release")],
    ancestors: Ancestors = None, allow_missing_parent: MissingParent = False,
    format: Annotated[str, typer.Option(metavar="tree|json|croissant|prov|openlineage|card")] = "tree",
) -> None:  # fmt: skip
    """Walk where a table or a release comes from, and check every link offline; exit status 1 where one is broken.

    Ancestors are looked for beside it, and in the folders that --ancestors names. Of a table that does not say of all its rows
    where they come from, it is told whether they were drawn here, as far as the log of drawn rows and watermarks tell.
    """
    from rich.console import Console

    from synth.data.source import open_source
    from synth.provenance import formats, lineage, recognition

    if format not in formats.NAMES:
        raise UserError(f"--format {format!r} is unknown; formats: {', '.join(formats.NAMES)}")
    node = lineage.walk(place, ancestors or ())
    if node.kind == "table" and not (node.claims and all(claim.origin is not None for claim in node.claims)):
        found = recognition.recognise(open_source(place))
        node.facts["recognised"] = [str(one) for one in (*found.rows, *found.sure)]
        node.facts["unsure"] = [str(one) for one in found.marks if not one.sure]
        node.notes += found.notes
    if format == "tree":
        Console().print(_tree(node, set()))
    else:
        print(formats.render(node, format))
    broken = any(one.problems or one.strangers or (one.gaps and not allow_missing_parent) for one in node.all())
    raise typer.Exit(1 if broken else 0)


def _tree(node: Node, said: set[int], tree: Tree | None = None) -> Tree:
    """A node and what it comes from, below a ``tree`` where there is one; what was said already is named once more, no more."""
    from rich.markup import escape
    from rich.tree import Tree

    rows = f", {node.facts['rows']:,} rows" if "rows" in node.facts else ""
    role = f", {node.facts['role']}" if "role" in node.facts else ""
    real = f", {node.real_fraction:.0%} real" if node.kind == "release" and node.where else ""
    kind = f"{node.kind} [bold]{escape(node.name)}[/] {(node.sha256 or '')[:12]}"
    if id(node) in said and tree is not None:
        return tree.add(f"{kind}: see above")
    said.add(id(node))
    line = f"{kind}: depth {node.depth}{real}{rows}{role}"
    if node.signer is not None:
        line += f"; signed by {escape(str(node.signer))}"
    elif node.where is None:
        line += "; not here"
    here = Tree(line) if tree is None else tree.add(line)
    for note in node.notes:
        here.add(f"note: {escape(note)}")
    for problem in [*node.problems, *node.strangers]:
        here.add(f"[red]broken: {escape(problem)}[/]")
    for known in node.facts.get("recognised", ()):
        here.add(f"known here: {escape(known)}")
    for mark in node.facts.get("unsure", ()):
        here.add(f"not sure: {escape(mark)}")
    for gap in node.gaps:
        here.add(f"[yellow]gap: {escape(gap)}[/]")
    for parent in node.parents:
        _tree(parent, said, here)
    return here
