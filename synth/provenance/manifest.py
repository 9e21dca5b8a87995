"""The signed record of what a release is made of: files, data, parents, code and environment.

The manifest lists a hash of every other file, so its signature covers the whole release. It is written as canonical
JSON (sorted keys, UTF-8, no white space): the same record is the same bytes, and any change to them is one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.location import without_credentials
from synth.errors import ReleaseError
from synth.provenance import keys

# What decides the rows that a release draws; its id is made of these, so the same generator has the same id however
# often it is certified.
IDENTITY = ("weights.safetensors", "codec.json", "schema.yaml", "recipe.yaml")

_PACKAGES = ("artesian", "torch", "ray", "deepspeed", "numpy", "pyarrow")
_LATER = re.compile(rb'"format":"artesian-release/(\d{1,3})"')  # as manifests spell it
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*")  # relative, and no way out of the folder

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SignatureError(ReleaseError):
    """A signature file that does not belong to its manifest."""


def _inside(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain path inside a release")
    return name


class FileEntry(_Record):
    """One file of a release."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class DataEntry(_Record):
    """One table that took part. ``depth`` is 0 for real rows and g + 1 for rows drawn from a release of depth g; ``releases``
    are the ids of those that its rows were drawn from, as far as they say so."""

    location: Annotated[str, AfterValidator(without_credentials)]
    sha256: Sha256
    rows: int = Field(ge=0)
    role: Literal["train", "test"]
    real: bool = True
    depth: int = Field(default=0, ge=0)
    releases: list[Sha256] = []

    @model_validator(mode="after")
    def _real_rows_have_no_generator(self) -> Self:
        if self.real != (self.depth == 0):
            raise ValueError(
                f"{self.location}: depth {self.depth} but real={self.real}; real rows, and only those, have 0"
            )
        return self


class Diversity(_Record):
    """Of as many rows as are watched, each a share: ``coverage`` of real rows, ``rare`` states found (None: no state is
    rare), ``modes`` found, numbers in the ``tails`` (None: there are no numbers), ``duplicates``."""

    coverage: float = Field(ge=0, le=1)
    rare: float | None = Field(ge=0, le=1)
    modes: float = Field(ge=0, le=1)
    tails: float | None = Field(ge=0, le=1)
    duplicates: float = Field(ge=0, le=1)


class Check(Diversity):
    """What the averaged weights drew after ``step``, and the mean ``loss`` of the steps since the check before."""

    step: int = Field(ge=0)
    loss: float


class Loss(_Record):
    """The mean ``loss`` of the averaged weights after ``step`` on rows that nothing was learnt from, and its standard error."""

    step: int = Field(ge=0)
    loss: float
    error: float = Field(ge=0)


class Watched(_Record):
    """How diverse the samples were on the way, against ``rows`` real rows of a ``part`` of the split, of which
    ``left_out`` could not be encoded; ``real`` are the figures of as many other rows of that part. ``losses`` are those on
    rows of that part, none where they decide nothing."""

    part: Literal["train", "select"]
    rows: int = Field(ge=1)
    left_out: int = Field(ge=0)
    real: Diversity
    checks: list[Check]
    losses: list[Loss] = []


class Look(_Record):
    """A look at rows that decisions are kept from: which part of the split, what for, how many ``samples`` were scored,
    and when."""

    part: Literal["confirm", "test"]
    what: str
    samples: int = Field(ge=1)
    at: AwareDatetime


class Selection(_Record):
    """How a recipe was chosen among others: the study, the key of the split whose rows decided, how many ``trials`` it had,
    ``why`` this one; what it was worth on ``select`` and on ``confirm`` (utility relative to real rows less penalties, None
    where it was not scored there), and every look at rows of confirm and test."""

    study: str
    split_key: str
    trials: int = Field(ge=1)
    why: str
    select: float | None
    confirm: float | None
    looks: list[Look]


class Training(_Record):
    """What the training run took: optimizer steps, seconds from the first step, workers, ZeRO stage and why it was that,
    their devices; and what happened to it: returns to a checkpoint, checkpoints passed over, nodes lost with notice, and
    how diverse its samples were, None where that was not watched; how its recipe was selected, None where a person did."""

    steps: int = Field(ge=0)
    seconds: float = Field(ge=0)
    workers: int = Field(ge=1)
    zero: int = Field(ge=0, le=3)
    sharding: str | None = None
    devices: list[str]
    notes: list[str] = []
    watched: Watched | None = None
    selection: Selection | None = None


class Environment(_Record):
    """The machine and code that made a release. ``git_commit`` ends in ``-dirty`` where files were changed since."""

    python: str
    platform: str
    packages: dict[str, str | None]
    git_commit: str | None


class Manifest(_Record):
    """The record. ``generation_depth`` is 0 for a generator that learnt from real rows alone, else the largest depth
    among its training tables; ``real_fraction`` is the share of real rows in what it saw."""

    format: Literal["artesian-release/1"] = "artesian-release/1"
    name: str
    id: Sha256
    created: AwareDatetime
    files: dict[Annotated[str, AfterValidator(_inside)], FileEntry]
    data: list[DataEntry]
    parents: list[Sha256]
    generation_depth: int = Field(ge=0)
    real_fraction: float = Field(ge=0, le=1)
    recipe_sha256: Sha256
    environment: Environment
    seed: int
    training: Training

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.id != release_id(self.files):
            raise ValueError("id is not the hash of the files that it stands for")
        if self.generation_depth != depth_of(self.data):
            raise ValueError(f"generation_depth is {self.generation_depth}, the training data's {depth_of(self.data)}")
        return self

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        return canonical_json(self.model_dump(mode="json"))


def file_entry(content: bytes) -> FileEntry:
    """What a manifest says of a file with this content."""
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def canonical_json(value: Any) -> bytes:
    """``value`` as JSON that has one spelling. Raises ValueError for NaN and infinity, which JSON has no word for."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def release_id(files: Mapping[str, FileEntry]) -> str:
    """SHA-256 over the hashes of the files that decide a release's rows."""
    return hashlib.sha256(canonical_json({n: files[n].sha256 for n in IDENTITY if n in files})).hexdigest()


def depth_of(data: list[DataEntry]) -> int:
    """The generation depth of a generator trained on ``data``."""
    return max((entry.depth for entry in data if entry.role == "train"), default=0)


def environment() -> Environment:
    """The running interpreter, platform and installed versions; imports none of the packages."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: installed_version(name) for name in _PACKAGES},
        git_commit=_git_commit(Path(__file__).resolve().parents[2]),
    )


def installed_version(package: str) -> str | None:
    """The installed version of a distribution, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit(root: Path) -> str | None:
    if not (root / ".git").exists():  # installed, and perhaps inside somebody else's checkout
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def sign(manifest: bytes) -> bytes:
    """The content of ``manifest.sig`` for the bytes of ``manifest.json``, with this user's key."""
    signature, public_key = keys.sign(manifest)
    return _signature_file(signature, public_key)


def _signature_file(signature: bytes, public_key: bytes) -> bytes:
    return canonical_json(
        {
            "algorithm": "ed25519",
            "public_key": base64.b64encode(public_key).decode(),
            "signature": base64.b64encode(signature).decode(),
        }
    )


def public_key_of(manifest: bytes, signature_file: bytes) -> bytes:
    """The public key whose signature ``signature_file`` carries over ``manifest``; the caller decides if it is known.

    Raises SignatureError where it carries none. The file has one spelling only: base64 has bits that decode to nothing,
    and a file that could be changed without notice would not be signed.
    """
    try:
        fields = json.loads(signature_file)
        signature = base64.b64decode(fields["signature"], validate=True)
        public_key = base64.b64decode(fields["public_key"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SignatureError("not a signature") from error
    if _signature_file(signature, public_key) != signature_file:
        raise SignatureError("not a signature in its only spelling")
    if not keys.verify(manifest, signature, public_key):
        raise SignatureError("not the signature of manifest.json")
    return public_key


def parse(content: bytes) -> Manifest:
    """Read the bytes of a manifest. Raises ReleaseError where they are none, or one of a later format."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        if (later := _LATER.search(content)) and later[1] != b"1":
            raise ReleaseError(
                f"is of format artesian-release/{later[1].decode()}, which a later version of Artesian writes; update this one"
            ) from error
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise ReleaseError(f"not a manifest that this version reads: {where}{first['msg']}") from error
