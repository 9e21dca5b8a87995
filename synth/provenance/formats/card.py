"""A card in Markdown, with the front matter of Hugging Face: of a release as a model's, of a table as a data set's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import yaml
from pydantic import BaseModel, FiniteFloat, ValidationError

from synth.provenance.formats import subject
from synth.provenance.formats.subject import name_of, shown, title
from synth.provenance.lineage import Node
from synth.provenance.manifest import Manifest

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_BETTER = {"lower": "low", "higher": "high", "baseline": "near that of real rows"}


class _Figure(BaseModel):
    """What a certificate says of one figure, as far as a card repeats it."""

    title: str
    unit: str
    better: str
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    baseline: FiniteFloat
    baseline_low: FiniteFloat
    baseline_high: FiniteFloat


class _Certificate(BaseModel):
    figures: dict[str, _Figure]
    rows: dict[str, int]


def card(node: Node) -> str:
    """The card of a release or of a table. What comes from outside is text in it, and never markup."""
    found, columns = subject.record(node), subject.columns(node)
    front = yaml.safe_dump(_front(node, found, columns), sort_keys=False, width=120)
    parts = [_summary(node), _learnt(found), _columns(columns), _ancestry(node), _measured(node, found), _limits(node)]
    return "\n".join(["---", front + "---", *(line for part in parts if part for line in ("", *part))])


def literal(text: object) -> str:
    """Text that Markdown shows as it is: on one line, each sign escaped that could mean something."""
    return _PUNCTUATION.sub(r"\\\1", shown(str(text)))


def size_category(rows: int) -> str:
    """As data sets on Hugging Face are sorted: ``n<1K``, ``1K<n<10K`` …, ``n>1T``."""
    power = max(len(str(rows)) - 3, 0)
    if power == 0:
        return f"n<{_SIZES[0]}"
    return f"{_SIZES[power - 1]}<n<{_SIZES[power]}" if power < len(_SIZES) else f"n>{_SIZES[-1]}"


def _front(node: Node, found: Manifest | None, columns: pa.Schema) -> dict[str, Any]:
    release, synthetic = node.kind == "release", subject.is_synthetic(node)
    images = any(pa.types.is_binary(c.type) or pa.types.is_fixed_size_binary(c.type) for c in columns)
    rows = node.facts.get("rows") if found is None else sum(entry.rows for entry in found.data if entry.role == "train")
    said = {
        "pretty_name": title(node),
        "library_name": "artesian" if release else None,
        "tags": ["artesian", *(["synthetic"] if synthetic else []), "image" if images else "tabular"],
        "size_categories": [size_category(rows)] if rows else None,
        "synthetic": synthetic,
        "artesian": {
            "id": name_of(node), **subject.told(node), "signer": subject.fingerprint(node),
            "parents": [name_of(one) for one in node.parents],
        },
    }  # fmt: skip
    return {name: value for name, value in said.items() if value is not None}


def _summary(node: Node) -> list[str]:
    signer = subject.fingerprint(node)
    signed = f"signed by the key `{signer}`" if signer else "signed by nobody"
    if node.kind == "release":
        what = (
            f"A generator of synthetic rows, {signed}. Its generation depth is {node.depth}: what it draws has depth "
            f"{node.depth + 1}. Of what it saw in training, {node.real_fraction:.0%} was real."
        )
    elif node.depth:
        what = f"Synthetic rows of generation depth {node.depth}; their origin is {signed}."
    elif subject.is_synthetic(node):
        what = "These rows do not say that a generator drew them, and it is known where they were drawn that one did."
    else:
        what = "These rows do not say that a generator drew them: as far as is known, they are real."
    rows = f" There are {node.facts['rows']:,} of them." if "rows" in node.facts else ""
    known = [line for text in subject.recognised(node) for line in ("", f"Known: {literal(text)}.")]
    return [f"# {literal(title(node))}", "", what + rows, *known]


def _learnt(found: Manifest | None) -> list[str]:
    if found is None:
        return []
    lines = ["## What it has learnt from", ""]
    lines += ["| table | role | rows | depth | SHA-256 |", "|---|---|--:|--:|---|"] if found.data else []
    for entry in found.data:
        name = literal(subject.base_name(entry.location))
        lines.append(f"| {name} | {entry.role} | {entry.rows:,} | {entry.depth} | `{entry.sha256}` |")
    training = found.training
    seconds = f"{(found.created - subject.began(found)).total_seconds():,.0f} s"
    took = f"{training.steps:,} step(s) and {seconds} on {training.workers} worker(s), with seed {found.seed}"
    return [
        *lines,
        *([""] if found.data else []),
        f"Training took {took}; it was signed at {found.created.isoformat()}.",
    ]


def _columns(columns: pa.Schema) -> list[str]:
    if not len(columns):
        return []
    lines = [f"| {literal(column.name)} | {literal(column.type)} |" for column in columns]
    return ["## Columns", "", "| column | type |", "|---|---|", *lines]


def _ancestry(node: Node) -> list[str]:
    ancestors = [one for one in subject.each(node) if one is not node]
    if not ancestors:
        return []
    lines = []
    for one in ancestors:
        signer = subject.fingerprint(one)
        signed = f", signed by `{signer}`" if signer else ""
        lines.append(f"- {one.kind} {literal(title(one))}: depth {one.depth}{signed}, `{name_of(one)}`")
    return ["## Where it comes from", "", *lines]


def _measured(node: Node, found: Manifest | None) -> list[str]:
    if node.kind != "release":
        return []
    heading = ["## What was measured", ""]
    data = subject.content(node, found, "certificate.json")
    if data is None:
        return [*heading, "Nothing: this release has no certificate, or not the one that was signed."]
    try:
        certificate = _Certificate.model_validate_json(data)
    except ValidationError:
        return [*heading, "The certificate is not one that this version reads."]
    counts = ", ".join(f"{count:,} {literal(part)}" for part, count in certificate.rows.items())
    lines = [
        *heading,
        f"On {counts} rows, with 95 % intervals; *real* is the same figure of real rows that no generator saw.",
        "",
        "| figure | better | synthetic | interval | real | interval |",
        "|---|---|--:|---|--:|---|",
    ]
    for name, one in certificate.figures.items():
        if name.startswith("tstr_"):  # the learners' scores, which the relative utility sums up
            continue
        what, better = f"{literal(one.title)} ({literal(one.unit)})", literal(_BETTER.get(one.better, one.better))
        synthetic = f"{one.value:.4g} | {one.low:.4g} … {one.high:.4g}"
        real = f"{one.baseline:.4g} | {one.baseline_low:.4g} … {one.baseline_high:.4g}"
        lines.append(f"| {what} | {better} | {synthetic} | {real} |")
    return lines


def _limits(node: Node) -> list[str]:
    lines = ["## Limits of use", ""]
    if subject.is_synthetic(node):
        drawn, least = node.depth + (node.kind == "release"), ""
        if not drawn:  # nothing says how far from real rows they are
            drawn, least = 1, " at least"
        lines += [
            f"- The rows are synthetic, of generation depth {drawn}{least}: a generator that learns from them alone draws rows "
            f"of depth {drawn + 1}{least}, which tend to be less diverse. Mix them with real ones.",
            "- They stand for a population, and for nobody in it: decide nothing about a person by them.",
            "- What was measured on privacy is evidence and no proof; there is no guarantee of differential privacy.",
            "- Nothing is evaluated on synthetic rows: keep real ones for tests.",
        ]
    else:
        lines.append("- Nothing here says that these rows may be shared: ask whoever they came from.")
    lines += _list("Broken, so not to be relied on", (one.problems for one in node.all()))
    return [*lines, *_list("A gap in the ancestry", (one.gaps for one in node.all()))]


def _list(what: str, found: Iterable[list[str]]) -> list[str]:
    texts = dict.fromkeys(text for one in found for text in one)
    return [f"- **{what}**: {literal(text)}" for text in texts]
