"""Answers that are too large to be waited for: a folder of Parquet parts, drawn in the background.

A job is what it was asked and how far it is, a file of the service's state; its parts are whole or not there. So one that
was cut, by a restart too, goes on with those that are missing, and the same rows come out.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from cluster import storage
from cluster.location import scrub
from serving.admission import OverloadError
from serving.catalogue import Version
from serving.desk import UnhealthyError
from serving.stream import Drawn, Piece, text_of
from synth import parts
from synth import release as releases
from synth.errors import JobError, ReleaseError, UserError
from synth.provenance.origin import Signed
from synth.provenance.served import Log
from synth.provenance.watermark import Mark
from synth.sampling import Sampler

State = Literal["running", "done", "failed", "cancelled", "interrupted"]
AT_ONCE = 1  # jobs at work; the replicas' answers come first, and a job takes every core that it gets


WAITING = 100  # jobs at work or in line
AGAIN_S = 60.0  # after which to ask for room again


class Cancelled(Exception):  # noqa: N818 (what was asked for is no error)
    """The job is to stop."""


class Record(BaseModel):
    """A job as callers see it; ``key`` is the id of the key that may see it."""

    model_config = ConfigDict(extra="forbid")

    id: str
    key: str | None
    version: str
    release: str
    seed: int
    rows: int
    asked: dict[str, Any]
    out: str
    created: datetime
    state: State = "running"
    drawn: int = 0
    detail: str | None = None


class Jobs:
    """All jobs of a service, each a file under ``folder``, and their rows under the folder or URI ``rows``, or there, too; they
    are drawn on the cluster that this process has joined. Before each look at its progress a job ``check``s whether to go on,
    by UnhealthyError, and the monitor is to ``watch`` some of its rows, both from the job's thread.
    ``marks`` are the watermarks that rows carry, by the releases' ids.

    Opens with UserError for a file that is damaged.
    """

    def __init__(
        self, folder: Path, rows: str | None = None, *, check: Callable[[Version], None],
        watch: Callable[[Version, Piece, Drawn], None], marks: Mapping[str, Mark] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.marks = marks
        self.folder, self.place, self.check, self.watch = folder, str(folder) if rows is None else rows, check, watch
        folder.mkdir(parents=True, exist_ok=True)
        self.records = {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}
        self.room, self.stopping = threading.Semaphore(AT_ONCE), set[str]()
        for record in self.records.values():
            if record.state == "running":
                self._change(record, state="interrupted", detail="the service ended; resume it")

    def enter(self) -> None:
        """OverloadError where there is no room for one more."""
        if sum(record.state == "running" for record in self.records.values()) >= WAITING:
            raise OverloadError(AGAIN_S)

    def start(
        self, version: Version, release: str, *, key: str | None, seed: int, rows: int, asked: dict[str, Any], out: str | None
    ) -> Record:  # fmt: skip
        """A new job, at work from now on."""
        id = secrets.token_hex(8)
        record = Record(
            id=id, key=key, version=str(version), release=release, seed=seed, rows=rows, asked=asked,
            out=storage.join(self.place, f"{id}-rows") if out is None else out, created=datetime.now(UTC),
        )  # fmt: skip
        return self._begin(record, version)

    def resume(self, record: Record, version: Version) -> Record:
        """Go on with one of this version that was cancelled, interrupted or failed. UserError for one that is at work or
        done."""
        if record.state in ("running", "done"):
            raise UserError(f"job {record.id}: is {record.state}; only one that was cut can go on")
        self.stopping.discard(record.id)
        return self._begin(record, version)

    def cancel(self, record: Record) -> Record:
        """Have it stop; whole parts stay, and it can go on."""
        if record.state == "running":
            self.stopping.add(record.id)
            self._change(record, state="cancelled", detail=None)
        return record

    def close(self) -> None:
        """Have all stop, as interrupted ones."""
        for record in self.records.values():
            if record.state == "running":
                self.stopping.add(record.id)
                self._change(record, state="interrupted", detail="the service ended; resume it")

    def _begin(self, record: Record, version: Version) -> Record:
        self._change(record, state="running", detail=None)
        self.records[record.id] = record
        threading.Thread(target=self._work, args=(record, version), daemon=True, name=f"job-{record.id}").start()
        return record

    def _work(self, record: Record, version: Version) -> None:
        # By an error that nobody foresaw, which the thread's end tells.
        outcome: dict[str, Any] = {
            "state": "failed",
            "detail": "no fault of the request's; the service's log says more",
        }
        try:
            with self.room:
                self._draw(record, version)
            outcome = {"state": "done", "drawn": record.rows}
        except Cancelled:
            outcome = {}
        except (UserError, JobError, OSError, UnhealthyError) as e:
            outcome = {"state": "failed", "detail": scrub(str(e))}
        finally:
            if record.id not in self.stopping:  # whoever stops it says why
                self._change(record, **outcome)

    def _draw(self, record: Record, version: Version) -> None:
        release = releases.load(version.place)
        if release.manifest.id != record.release:
            raise ReleaseError(f"{version.place}: is another release than when the job began")
        request, mark = Sampler.from_release(release).ask(**record.asked), self.marks.get(record.release)

        def progress(rows: int) -> None:
            if record.id in self.stopping:
                raise Cancelled
            self._change(record, drawn=rows)
            if rows < record.rows:
                self.check(version)

        def show(first: int, batch: pa.RecordBatch, seconds: float) -> None:
            if record.id in self.stopping:  # at the service's end nobody is there to see them
                return
            piece = Piece(record.seed, first, batch.num_rows, text_of(record.asked))
            self.watch(version, piece, Drawn(batch, seconds, None if request is None else request.key))

        def signed(first: int, rows: int) -> Signed:
            return Signed.of(
                release.manifest, seed=record.seed, first=first, rows=rows, key=None if request is None else request.key,
                asked=record.asked, version=str(version), mark=mark,
            )  # fmt: skip

        progress(record.drawn)
        parts.sample(
            release,
            record.rows,
            record.out,
            seed=record.seed,
            request=request,
            signed=signed,
            progress=progress,
            show=show,
            mark=mark,
            log_of=Log.where_possible,  # a caller can do nothing about it, and is not to be told of places here
        )

    def _change(self, record: Record, **facts: Any) -> None:
        for name, value in facts.items():
            setattr(record, name, value)
        storage.write_bytes(str(self.folder / f"{record.id}.json"), record.model_dump_json().encode())


def _read(path: Path) -> Record:
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValidationError as e:
        raise UserError(
            f"{path}: is no job that this version reads; restore it from a copy, or move it away to forget the job"
        ) from e
