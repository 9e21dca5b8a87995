"""What a service serves, where, and within which limits: one validated document, a file or the command's own."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from platformdirs import user_state_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cluster.location import scrub
from synth.errors import UserError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # of a generator and of an alias: safe in a URL, a header and a label
DEFAULT_ALIAS = "production"
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Policy = Literal["warn", "stop", "fallback"]
_PAIR = "give the least and the most, such as [1, 4]"
_SAID = {  # of pydantic's errors, what is to be done
    "missing": "is missing; add it",
    "too_short": "has nothing in it; give one at least",
    "too_long": _PAIR,
    "tuple_type": _PAIR,
    "dict_type": "has keys of its own; write each below it, indented",
    "model_type": "has keys of its own; write each below it, indented",
    "string_pattern_mismatch": "write lower-case letters, digits, '.', '_' and '-', a letter or digit first",
}


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limits(_Document):
    """What comes from outside is bounded by these.

    ``rows`` of one answer (what is larger is a job), of one job ``job_rows``; ``body_kib`` of a request, and ``clauses``
    in it; ``head_s`` until a request's head has come and ``body_s`` until its body has; ``first_s`` from then until the first
    rows are there, and ``answer_s`` until the last byte of an answer has left; ``connections`` at once.
    """

    rows: int = Field(default=1_000_000, ge=1)
    job_rows: int = Field(default=10_000_000_000, ge=1)
    body_kib: int = Field(default=64, ge=1)
    clauses: int = Field(default=64, ge=1)
    head_s: float = Field(default=10.0, gt=0)
    body_s: float = Field(default=10.0, gt=0)
    first_s: float = Field(default=120.0, gt=0)
    answer_s: float = Field(default=3_600.0, gt=0)
    connections: int = Field(default=4_096, ge=1)


class Served(_Document):
    """A generator: its ``versions``, releases by number, and ``aliases``, each a share of the requests by version."""

    versions: dict[int, str] = Field(min_length=1)
    aliases: dict[Name, dict[int, float]] = {}

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if low := [version for version in self.versions if version < 1]:
            raise ValueError(f"version {low[0]}: count versions from 1")
        for alias, shares in self.aliases.items():
            checked_shares(alias, shares, self.versions)
        return self

    @property
    def all_aliases(self) -> dict[str, dict[int, float]]:
        """With the default one, which is the latest version where nothing else is said."""
        return {DEFAULT_ALIAS: {max(self.versions): 1.0}} | self.aliases


def checked_shares(alias: str, shares: Mapping[int, float], versions: Mapping[int, str]) -> dict[int, float]:
    """The shares, as parts of 1. UserError for an unknown version, a negative share or none above 0."""
    if unknown := [version for version in shares if version not in versions]:
        known = ", ".join(map(str, sorted(versions)))
        raise UserError(f"alias {alias!r}: there is no version {unknown[0]}; there are {known}")
    total = sum(shares.values())
    if not total > 0 or min(shares.values()) < 0 or total == float("inf"):
        raise UserError(f"alias {alias!r}: shares {dict(shares)} must be 0 or more, and one of them above 0")
    return {version: share / total for version, share in shares.items() if share}


class Settings(_Document):
    """A service: ``generators`` by name; the address it listens at, for gRPC at a port of its own or not at all; a file of
    ``keys``, which it cannot do without beyond loopback; a certificate and its key for TLS; where its ``state`` is kept, and
    where the rows of ``jobs`` go, a folder or a storage URI (in the state, where nothing is said); how
    many ``replicas`` of the sampler there may be, and the parts of a CPU and of a GPU that Ray sets aside for each, whose rest
    jobs may have; what is done on an alarm; whether releases of signers who are not known here are served; and whether rows
    carry a ``watermark``, by which this user knows them again, which takes twice the time.
    """

    generators: dict[Name, Served] = Field(min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    keys: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None
    state: str = Field(default_factory=lambda: str(user_state_path("artesian") / "serve"))
    jobs: str | None = None
    replicas: tuple[int, int] = (1, 1)
    replica_cpus: float = Field(default=1.0, gt=0, le=1)
    replica_gpus: float = Field(default=0.0, ge=0, le=1)
    policy: Policy = "warn"
    any_signer: bool = False
    watermark: bool = False
    limits: Limits = Limits()

    @field_validator("replicas")
    @classmethod
    def _ordered(cls, replicas: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= replicas[0] <= replicas[1]:
            raise ValueError(f"{replicas[0]} to {replicas[1]}: {_PAIR}")
        return replicas

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.keys is None and not loopback(self.host):
            raise ValueError(
                f"host {self.host}: can be reached from other machines, and there are no keys; make some with artesian keys "
                "add keys.yaml --name NAME, and give --keys keys.yaml"
            )
        if (self.certificate is None) != (self.certificate_key is None):
            alone = "certificate" if self.certificate_key is None else "certificate_key"
            raise ValueError(
                f"{alone} {getattr(self, alone)}: TLS takes a certificate and a certificate_key; give both"
            )
        return self

    @classmethod
    def read(cls, path: Path, **others: Any) -> Settings:
        """From a YAML file, of which what is given holds instead. UserError names the file and the key."""
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as e:  # ValueError: not UTF-8, or a date that there is not
            raise UserError(f"{path}: cannot be read: {e}") from e
        if not isinstance(found, dict):
            raise UserError(f"{path}: is no document of settings, in which generators: has a generator a line")
        return cls.check(found | others, where=str(path))

    @classmethod
    def check(cls, document: Mapping[str, Any], *, where: str) -> Settings:
        """UserError for what is wrong, with its place."""
        try:
            return cls.model_validate(document)
        except ValidationError as e:
            raise UserError("\n".join(f"{where}: {_explained(cls, error)}" for error in e.errors())) from e


def _explained(part: type[BaseModel], error: Any) -> str:
    """One of pydantic's errors: the key, what stands there, and what should."""
    kind, path = error["type"], [str(name) for name in error["loc"] if name != "[key]"]
    key, value = ".".join(path), error["input"]
    if kind == "extra_forbidden":
        inside: dict[str, type[BaseModel]] = {"limits": Limits, "generators": Served}
        known = list(inside.get(path[0] if len(path) > 1 else "", part).model_fields)
        near = difflib.get_close_matches(path[-1], known, n=1)
        return f"unknown key {key!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")
    shown = f"={value!r}" if isinstance(value, str | int | float) and kind != "missing" else ""
    said = _SAID.get(kind, error["msg"].removeprefix("Value error, "))
    return f"{key}{shown}: {said}".removeprefix(": ")


def loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def named(releases: Sequence[str], names: Mapping[str, str]) -> dict[str, dict[str, dict[int, str]]]:
    """The generators of a command's arguments ``NAME[@VERSION]=PLACE`` or ``PLACE``, of which ``names`` gives the name.

    Places of one name without a version are its versions 1, 2, … in their order. UserError for a name that cannot be one,
    and for two releases of one version.
    """
    found: dict[str, dict[int, str]] = {}
    for text in releases:
        told, place = apart(text)
        name, _, version = (told or names[place]).partition("@")
        if not NAME.fullmatch(name):
            raise UserError(
                f"{scrub(text)}: {name!r} cannot name a generator: lower-case letters, digits, '.', '_' and '-', such as "
                f"adult={scrub(place)}"
            )
        versions = found.setdefault(name, {})
        number = int(version) if version else max(versions, default=0) + 1
        if number in versions:
            raise UserError(f"{scrub(text)}: {name}@{number} is {scrub(versions[number])}; give another version")
        versions[number] = place
    return {name: {"versions": versions} for name, versions in found.items()}


def apart(text: str) -> tuple[str, str]:
    """The ``NAME[@VERSION]`` of an argument, empty where it has none, and the place."""
    match = re.match(r"([\w.-]+(?:@\d+)?)=", text)
    return ("", text) if match is None else (match[1], text[match.end() :])
