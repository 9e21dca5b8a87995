"""A release as the service knows it without its weights: verified, of a signer who is known, and in health or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.catalogue import Version
from serving.monitor.monitor import Report
from synth import release as releases
from synth.asking import Quality
from synth.data.codec import Codec
from synth.data.schema import Schema
from synth.errors import ReleaseError
from synth.generators.families import build
from synth.provenance.manifest import Manifest
from synth.recipe import Recipe
from synth.release import Release


@dataclass
class Shelf:
    """A release that is served, in these ``qualities``. ``joins`` says that rows of which nothing is asked are drawn in small
    blocks (see ``synth.sampling``), ``at_once`` that the device which drew last draws several of them in the time of one."""

    version: Version
    manifest: Manifest
    schema: Schema
    certificate: dict[str, Any] | None
    signer: str
    qualities: tuple[Quality, ...]
    joins: bool
    at_once: bool = False
    alarm: dict[str, Any] | None = None
    report: Report | None = None

    @property
    def healthy(self) -> bool:
        return self.alarm is None


def opened(version: Version, *, any_signer: bool) -> Shelf:
    """A release, verified; its weights are let go again. ReleaseError for one that is damaged, or of a signer who is not known
    here."""
    release = releases.load(version.place)
    trusted(release, any_signer=any_signer)
    assert release.signer is not None
    taught = any(name.startswith("student.") for name in release.tensors)
    return Shelf(
        version, release.manifest, release.schema, release.certificate, str(release.signer),
        ("best", "fast") if taught else ("best",), _joins(release),
    )  # fmt: skip


def trusted(release: Release, *, any_signer: bool) -> None:
    """ReleaseError where it was signed by somebody who is not known here."""
    if release.signer is not None and release.signer.kind == "unknown" and not any_signer:
        raise ReleaseError(f"{release.location}: is signed by {release.signer}")


def _joins(release: Release) -> bool:
    try:
        codec = Codec.model_validate(release.codec | {"table": release.schema})
    except (ValueError, TypeError, KeyError) as e:
        raise ReleaseError(f"{release.location}: codec.json: is of another version or shape: {e}") from e
    return build(Recipe.check(release.recipe, where=f"{release.location}: recipe.yaml"), codec.layout).joins
