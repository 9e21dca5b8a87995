"""A job is a file that says what was asked and how far it is: it is stopped, goes on, and survives a restart.

How its rows are drawn is in tests/integration/test_serving_jobs.py; here a stand-in for ``synth.parts`` draws when it is told
to.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from serving import jobs as jobs_module
from serving.admission import OverloadError
from serving.catalogue import Version
from serving.desk import UnhealthyError
from serving.jobs import Jobs, Record
from serving.stream import Drawn, Piece
from synth import release as releases
from synth.errors import JobError, UserError
from synth.provenance.origin import Signed
from synth.provenance.served import LogOf
from tests.serving.service import until

BLOCK = pa.record_batch({"age": [40]})


class Parts:
    """Draws 100 rows at each ``go``; raises ``error`` where there is one."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None
        self.calls = list[dict[str, Any]]()

    def sample(
        self, release: Any, rows: int, out: str, *, seed: int, request: Any, signed: Callable[[int, int], Signed],
        progress: Callable[[int], None], show: Any, mark: Any, log_of: LogOf,
    ) -> int:  # fmt: skip
        self.calls.append({"rows": rows, "out": out, "seed": seed, "request": request, "release": release.manifest.id})
        self.origin = signed(100, 50).origin
        self.log = log_of(release)
        progress(0)
        for done in range(100, rows + 1, 100):
            self.go.acquire()
            if self.error is not None:
                raise self.error
            show(done - 100, BLOCK, 0.5)
            progress(done)
        return 1


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    found = Parts()
    monkeypatch.setattr(jobs_module, "parts", found)
    return found


@pytest.fixture
def version(people: Path) -> Version:
    return Version("people", 1, str(people))


@pytest.fixture
def id(people: Path) -> str:
    return releases.load(str(people)).manifest.id


class Desk:
    """What a job asks whether to go on, and shows its rows."""

    def __init__(self) -> None:
        self.seen = list[tuple[Version, Piece, Drawn]]()
        self.refused: set[Version] = set()
        self.checks = 0

    def check(self, version: Version) -> None:
        self.checks += 1
        if version in self.refused:
            raise UnhealthyError(f"{version}: its samples are no longer what was certified")

    def watch(self, *seen: Any) -> None:
        self.seen.append(seen)


def opened(folder: Path, desk: Desk | None = None) -> Jobs:
    desk = desk or Desk()
    return Jobs(folder, check=desk.check, watch=desk.watch)


def started(jobs: Jobs, version: Version, id: str, **more: Any) -> Record:
    told = {"key": "abc", "seed": 3, "rows": 300, "asked": {}, "out": None} | more
    return jobs.start(version, id, **told)


def kept(jobs: Jobs, record: Record) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((jobs.folder / f"{record.id}.json").read_text())
    return found


def test_a_job_is_drawn_and_says_how_far_it_is(tmp_path: Path, parts: Parts, version: Version, id: str) -> None:
    jobs = opened(tmp_path / "jobs")
    record = started(jobs, version, id, asked={"where": "age>=40"})
    assert (record.state, record.version, record.release) == ("running", "people@1", id)
    parts.go.release()
    assert until(lambda: record.drawn == kept(jobs, record)["drawn"] == 100)
    parts.go.release(2)
    assert until(lambda: kept(jobs, record)["state"] == "done") and record.drawn == 300
    [call] = parts.calls
    said = parts.origin
    assert (said.release, said.version, said.seed, said.first, said.rows) == (id, "people@1", 3, 100, 50)
    assert said.asked == {"where": "age>=40"} and said.key == call["request"].key
    assert call["request"].kinds[0].keys() == {"age"} and (call["rows"], call["seed"], call["release"]) == (300, 3, id)
    assert Path(call["out"]).parent == tmp_path / "jobs" and record.id in call["out"]
    with pytest.raises(UserError, match=f"job {record.id}: is done; only one that was cut can go on"):
        jobs.resume(record, version)


def test_a_job_that_is_cancelled_stops_and_can_go_on(tmp_path: Path, parts: Parts, version: Version, id: str) -> None:
    jobs = opened(tmp_path)
    record = started(jobs, version, id, out=str(tmp_path / "out"))
    with pytest.raises(UserError, match="is running"):
        jobs.resume(record, version)
    parts.go.release()
    assert until(lambda: kept(jobs, record)["drawn"] == 100)
    jobs.cancel(record)
    assert kept(jobs, record)["state"] == "cancelled"
    parts.go.release()
    assert until(lambda: not any(t.name == f"job-{record.id}" for t in threading.enumerate()))
    assert (record.state, record.drawn) == ("cancelled", 100) and record.detail is None
    jobs.resume(record, version)
    parts.go.release(3)
    assert until(lambda: kept(jobs, record)["state"] == "done")
    assert len(parts.calls) == 2 and parts.calls[0] == parts.calls[1]
    assert jobs.cancel(record).state == "done"


def test_jobs_are_drawn_one_after_the_other(tmp_path: Path, parts: Parts, version: Version, id: str) -> None:
    jobs = opened(tmp_path)
    first, second, third = (started(jobs, version, id, seed=k) for k in range(3))
    assert until(lambda: len(parts.calls) == 1)
    jobs.cancel(second)
    parts.go.release(3)
    assert until(lambda: first.state == "done")
    parts.go.release(3)
    assert until(lambda: third.state == "done") and second.state == "cancelled"
    assert [call["seed"] for call in parts.calls] == [0, 2]


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (UserError("s3://me:secret@bucket/x: permission denied"), "s3://bucket/x: permission denied"),
        (JobError("3 parts are there"), "3 parts are there"), (OSError("disk"), "disk"),
        (RuntimeError("s3://me:secret@bucket"), "no fault of the request's; the service's log says more"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_job_that_fails_says_why_and_can_go_on(
    tmp_path: Path, parts: Parts, version: Version, id: str, error: Exception, detail: str
) -> None:
    jobs = opened(tmp_path)
    record, parts.error = started(jobs, version, id), error
    parts.go.release()
    assert until(lambda: kept(jobs, record)["state"] == "failed") and kept(jobs, record)["detail"] == detail
    parts.error = None
    jobs.resume(record, version)
    parts.go.release(3)
    assert until(lambda: record.state == "done") and record.detail is None


def test_what_cannot_be_asked_fails_the_job_with_its_reason(
    tmp_path: Path, parts: Parts, version: Version, id: str
) -> None:
    record = started(opened(tmp_path), version, id, asked={"where": "agee>3"})
    assert until(lambda: record.state == "failed") and "there is no column 'agee'" in str(record.detail)


def test_another_release_at_its_place_is_not_drawn_from(tmp_path: Path, parts: Parts, version: Version) -> None:
    record = started(opened(tmp_path), version, "0" * 64)
    assert until(lambda: record.state == "failed")
    assert "is another release than when the job began" in str(record.detail) and parts.calls == []


def test_after_a_restart_what_was_running_is_interrupted_and_goes_on(
    tmp_path: Path, parts: Parts, version: Version, id: str
) -> None:
    before = opened(tmp_path)
    record = started(before, version, id)
    parts.go.release()
    assert until(lambda: kept(before, record)["drawn"] == 100)
    after = opened(tmp_path)  # as after a crash
    [found] = after.records.values()
    assert (found.id, found.state, found.drawn) == (record.id, "interrupted", 100) and "resume it" in str(found.detail)
    assert found.model_dump(exclude={"state", "detail"}) == record.model_dump(exclude={"state", "detail"})
    before.close()
    parts.go.release()
    after.resume(found, version)
    parts.go.release(3)
    assert until(lambda: found.state == "done")


def test_the_monitor_sees_rows_of_a_job(tmp_path: Path, parts: Parts, version: Version, id: str) -> None:
    desk = Desk()
    record = started(opened(tmp_path, desk), version, id, asked={"where": "age>=40"})
    parts.go.release(3)
    assert until(lambda: record.state == "done")
    text = '{"where":"age>=40"}'
    drawn = Drawn(BLOCK, 0.5, parts.calls[0]["request"].key)
    assert desk.seen == [(version, Piece(3, first, 1, text), drawn) for first in (0, 100, 200)]


def test_a_job_ends_where_its_release_is_no_longer_served_and_goes_on_when_it_is(
    tmp_path: Path, parts: Parts, version: Version, id: str
) -> None:
    desk = Desk()
    jobs = opened(tmp_path, desk)
    record = started(jobs, version, id)
    parts.go.release()
    assert until(lambda: record.drawn == 100 and desk.checks == 3)  # twice at the first row, and after a hundred
    desk.refused.add(version)
    parts.go.release()
    assert until(lambda: kept(jobs, record)["state"] == "failed") and record.drawn == 200
    assert record.detail == "people@1: its samples are no longer what was certified"
    desk.refused.clear()
    jobs.resume(record, version)
    parts.go.release(3)
    assert until(lambda: record.state == "done")


def test_at_its_end_the_service_stops_its_jobs(tmp_path: Path, parts: Parts, version: Version, id: str) -> None:
    jobs = opened(tmp_path)
    records = [started(jobs, version, id) for _ in range(2)]
    jobs.close()
    parts.go.release()
    assert [kept(jobs, record)["state"] for record in records] == ["interrupted"] * 2
    assert until(lambda: not any(t.name.startswith("job-") for t in threading.enumerate()))
    assert [record.state for record in records] == ["interrupted"] * 2


def test_there_is_room_for_so_many(
    tmp_path: Path, parts: Parts, version: Version, id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "WAITING", 3)
    jobs = opened(tmp_path)
    for _ in range(3):
        jobs.enter()
        started(jobs, version, id)
    with pytest.raises(OverloadError):
        jobs.enter()
    jobs.close()
    jobs.enter()
    parts.go.release()


@pytest.mark.parametrize("text", ["", "{", "{}", '{"id": "../../x"}'])
def test_a_damaged_job_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "0123456789abcdef.json").write_text(text)
    with pytest.raises(UserError, match=r"0123456789abcdef.json: is no job .* move it away to forget the job"):
        opened(tmp_path)


def test_a_log_of_rows_that_cannot_be_written_is_no_matter_of_the_callers(
    tmp_path: Path, parts: Parts, version: Version, id: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARTESIAN_STATE_DIR", str(tmp_path / "file"))
    jobs = opened(tmp_path / "jobs")
    record = started(jobs, version, id)
    parts.go.release(3)
    assert until(lambda: kept(jobs, record)["state"] == "done")
    assert parts.log is None and record.detail is None and "people: drawn rows are not logged: " in caplog.text
