"""Where a request is let in: who asks, for what, whether there is room; and where it is written down what was sent.

One desk stands before all replicas of the sampler, so that quotas, metrics and the audit are counted once. It knows
nothing of HTTP and of Ray. What it must not forget lies in the folder of the service's state.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from cluster import storage
from serving.admission import Admission, OverloadError
from serving.audit import Audit
from serving.catalogue import Catalogue, UnknownError, Version
from serving.keys import Key, KeyFile
from serving.metrics import Metrics
from serving.monitor.monitor import Report
from serving.monitor.watch import Alarm
from serving.quota import Exceeded, Quotas
from serving.settings import Settings
from synth import release as releases
from synth.errors import ReleaseError
from synth.provenance import keys
from synth.provenance.manifest import Manifest
from synth.release import Release

STATE = "desk.json"


class UnhealthyError(Exception):
    """The monitor has raised an alarm for what was asked for, and the policy is to serve nothing then."""


@dataclass
class Shelf:
    """A release that is served: what is known of it without its weights, and its health."""

    version: Version
    manifest: Manifest
    schema: dict[str, Any]
    certificate: dict[str, Any] | None
    signer: str
    alarm: dict[str, Any] | None = None
    report: Report | None = None

    @property
    def healthy(self) -> bool:
        return self.alarm is None


@dataclass
class Grant:
    """An answer that is under way: for whom, from which release, rows ``first`` … ``first + rows − 1`` of ``seed``."""

    key: Key | None
    shelf: Shelf
    seed: int
    first: int
    rows: int
    began: float
    sent: int = 0
    first_row_s: float | None = field(default=None)


class Desk:
    """Opens with every release verified; ReleaseError for one that is damaged, or of a signer who is not known here."""

    def __init__(
        self, settings: Settings, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self.settings, self.clock, self.now = settings, clock, now
        self.signing_key = keys.signing_key()
        self.catalogue, self.metrics, self.admission = (
            Catalogue(dict(settings.generators)),
            Metrics(metadata.version("artesian"), metadata.version("ray")),
            Admission(),
        )
        self.keys = KeyFile(Path(settings.keys), clock) if settings.keys is not None else None
        self.quotas = Quotas()
        self.folder = Path(settings.state)
        self.audit = Audit(self.folder)
        self.shelves = {str(v): opened(v, any_signer=settings.any_signer) for v in self.catalogue.versions()}
        self._restore()
        for name, shelf in self.shelves.items():
            self.metrics.add_release(name)
            self.metrics.health_changed(name, shelf.healthy)

    def time(self) -> datetime:
        """The time of day."""
        return datetime.fromtimestamp(self.now(), UTC)

    def grant(self, key: Key | None, wanted: str, seed: int, first: int, rows: int) -> Grant:
        """Let a request in. UnknownError, Exceeded, UnhealthyError or OverloadError where it is not."""
        shelf = self.shelves[str(self.catalogue.find(wanted, seed))]
        if not shelf.healthy and self.settings.policy == "stop":
            self.metrics.request_shed("unhealthy")
            raise UnhealthyError(
                f"{shelf.version}: its samples are no longer what was certified; serving is stopped until someone who may has "
                "looked at it"
            )
        try:
            self.admission.enter(rows)
        except OverloadError:
            self.metrics.request_shed("overload")
            raise
        if key is not None:
            try:
                self.quotas.take(key, rows, self.now())
            except Exceeded as e:
                self.admission.leave(rows)
                self.metrics.quota_refused(e.kind)
                raise
        self.metrics.queue_changed(self.admission.queued_rows)
        return Grant(key, shelf, seed, first, rows, self.clock())

    def sent(self, grant: Grant, rows: int, seconds: float) -> None:
        """So many rows have left, which were computed in so many seconds."""
        grant.sent += rows
        if grant.first_row_s is None:
            grant.first_row_s = self.clock() - grant.began
            self.metrics.first_row_sent(str(grant.shelf.version), grant.first_row_s)
        self.admission.leave(rows)
        self.metrics.rows_sent(str(grant.shelf.version), rows)
        self.metrics.batch_sampled(str(grant.shelf.version), rows, seconds)
        self.metrics.queue_changed(self.admission.queued_rows)

    def done(self, grant: Grant, code: int, asked: Mapping[str, Any]) -> None:
        """The answer is over, whole or not: what was not sent costs nothing, and what was is written down."""
        unsent = grant.rows - grant.sent
        self.admission.leave(unsent)
        if grant.key is not None and unsent:
            self.quotas.give_back(grant.key, unsent)
        self.metrics.queue_changed(self.admission.queued_rows)
        self.metrics.request_done(str(grant.shelf.version), code, self.clock() - grant.began)
        self.audit.write(
            {
                "event": "sample", "key": grant.key and grant.key.id, "release": grant.shelf.manifest.id,
                "version": str(grant.shelf.version), "seed": grant.seed, "first": grant.first, "rows": grant.rows,
                "sent": grant.sent, "code": code, **asked,
            }
        )  # fmt: skip

    def assign(self, key: Key | None, name: str, alias: str, shares: Mapping[int, float]) -> dict[int, float]:
        """Have an alias stand for other versions, from the next request on."""
        found = self.catalogue.assign(name, alias, shares)
        self._changed({"event": "assign", "key": key and key.id, "alias": f"{name}:{alias}", "shares": found})
        return found

    def roll_back(self, key: Key | None, name: str, alias: str) -> dict[int, float]:
        """Have an alias stand for what it did before."""
        found = self.catalogue.roll_back(name, alias)
        self._changed({"event": "roll back", "key": key and key.id, "alias": f"{name}:{alias}", "shares": found})
        return found

    def charge(self, key: Key | None, rows: int) -> None:
        """Take a job's rows from the quota. Exceeded where they are more than is left."""
        if key is not None:
            self.quotas.take(key, rows, self.now())

    def watched(self, version: str, report: Report) -> None:
        """What the monitor of a version knows now."""
        shelf = self.shelves[version]
        before, shelf.report = shelf.report, report
        if before is None or report.rows < before.rows:  # the first, or of a watcher that has begun anew
            before = Report(rows=report.rows, skipped=report.skipped, spent_s=report.spent_s)
        self.metrics.rows_watched(version, report.rows - before.rows, report.spent_s - before.spent_s)
        self.metrics.rows_skipped(version, report.skipped - before.skipped)
        self.metrics.evidence_changed(version, report.log_e_value, report.threshold)
        self.metrics.diversity_measured(version, report.trends)

    def replicas(self, running: int, target: int) -> None:
        """How many samplers there are, and should be."""
        self.admission.replicas = max(running, 1)
        self.metrics.replicas_changed(running, target)

    def raise_alarm(self, version: str, alarm: Alarm) -> None:
        """Mark a release as unhealthy, and do what the policy says."""
        shelf = self.shelves[version]
        shelf.alarm = {
            "at": self.now(), "detector": alarm.detector, "rows": alarm.rows, "changes": [str(c) for c in alarm.changes],
        }  # fmt: skip
        self.metrics.alarm_raised(version, alarm.detector)
        told = {"event": "alarm", "version": version, **shelf.alarm}
        if self.settings.policy == "fallback" and (other := self._last_sound(shelf.version)) is not None:
            self.catalogue.fallen[version] = other
            told["falls back to"] = f"{shelf.version.name}@{other}"
        self._changed(told)

    def _last_sound(self, version: Version) -> int | None:
        """The latest earlier version that is healthy."""
        numbers = sorted(self.catalogue.generators[version.name].versions, reverse=True)
        return next((k for k in numbers if k < version.number and self.shelves[f"{version.name}@{k}"].healthy), None)

    def acknowledge(self, key: Key | None, wanted: str) -> None:
        """Call a version healthy again. UnknownError for an alias, of which it would not be clear what is meant."""
        if wanted not in self.shelves:
            raise UnknownError(f"{wanted}: name a version; there are {', '.join(sorted(self.shelves))}")
        self.shelves[wanted].alarm = None
        self.catalogue.fallen.pop(wanted, None)
        self.metrics.health_changed(wanted, healthy=True)
        self._changed({"event": "acknowledge", "key": key and key.id, "version": wanted})

    def _changed(self, told: Mapping[str, Any]) -> None:
        self.audit.write(told)
        self.save()

    def save(self) -> None:
        """What must survive a restart."""
        if self.keys is not None:
            self.quotas.keep(self.keys.current().by_id)
        alarms = {name: shelf.alarm for name, shelf in self.shelves.items() if shelf.alarm is not None}
        state = {"catalogue": self.catalogue.state(), "quotas": self.quotas.state(), "alarms": alarms}
        storage.write_bytes(str(self.folder / STATE), json.dumps(state).encode())

    def _restore(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            return
        state = json.loads(path.read_bytes())
        self.catalogue.restore(state["catalogue"])
        self.quotas.restore(state["quotas"], self.now())
        for name, alarm in state["alarms"].items():
            if name in self.shelves:
                self.shelves[name].alarm = alarm

    def close(self) -> None:
        self.save()
        self.audit.close()


def opened(version: Version, *, any_signer: bool) -> Shelf:
    """A release, verified; its weights are let go again."""
    release = releases.load(version.place)
    trusted(release, any_signer=any_signer)
    assert release.signer is not None
    return Shelf(
        version, release.manifest, release.schema.model_dump(mode="json"), release.certificate, str(release.signer)
    )


def trusted(release: Release, *, any_signer: bool) -> None:
    """ReleaseError where it was signed by somebody who is not known here."""
    if release.signer is not None and release.signer.kind == "unknown" and not any_signer:
        raise ReleaseError(f"{release.location}: is signed by {release.signer}")
