"""Croissant 1.1 (MLCommons): a table, or what a release draws, as a data set that tools of machine learning can find and read,
with its provenance in the terms of PROV-O."""

from __future__ import annotations

import glob
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa

from cluster import storage
from synth.data.location import COMPRESSED
from synth.data.source import open_source
from synth.errors import UserError
from synth.provenance.formats import subject
from synth.provenance.formats.subject import URN, name_of
from synth.provenance.lineage import Node
from synth.provenance.manifest import Manifest

ROWS = "rows"  # the record set
SAMPLES = "samples"  # the folder that a release is drawn into, where it has no rows of its own
_REFERENCE = "reference.parquet"

# Appendix 1 of the specification; schema.org by the address that its own validator knows.
_OWN = (
    "annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract", "field",
    "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
    "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "artesian": URN,
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
} | {term: f"cr:{term}" for term in _OWN}

_ENCODINGS = {
    ".parquet": "application/x-parquet", ".pq": "application/x-parquet", ".csv": "text/csv",
    ".tsv": "text/tab-separated-values", ".arrow": "application/vnd.apache.arrow.file",
    ".feather": "application/vnd.apache.arrow.file", ".ipc": "application/vnd.apache.arrow.file",
    ".orc": "application/vnd.apache.orc", ".ndjson": "application/jsonlines", ".jsonl": "application/jsonlines",
    ".json": "application/json", ".yaml": "application/yaml", ".html": "text/html", ".png": "image/png",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif", ".bmp": "image/bmp",
}  # fmt: skip


class _Rows(NamedTuple):
    """Where rows are read from: ``source`` in Croissant's words; ``images``: each is a file; ``structs``: images of a table
    are structs of their bytes and a path, as they are when they were drawn here."""

    source: dict[str, Any]
    images: bool
    structs: bool


def croissant(node: Node) -> dict[str, Any]:
    """The data set that a node is. What is not known of it, such as its licence, is not there."""
    found = subject.record(node)
    columns = subject.columns(node)
    distribution, rows = _release(found, columns) if node.kind == "release" else _table(node)
    fields = [] if rows is None else [_field(column, rows) for column in columns]
    written: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": subject.title(node),
        "description": _description(node),
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "identifier": f"{URN}{name_of(node)}",
        "keywords": ["synthetic data"] if subject.is_synthetic(node) else [],
        "datePublished": [] if found is None else found.created.date().isoformat(),
        "distribution": distribution,
        "recordSet": [{"@type": "cr:RecordSet", "@id": ROWS, "name": ROWS, "field": fields}] if fields else [],
    }
    written |= {f"artesian:{name}": value for name, value in subject.told(node).items()} | _provenance(node, found)
    return {name: value for name, value in written.items() if value != []}


def _description(node: Node) -> str:
    if node.kind == "release":
        return (
            f"Synthetic rows of generation depth {node.depth + 1}, which are drawn from the release {subject.title(node)!r} of "
            "a generator."
        )
    if node.depth:
        return f"Synthetic rows of generation depth {node.depth}, drawn from a release of a generator."
    if known := subject.recognised(node):
        return f"Rows that do not say that a generator drew them, and are known: {'; '.join(known)}."
    return "Rows that do not say that a generator drew them."


def _release(found: Manifest | None, columns: pa.Schema) -> tuple[list[dict[str, Any]], _Rows | None]:
    """A release's files, and where its rows are: those that it was certified with or, of images, those that are drawn."""
    if found is None:
        return [], None
    files = [_file(name, entry.sha256) | {"contentSize": f"{entry.bytes} B"} for name, entry in found.files.items()]
    if _REFERENCE in found.files and not any(_is_binary(column.type) for column in columns):
        return files, _Rows({"fileObject": {"@id": _file_id(_REFERENCE)}}, images=False, structs=False)
    files.append(_file_set(SAMPLES, "application/x-parquet", f"{SAMPLES}/*.parquet"))
    return files, _Rows({"fileSet": {"@id": _file_id(SAMPLES)}}, images=False, structs=True)


def _table(node: Node) -> tuple[list[dict[str, Any]], _Rows | None]:
    """The file that a table is; or those of a folder or a pattern, which have a hash together alone."""
    if node.where is None or node.sha256 is None:
        return [], None
    try:
        first = open_source(node.where).place(0).removesuffix(", row 1")
        one, there = storage.is_file(node.where), storage.exists(node.where)
    except UserError:  # out of reach without its credentials
        return [], None
    name, encoding = subject.base_name(node.where), _encoding(first)
    images = encoding.startswith("image/")
    if one and not images:
        files, source = _file(name, node.sha256), {"fileObject": {"@id": _file_id(name)}}
    else:
        own, ending = glob.escape(name), glob.escape(PurePosixPath(first).suffix)
        folder = [f"{own}/*{ending}", f"{own}/**/*{ending}"]  # to some readers, ** is one folder at least
        files = _file_set(name, encoding, own if one else folder if there else name)
        source = {"fileSet": {"@id": _file_id(name)}}
    return [files], _Rows(source, images=images, structs=node.depth > 0)


def _file(name: str, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject", "@id": _file_id(name), "name": name, "contentUrl": name,
        "encodingFormat": _encoding(name), "sha256": sha256,
    }  # fmt: skip


def _file_set(name: str, encoding: str, pattern: str | list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet", "@id": _file_id(name), "name": name, "encodingFormat": encoding, "includes": pattern
    }  # fmt: skip


def _file_id(name: str) -> str:
    return f"files/{quote(name, safe='')}"


def _encoding(name: str) -> str:
    """Of what is in it, where it is a text that was compressed: readers know that by its name."""
    plain = PurePosixPath(name.lower())
    ending = plain.with_suffix("").suffix if plain.suffix in COMPRESSED else plain.suffix
    return _ENCODINGS.get(ending, "application/octet-stream")


def _field(column: pa.Field, rows: _Rows) -> dict[str, Any]:
    field = {
        "@type": "cr:Field", "@id": f"{ROWS}/{quote(column.name, safe='')}", "name": column.name,
        "dataType": data_type(column.type),
    }  # fmt: skip
    image = _is_binary(column.type)
    if not rows.images:
        transform = {"transform": {"jsonPath": "bytes"}} if image and rows.structs else {}
        return field | {"source": rows.source | {"extract": {"column": column.name}} | transform}
    # What else is known of an image, its folder or a file beside it tells.
    return field | ({"source": rows.source | {"extract": {"fileProperty": "content"}}} if image else {})


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def data_type(kind: pa.DataType) -> str:
    """The type of Croissant for values of an Arrow type."""
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return f"cr:{'U' if str(kind).startswith('u') else ''}Int{kind.bit_width}"
    if pa.types.is_floating(kind):
        return f"cr:Float{kind.bit_width}"
    if pa.types.is_decimal(kind):
        return "sc:Float"
    if pa.types.is_date(kind):
        return "sc:Date"
    if pa.types.is_timestamp(kind):
        return "sc:DateTime"
    return "sc:ImageObject" if _is_binary(kind) else "sc:Text"


def _provenance(node: Node, found: Manifest | None) -> dict[str, Any]:
    """What it was derived from, by which activity, and whose key vouches for it, in the terms of PROV-O."""
    parents = [parent for parent in node.parents if parent.facts.get("role") != "test"]
    written: dict[str, Any] = {}
    if parents:
        derived = [
            {"@id": f"{URN}{name_of(one)}", "@type": "prov:Entity", "prov:label": subject.title(one)} for one in parents
        ]
        activity = {"@type": "prov:Activity", "prov:label": "training" if node.kind == "release" else "drawing"}
        ended = {} if found is None else {"prov:endedAtTime": found.created.isoformat()}
        written = {"prov:wasDerivedFrom": derived, "prov:wasGeneratedBy": activity | ended}
    if (key := subject.fingerprint(node)) is not None:
        agent = {"@id": f"{URN}key:{key.partition(':')[2]}", "@type": "prov:Agent", "prov:label": key}
        written["prov:wasAttributedTo"] = agent
    return written
