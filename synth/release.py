"""What a run publishes, and the only thing that is loaded again: a folder of plain files under a signed manifest.

    weights.safetensors   the generator's tensors
    codec.json            how rows become tensors and back
    schema.yaml           what the columns are
    recipe.yaml           how it was trained
    certificate.json      what was measured on real rows (if it was)
    reference.parquet     rows as they were certified, with which those that are served are compared; of images, numbers
    report.html           the same for people (if it was)
    manifest.json, .sig   hashes of all of these, ancestry and environment, signed

None of them is code and nothing is unpickled, so a release from a stranger can be looked at without running anything of
theirs. What is loaded is what was verified: each file is read once, and the bytes that were hashed are those parsed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from cluster import storage
from cluster.location import scrub, without_credentials
from synth.data.schema import Schema
from synth.errors import ReleaseError
from synth.provenance import keys, manifest
from synth.provenance.manifest import DataEntry, FileEntry, Manifest, Training

if TYPE_CHECKING:
    import torch

_WEIGHTS, _CODEC, _SCHEMA, _RECIPE = manifest.IDENTITY
_CERTIFICATE, _REPORT, _REFERENCE = "certificate.json", "report.html", "reference.parquet"
_MANIFEST, _SIGNATURE = "manifest.json", "manifest.sig"

T = TypeVar("T")


@dataclass(frozen=True)
class Release:
    """A generator as it was published. ``tensors`` are on the CPU; ``signer`` is None where it was not verified."""

    location: str
    manifest: Manifest
    tensors: Mapping[str, torch.Tensor]
    codec: dict[str, Any]
    schema: Schema
    recipe: dict[str, Any]
    certificate: dict[str, Any] | None
    report: str | None
    signer: keys.Signer | None
    reference: pa.Table | None = None


@dataclass(frozen=True)
class Verification:
    """What was found: what is wrong with which file, and whose signature it is (None where there is no good one)."""

    location: str
    problems: Mapping[str, str]
    signer: keys.Signer | None
    manifest: Manifest | None

    @property
    def whole(self) -> bool:
        """Whether every file is as it was signed and none was added."""
        return not self.problems

    def __str__(self) -> str:
        if self.whole:
            return f"{self.location}: whole, signed by {self.signer}"
        return "\n".join(f"{self.location}: {name}: {problem}" for name, problem in self.problems.items())


def save(
    staging_dir: Path,
    *,
    tensors: Mapping[str, torch.Tensor],
    codec: dict[str, Any],
    schema: Schema,
    recipe: dict[str, Any],
    certificate: dict[str, Any] | None,
    report: str | None,
    name: str,
    data: Sequence[DataEntry],
    parents: Sequence[str],
    real_fraction: float,
    seed: int,
    training: Training,
    reference: pa.Table | None = None,
) -> Manifest:
    """Write a release into the empty local folder ``staging_dir`` (see ``cluster.storage.staged_directory``).

    ``tensors`` may have any dtype and device but must not share memory. ``codec`` and ``certificate`` are JSON,
    without NaN or infinity (ValueError). ``parents`` are the ids of releases and the hashes of tables that this one
    descends from. ``reference`` are rows as they were certified. Credentials in URIs inside the recipe, the certificate
    and the schema's notes are left out.
    Raises UserError where the signing key cannot be used, OSError where the folder cannot be written.
    """
    import safetensors.torch

    contents = {
        _CODEC: _to_json(codec),
        # Only what is prose: columns and categories are names, which rows must come back with.
        _SCHEMA: _to_yaml(schema.model_dump() | {"notes": _scrubbed(schema.notes)}),
        _RECIPE: _to_yaml(_scrubbed(recipe)),
        # To bytes, not straight to the file: what is hashed is what was meant, whatever the disk makes of it.
        _WEIGHTS: safetensors.torch.save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}),
    }
    if certificate is not None:
        contents[_CERTIFICATE] = _to_json(_scrubbed(certificate))
    if report is not None:
        contents[_REPORT] = report.encode("utf-8")
    if reference is not None:
        contents[_REFERENCE] = _to_parquet(reference)
    files = {key: manifest.file_entry(content) for key, content in contents.items()}
    record = Manifest(
        name=name,
        id=manifest.release_id(files),
        created=datetime.now(UTC).replace(microsecond=0),
        files=files,
        data=list(data),
        parents=list(parents),
        generation_depth=manifest.depth_of(list(data)),
        real_fraction=real_fraction,
        recipe_sha256=files[_RECIPE].sha256,
        environment=manifest.environment(),
        seed=seed,
        training=training,
    )
    contents[_MANIFEST] = record.canonical()
    contents[_SIGNATURE] = manifest.sign(contents[_MANIFEST])
    for key, content in contents.items():
        (staging_dir / key).write_bytes(content)
    return record


def verify(location: storage.Location) -> Verification:
    """Compare every file of a release with its manifest, and the manifest with its signature, in bounded memory.

    Raises UserError where ``location`` is not a folder that can be read, ReleaseError where it has no manifest.
    """
    return _examine(location)[0]


def described(location: storage.Location) -> tuple[Verification, Schema | None, dict[str, Any]]:
    """What ``verify`` finds, and the schema and the recipe of a release that is whole; None and {} of any other.

    Raises ReleaseError where one is nothing that this version reads, else as ``verify`` does.
    """
    found, contents = _examine(location, keep=(_SCHEMA, _RECIPE))
    if not found.whole:
        return found, None, {}
    place = found.location
    return found, _parse(place, _SCHEMA, contents, _to_schema), _parse(place, _RECIPE, contents, _from_yaml)


def load(location: storage.Location, *, verify: bool = True) -> Release:
    """Read a release from a path or URI.

    Raises ReleaseError that names the file if one is altered, missing or not listed, or if the signature is missing
    or wrong; whose signature it is, ``.signer`` says. ``verify=False`` reads what it can of a damaged or unsigned
    release: for looking into one's own, never for anybody else's.
    """
    found, contents = _examine(location, keep=(*manifest.IDENTITY, _CERTIFICATE, _REPORT, _REFERENCE))
    if verify and not found.whole:
        raise ReleaseError(f"{found}\n{found.location}: not loaded; fetch it again from where it was published")
    if found.manifest is None:
        raise ReleaseError(str(found))
    place = found.location
    return Release(
        location=place,
        manifest=found.manifest,
        tensors=_parse(place, _WEIGHTS, contents, _to_tensors),
        codec=_parse(place, _CODEC, contents, _from_json),
        schema=_parse(place, _SCHEMA, contents, _to_schema),
        recipe=_parse(place, _RECIPE, contents, _from_yaml),
        certificate=_parse(place, _CERTIFICATE, contents, _from_json) if _CERTIFICATE in contents else None,
        report=_parse(place, _REPORT, contents, bytes.decode) if _REPORT in contents else None,
        signer=found.signer,
        reference=_parse(place, _REFERENCE, contents, _from_parquet) if _REFERENCE in contents else None,
    )


def _examine(location: storage.Location, keep: Sequence[str] = ()) -> tuple[Verification, dict[str, bytes]]:
    """Check a release, and return the very bytes that were checked of the files in ``keep``."""
    place = without_credentials(location)
    present = storage.list_files(location)
    if _MANIFEST not in present:
        raise ReleaseError(f"{place}: {_MANIFEST}: missing, so this is not a release, or not all of it")
    raw = storage.read_bytes(storage.join(location, _MANIFEST))
    problems: dict[str, str] = {}
    signer = record = None
    try:
        record = manifest.parse(raw)
    except ReleaseError as error:
        problems[_MANIFEST] = str(error)
    if _SIGNATURE not in present:
        problems[_SIGNATURE] = "missing, so nobody vouches for the manifest"
    else:
        try:
            signature = storage.read_bytes(storage.join(location, _SIGNATURE))
            signer = keys.signer(manifest.public_key_of(raw, signature))
        except manifest.SignatureError as error:
            problems[_SIGNATURE] = str(error)
            problems.setdefault(_MANIFEST, f"altered, or {_SIGNATURE} is not its signature")
    contents: dict[str, bytes] = {}
    listed = record.files if record else {}
    for name in dict.fromkeys((*manifest.IDENTITY, *listed)):
        if name not in present:
            problems[name] = "missing"
        elif name in listed:
            actual, content = _read(storage.join(location, name), keep=name in keep)
            if content is not None:
                contents[name] = content
            if actual != listed[name]:
                problems[name] = f"altered: its hash or size is not the one in {_MANIFEST}"
    if record:
        for name in present.keys() - listed.keys() - {_MANIFEST, _SIGNATURE}:
            problems[name] = f"not listed in {_MANIFEST}: added after the release was signed"
    return Verification(place, problems, signer, record), contents


def _read(location: str, *, keep: bool) -> tuple[FileEntry, bytes | None]:
    digest, size, chunks = hashlib.sha256(), 0, []
    for chunk in storage.read_chunks(location):
        digest.update(chunk)
        size += len(chunk)
        if keep:
            chunks.append(chunk)
    return FileEntry(sha256=digest.hexdigest(), bytes=size), b"".join(chunks) if keep else None


def _parse(place: str, name: str, contents: Mapping[str, bytes], parser: Callable[[bytes], T]) -> T:
    if name not in contents:
        raise ReleaseError(f"{place}: {name}: missing, or not listed in {_MANIFEST}")
    try:
        return parser(contents[name])
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ReleaseError(f"{place}: {name}: cannot be read: {error}") from error


def _to_schema(content: bytes) -> Schema:
    return Schema.model_validate(_from_yaml(content))


def _to_tensors(content: bytes) -> dict[str, torch.Tensor]:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def _to_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _from_parquet(content: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(content))  # ArrowInvalid is a ValueError


def _to_json(value: dict[str, Any]) -> bytes:
    """In the order given, unlike a manifest: the order of columns may mean something."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _from_json(content: bytes) -> dict[str, Any]:
    return _mapping(json.loads(content))


def _from_yaml(content: bytes) -> dict[str, Any]:
    return _mapping(yaml.safe_load(content))


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return value


def _to_yaml(value: dict[str, Any]) -> bytes:
    """Readable where that is exact: YAML folds some line separators of Unicode, which are then escaped instead."""
    for allow_unicode in (True, False):
        text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=allow_unicode, width=120))
        if yaml.safe_load(text) == value:
            break
    return text.encode("utf-8")


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {key: _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(item) for item in value]
    return value
