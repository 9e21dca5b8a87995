"""What a node of an ancestry is, beyond what the walk has kept of it: its manifest, its columns, and names for documents
that leave this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import yaml

from cluster import storage
from synth.data.schema import Schema
from synth.data.source import open_source
from synth.errors import UserError
from synth.provenance import manifest
from synth.provenance.lineage import Node
from synth.provenance.manifest import Manifest

URN = "urn:artesian:"
LONGEST_S = 1e9  # a training of thirty years
_LOCAL = ("local", "dir")  # schemes of fsspec


def each(node: Node) -> Iterator[Node]:
    """This one and all that it comes from, each once: two tables may be drawn from one release."""
    seen = set()
    for one in node.all():
        if (key := name_of(one)) not in seen:
            seen.add(key)
            yield one


def name_of(node: Node) -> str:
    """``release:ID`` or ``table:HASH``: the same wherever it lies. What has no hash, since it cannot be read, is named by
    where it lies, and ``unread``."""
    if node.sha256 is None:
        return f"unread:{hashlib.sha256(node.name.encode('utf-8', 'replace')).hexdigest()}"
    return f"{node.kind}:{node.sha256}"


def title(node: Node) -> str:
    """What people call it: folders of this machine are nobody else's business."""
    return shown(node.name) if node.kind == "release" and node.sha256 is not None else base_name(node.name)


def base_name(location: str) -> str:
    """The last part of a local path, and the whole of a URI, which means the same everywhere."""
    return shown(location if is_everywhere(location) else location.rstrip("/\\").replace("\\", "/").rpartition("/")[2])


def is_everywhere(location: str) -> bool:
    """Whether a location means the same on every machine. In fsspec's chains and by some of its schemes paths are local."""
    return storage.is_remote(location) and "::" not in location and location.partition(":")[0].lower() not in _LOCAL


def began(found: Manifest) -> datetime:
    """When a training began, at its first step: it lasts until the signature. A stranger's manifest may say anything."""
    earliest = datetime.min.replace(tzinfo=found.created.tzinfo)
    took = timedelta(seconds=min(found.training.seconds, LONGEST_S))
    return found.created - min(took, found.created - earliest)


def shown(text: str) -> str:
    """Text on one line, as any encoding can write it: names come from outside."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def fingerprint(node: Node) -> str | None:
    """The key that vouches for it. Whose it is, each machine has to know for itself."""
    return None if node.signer is None else node.signer.fingerprint


def record(node: Node) -> Manifest | None:
    """The manifest of a release that is here; None for all else."""
    if node.kind != "release" or node.where is None:
        return None
    try:
        found = manifest.parse(storage.read_bytes(storage.join(node.where, "manifest.json")))
    except UserError:  # of what is there no longer, or only with credentials
        return None
    return found if found.id == node.sha256 else None


def content(node: Node, found: Manifest | None, name: str) -> bytes | None:
    """A file of a release as it was signed; None where it is not there, or another."""
    if found is None or node.where is None or name not in found.files:
        return None
    try:
        data = storage.read_bytes(storage.join(node.where, name))
    except UserError:
        return None
    return data if manifest.file_entry(data) == found.files[name] else None


def schema(node: Node, found: Manifest | None) -> Schema | None:
    """The schema of a release, None where it cannot be read."""
    data = content(node, found, "schema.yaml")
    try:
        return None if data is None else Schema.model_validate(yaml.safe_load(data))
    except (ValueError, yaml.YAMLError, RecursionError):  # a later version's, or none
        return None


def columns(node: Node) -> pa.Schema:
    """The columns of a table or of what a release draws, as Arrow has them; none where they cannot be read. Images are
    binary."""
    if node.kind == "release":
        found = schema(node, record(node))
        return pa.schema([]) if found is None else found.arrow()
    try:
        return pa.schema([]) if node.where is None else open_source(node.where).schema
    except UserError:
        return pa.schema([])


def is_synthetic(node: Node) -> bool:
    """Whether a generator has drawn it or, of a table, some of its rows, as it says itself or as is known here."""
    return node.kind == "release" or node.depth > 0 or bool(recognised(node))


def recognised(node: Node) -> list[str]:
    """What is known here of rows that do not say where they come from."""
    return [shown(text) for text in node.facts.get("recognised", ())]


def told(node: Node) -> dict[str, Any]:
    """What every format says of a node."""
    facts: dict[str, Any] = {"depth": node.depth}
    if node.kind == "release" and node.sha256 is not None and node.where is not None:
        facts |= {"realFraction": node.real_fraction}
    return facts | {name: node.facts[name] for name in ("rows", "seed") if name in node.facts}
