"""Where a request is let in: who asks, for what, whether there is room; and where it is written down what was sent.

One desk stands before all replicas of the sampler, so that quotas, metrics and the audit are counted once. It knows
nothing of HTTP and of Ray. What it must not forget lies in the folder of the service's state.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cluster import storage
from serving.admission import Admission, OverloadError
from serving.audit import Audit
from serving.catalogue import Catalogue, UnknownError, Version
from serving.grant import Grant
from serving.key_file import KeyFile
from serving.keys import Key
from serving.metrics import OTHER, Metrics
from serving.monitor.monitor import Report
from serving.monitor.watch import Alarm
from serving.quota import Exceeded, Quotas
from serving.settings import Settings
from serving.shelf import Shelf, opened
from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.watermark import Mark

STATE = "desk.json"
SAVE_S = 10.0  # after which what was spent is saved again: so much a crash gives back


class UnhealthyError(Exception):
    """The monitor has raised an alarm for what was asked for, and the policy is to serve nothing then."""


class Desk:
    """Opens with every release verified; ReleaseError for one that is damaged, or of a signer who is not known here;
    UserError for keys or a state that cannot be read. ``marks`` are the watermarks that rows carry, by the releases' ids."""

    def __init__(
        self, settings: Settings, marks: Mapping[str, Mark] = MappingProxyType({}), *,
        clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.settings, self.marks, self.clock, self.now = settings, marks, clock, now
        self.signing_key = keys.signing_key()
        self.catalogue, self.metrics, self.admission = (
            Catalogue(dict(settings.generators)),
            Metrics(metadata.version("artesian"), metadata.version("ray")),
            Admission(),
        )
        self.keys = KeyFile(Path(settings.keys), clock) if settings.keys is not None else None
        self.quotas, self.under_way = Quotas(), 0  # answers
        self.folder = Path(settings.state)
        self.audit = Audit(self.folder)
        self.shelves = {str(v): opened(v, any_signer=settings.any_signer) for v in self.catalogue.versions()}
        self._restore()
        self.saved = clock()
        for name, shelf in self.shelves.items():
            self.metrics.add_release(name)
            self.metrics.health_changed(name, shelf.healthy)

    def time(self) -> datetime:
        """The time of day."""
        return datetime.fromtimestamp(self.now(), UTC)

    def find(self, wanted: str, seed: int) -> Shelf:
        """What a name stands for, to a request with this seed. By the policy to fall back, an alias of an unhealthy version
        stands for the latest healthy one before it; who names a version means it. UnknownError for what there is not."""
        version = self.catalogue.find(wanted, seed)
        shelf = self.shelves[str(version)]
        if self.settings.policy == "fallback" and not shelf.healthy and "@" not in wanted:
            return self._last_sound(version) or shelf
        return shelf

    def sound(self, wanted: str, seed: int) -> Shelf:
        """The same, to draw from it. UnhealthyError where the policy is against it: to stop, or to fall back on what is not
        there."""
        shelf = self.find(wanted, seed)
        try:
            self.check_sound(shelf.version)
        except UnhealthyError:
            self.metrics.request_shed("unhealthy")
            raise
        return shelf

    def check_sound(self, version: Version) -> None:
        """UnhealthyError where the policy is against drawing from it."""
        if not self.shelves[str(version)].healthy and self.settings.policy != "warn":
            raise UnhealthyError(
                f"{version}: its samples are no longer what was certified; serving is stopped until someone who may has looked "
                "at it"
            )

    def grant(
        self, key: Key | None, wanted: str, seed: int, first: int, rows: int, asked: Mapping[str, Any] | None = None
    ) -> Grant:
        """Let a request in, and write down what it may be sent, and what else was ``asked``: should the service be killed, what
        had left is in the audit. UnknownError, Exceeded, UnhealthyError or OverloadError where it is not let in."""
        shelf = self.sound(wanted, seed)
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
        grant = Grant(key, shelf, seed, first, rows, self.clock(), asked or {})
        try:
            self.audit.write({"event": "grant", **grant.told})
        except BaseException:  # such as of a disk that is full: nothing is sent that is not written down, or paid for
            self.admission.leave(rows)
            if key is not None:
                self.quotas.give_back(key, rows)
            raise
        self.metrics.queue_changed(self.admission.queued_rows)
        self.under_way += 1
        return grant

    def refused(self, wanted: str, seed: int, code: int) -> None:
        """A request was told no before it was let in."""
        try:
            release = str(self.catalogue.find(wanted, seed))
        except UnknownError:
            release = OTHER
        self.metrics.request_refused(release, code)

    def sampled(self, grant: Grant, rows: int, seconds: float) -> None:
        """So many rows were drawn in so many seconds."""
        self.metrics.batch_sampled(str(grant.shelf.version), rows, seconds)

    def sent(self, grant: Grant, rows: int) -> None:
        """So many rows are leaving."""
        if not rows:
            return
        grant.sent += rows
        if grant.first_row_s is None:
            grant.first_row_s = self.clock() - grant.began
            self.metrics.first_row_sent(str(grant.shelf.version), grant.first_row_s)
        self.admission.leave(rows)
        self.metrics.rows_sent(str(grant.shelf.version), rows)
        self.metrics.queue_changed(self.admission.queued_rows)

    def done(self, grant: Grant, code: int) -> None:
        """The answer is over, whole or not: what was not sent costs nothing, and what was is written down."""
        self.under_way -= 1
        unsent = grant.rows - grant.sent
        self.admission.leave(unsent)
        if grant.key is not None and unsent:
            self.quotas.give_back(grant.key, unsent)
        self.metrics.queue_changed(self.admission.queued_rows)
        self.metrics.request_done(str(grant.shelf.version), code, self.clock() - grant.began)
        self.audit.write({"event": "sample", **grant.told, "sent": grant.sent, "code": code})
        if self.clock() - self.saved > SAVE_S:
            self.save()

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

    def charge(self, key: Key | None, shelf: Shelf, seed: int, rows: int, asked: Mapping[str, Any]) -> None:
        """Take a job's rows from the quota, once and for all, and write down what is asked. Exceeded where they are more than
        is left."""
        if key is not None:
            try:
                self.quotas.take(key, rows, self.now())
            except Exceeded as e:
                self.metrics.quota_refused(e.kind)
                raise
        self._changed(
            {
                "event": "job", "key": key and key.id, "release": shelf.manifest.id, "version": str(shelf.version),
                "seed": seed, "first": 0, "rows": rows, "asked": asked,
            }
        )  # fmt: skip

    def give_back(self, key: Key | None, rows: int) -> None:
        """Rows that were charged for and are not drawn; the request stays counted."""
        if key is not None:
            self.quotas.give_back(key, rows)

    def watched(self, version: str, report: Report) -> None:
        """What the monitor of a version knows now."""
        if version not in self.shelves:  # of a watcher that began before another version was left out
            return
        shelf = self.shelves[version]
        before, shelf.report = shelf.report, report
        if before is None or report.rows < before.rows:  # the first, or of a watcher that has begun anew
            before = Report(rows=report.rows, skipped=report.skipped, spent_s=report.spent_s)
        # A watcher that has begun anew goes on from what it saved, which may be less than it had told.
        self.metrics.rows_watched(version, report.rows - before.rows, max(0.0, report.spent_s - before.spent_s))
        self.metrics.rows_skipped(version, max(0, report.skipped - before.skipped))
        self.metrics.evidence_changed(version, report.log_e_value, report.threshold)
        self.metrics.diversity_measured(version, report.trends)

    def replicas(self, running: int, target: int) -> None:
        """How many samplers there are, and should be."""
        self.admission.replicas = max(running, 1)
        self.metrics.replicas_changed(running, target)

    def raise_alarm(self, version: str, alarm: Alarm) -> None:
        """Mark a release as unhealthy, and do what the policy says. While it is, the first alarm stands: those that follow
        come of fewer rows, and can name less."""
        if version not in self.shelves:
            return
        shelf = self.shelves[version]
        self.metrics.alarm_raised(version, alarm.detector)
        if not shelf.healthy:
            return
        shelf.alarm = {
            "at": self.now(), "detector": alarm.detector, "rows": alarm.rows, "changes": [str(c) for c in alarm.changes],
        }  # fmt: skip
        told = {"event": "alarm", "version": version, **shelf.alarm}
        if self.settings.policy == "fallback" and (other := self._last_sound(shelf.version)) is not None:
            told["falls back to"] = str(other.version)
        self._changed(told)

    def _last_sound(self, version: Version) -> Shelf | None:
        """The latest earlier version that is healthy."""
        numbers = sorted(self.catalogue.generators[version.name].versions, reverse=True)
        earlier = (self.shelves[f"{version.name}@{k}"] for k in numbers if k < version.number)
        return next((shelf for shelf in earlier if shelf.healthy), None)

    def acknowledge(self, key: Key | None, wanted: str) -> None:
        """Call a version healthy again. UnknownError for an alias, of which it would not be clear what is meant."""
        if wanted not in self.shelves:
            raise UnknownError(f"{wanted}: name a version; there are {', '.join(sorted(self.shelves))}")
        self.shelves[wanted].alarm = None
        self.metrics.health_changed(wanted, healthy=True)
        self._changed({"event": "acknowledge", "key": key and key.id, "version": wanted})

    def _changed(self, told: Mapping[str, Any]) -> None:
        self.audit.write(told)
        self.save()

    def save(self) -> None:
        """What must survive a restart."""
        if self.keys is not None:
            self.quotas.keep(self.keys.current().by_id)
        alarms = {
            name: {"release": shelf.manifest.id, "alarm": shelf.alarm}
            for name, shelf in self.shelves.items() if shelf.alarm is not None
        }  # fmt: skip
        state = {"catalogue": self.catalogue.state(), "quotas": self.quotas.state(), "alarms": alarms}
        storage.write_bytes(str(self.folder / STATE), json.dumps(state).encode())
        self.saved = self.clock()

    def _restore(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            return
        try:
            state = json.loads(path.read_bytes())
            self.catalogue.restore(state["catalogue"])
            self.quotas.restore(state["quotas"], self.now())
            for name, found in state["alarms"].items():
                if name in self.shelves and found["release"] == self.shelves[name].manifest.id:
                    self.shelves[name].alarm = found["alarm"]
        except (ValueError, TypeError, LookupError, AttributeError) as e:
            told = " ".join(str(e).split())
            raise UserError(
                f"{path}: is no state of a service that this version reads ({told}); restore it from a copy, or move it away "
                "to begin anew: quotas are full then, alarms forgotten, and aliases as the settings have them"
            ) from e

    def close(self) -> None:
        self.save()
        self.audit.close()
