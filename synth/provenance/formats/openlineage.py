"""Trainings as events of OpenLineage (2-0-2): what each has read, and the release that it has written.

A release is a data set, too: it is what a training writes, and what the rows of a later one were drawn from. Run ids are made
of release ids, so that an event that is sent twice is one run.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from synth.provenance.formats import subject
from synth.provenance.formats.subject import URN
from synth.provenance.lineage import Node
from synth.provenance.manifest import DataEntry, Manifest, installed_version

NAMESPACE = "artesian"  # of jobs, releases and tables of a disk; other tables have their storage's
_SPEC = "https://openlineage.io/spec"
_RUNS = uuid.uuid5(uuid.NAMESPACE_URL, f"{URN}release")


def trainings(node: Node) -> list[dict[str, Any]]:
    """The events of each training in an ancestry of which the release is here, the earliest generations first."""
    there = [found for one in subject.each(node) if (found := subject.record(one)) is not None]
    there.reverse()  # a release and its refinement have one depth, and may have one second: parents come later in a walk
    there.sort(key=lambda found: (found.generation_depth, found.created))
    return [event for found in there for event in events(found)]


def events(found: Manifest) -> list[dict[str, Any]]:
    """START and COMPLETE of the training of a release. It starts at the first step, and is complete once it is signed."""
    inputs = [_table(entry) for entry in found.data]
    tables, drawn = {entry.sha256 for entry in found.data}, [id for entry in found.data for id in entry.releases]
    inputs += [_release(id) for id in dict.fromkeys([*drawn, *found.parents]) if id not in tables]
    return [_event("START", subject.began(found), found, inputs), _event("COMPLETE", found.created, found, inputs)]


def _event(what: str, at: datetime, found: Manifest, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    lineage = {
        "release": found.id, "depth": found.generation_depth, "realFraction": found.real_fraction, "seed": found.seed,
        "steps": found.training.steps,
    }  # fmt: skip
    kind = {"processingType": "BATCH", "integration": "ARTESIAN", "jobType": "TRAINING"}
    return {
        "eventType": what,
        "eventTime": at.isoformat(),
        "run": {
            "runId": str(uuid.uuid5(_RUNS, found.id)),
            "facets": {"artesian_lineage": _facet(f"{URN}schema:1-0-0:ArtesianLineageRunFacet", lineage)},
        },
        "job": {
            "namespace": NAMESPACE,
            "name": f"train.{subject.shown(found.name)}",
            "facets": {"jobType": _facet(f"{_SPEC}/facets/2-0-4/JobTypeJobFacet.json", kind)},
        },
        "inputs": inputs,
        "outputs": [_release(found.id)] if what == "COMPLETE" else [],
        "producer": _producer(),
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def _release(id: str) -> dict[str, Any]:
    return {"namespace": NAMESPACE, "name": f"release/{id}", "facets": {"version": _version(id)}}


def _table(entry: DataEntry) -> dict[str, Any]:
    """By the naming rules of OpenLineage: the storage, and the place in it. A path means something on one machine alone, and
    to its people: what has one goes by its last part and its hash, by which tables of one name are kept apart."""
    namespace, name = NAMESPACE, f"{subject.base_name(entry.location)}@{entry.sha256[:12]}"
    if subject.is_everywhere(entry.location):
        scheme, _, rest = entry.location.partition("://")
        host, _, name = rest.partition("?")[0].partition("/")
        namespace = f"{scheme}://{host}"
    said = {"role": entry.role, "real": entry.real, "depth": entry.depth, "rows": entry.rows}
    facets = {
        "version": _version(entry.sha256),
        "artesian_rows": _facet(f"{URN}schema:1-0-0:ArtesianRowsDatasetFacet", said),
    }
    return {"namespace": namespace, "name": subject.shown(name), "facets": facets}


def _version(sha256: str) -> dict[str, Any]:
    return _facet(f"{_SPEC}/facets/1-0-0/DatasetVersionDatasetFacet.json", {"datasetVersion": sha256})


def _facet(schema: str, said: dict[str, Any]) -> dict[str, Any]:
    return {"_producer": _producer(), "_schemaURL": schema, **said}


def _producer() -> str:
    return f"{URN}producer:{installed_version('artesian')}"
