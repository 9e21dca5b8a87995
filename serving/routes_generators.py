"""What there is to draw from, and which version a name stands for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from serving.access import Caller, Name, Who, desk_of
from serving.asked import Number
from serving.desk import Desk
from serving.shelf import Shelf
from synth.asking import Quality

router = APIRouter(tags=["generators"])
Alias = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Version = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]
Generator = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Shares(BaseModel):
    """What an alias stands for: a version, or several with their shares of the requests."""

    model_config = ConfigDict(extra="forbid")

    shares: dict[Version, Number] = Field(min_length=1, max_length=100, examples=[{"3": 0.9, "4": 0.1}])


class Aliased(BaseModel):
    """What an alias stands for now; the shares sum to 1."""

    alias: str
    shares: dict[int, float]


class Release(BaseModel):
    """A version of a generator."""

    version: int
    release: str = Field(description="The release's id, a hash of what decides its rows.")
    signer: str
    created: str
    depth: int = Field(description="Of rows drawn from it: 1 where it learnt from real rows alone.")
    real_fraction: float
    qualities: list[Quality] = Field(description="In which its rows can be asked for; fast: by its student.")
    healthy: bool
    alarm: dict[str, Any] | None
    trends: dict[str, Any] = Field(description="Figures of the last rows that were sent, each beside its baseline.")


class Summary(BaseModel):
    """A generator with its versions and aliases."""

    name: str
    versions: list[Release]
    aliases: dict[str, dict[int, float]]


class Details(Summary):
    """A generator, with the schema, certificate and lineage of the version that was asked for."""

    version: int
    schema_: dict[str, Any] = Field(serialization_alias="schema")
    certificate: dict[str, Any] | None
    lineage: dict[str, Any]


class Everything(BaseModel):
    generators: list[Summary]


@router.get("/v1/generators")
async def generators(request: Request, who: Who) -> Everything:
    """The generators that this caller may draw from; of each, the versions and aliases that this holds for."""
    desk = desk_of(request)
    found = [_summary(desk, name, who) for name in desk.catalogue.generators]
    return Everything(generators=[summary for summary in found if summary.versions])


@router.get("/v1/generators/{name}")
async def generator(request: Request, name: Name, who: Who) -> Details:
    """A generator, version or alias: its schema, certificate, lineage and health."""
    desk = desk_of(request)
    who.must(name)
    shelf = desk.find(name, seed=0)
    manifest = shelf.manifest.model_dump(mode="json")
    lineage = {key: manifest[key] for key in ("id", "created", "parents", "generation_depth", "real_fraction", "data")}
    return Details(
        **_summary(desk, shelf.version.name, who).model_dump(), version=shelf.version.number,
        schema_=shelf.schema.model_dump(mode="json"),
        certificate=shelf.certificate, lineage=lineage,
    )  # fmt: skip


@router.put("/v1/generators/{name}/aliases/{alias}")
async def assign(request: Request, name: Generator, alias: Alias, wanted: Shares, who: Who) -> Aliased:
    """Promote a version, or try one out on a share of the requests. Requests that are under way end as they began."""
    who.must_rule(name)
    shares = {int(version): share for version, share in wanted.shares.items()}
    return Aliased(alias=f"{name}:{alias}", shares=desk_of(request).assign(who.key, name, alias, shares))


@router.post("/v1/generators/{name}/aliases/{alias}/rollback")
async def roll_back(request: Request, name: Generator, alias: Alias, who: Who) -> Aliased:
    """Have an alias stand for what it did before its last change."""
    who.must_rule(name)
    return Aliased(alias=f"{name}:{alias}", shares=desk_of(request).roll_back(who.key, name, alias))


@router.post("/v1/generators/{name}/acknowledge")
async def acknowledge(request: Request, name: Name, who: Who) -> Release:
    """Call a version healthy again, after its alarm was looked into."""
    who.must_rule(name)
    desk = desk_of(request)
    desk.acknowledge(who.key, name)
    request.app.state.backend.watch_anew(desk.shelves[name].version)
    return _release(desk.shelves[name])


def _summary(desk: Desk, name: str, who: Caller) -> Summary:
    """What the caller reaches of a generator: aliases, what they stand for, and versions by their numbers."""
    aliases = {a: shares for a, shares in desk.catalogue.aliases[name].items() if who.may(f"{name}:{a}")}
    behind = {number for shares in aliases.values() for number in shares}
    versions = [
        shelf for full, shelf in desk.shelves.items()
        if shelf.version.name == name and (shelf.version.number in behind or who.may(full))
    ]  # fmt: skip
    return Summary(name=name, versions=[_release(shelf) for shelf in versions], aliases=aliases)


def _release(shelf: Shelf) -> Release:
    manifest = shelf.manifest
    return Release(
        version=shelf.version.number, release=manifest.id, signer=shelf.signer, created=manifest.created.isoformat(),
        depth=manifest.generation_depth + 1, real_fraction=manifest.real_fraction, qualities=list(shelf.qualities),
        healthy=shelf.healthy, alarm=shelf.alarm, trends=_trends(shelf),
    )  # fmt: skip


def _trends(shelf: Shelf) -> dict[str, Any]:
    found = {} if shelf.report is None else shelf.report.trends
    return {name: asdict(trend) | {"ratio": trend.ratio} for name, trend in found.items()}
