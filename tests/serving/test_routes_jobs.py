"""Jobs over the wire: who may start, see, stop and go on with which, and what is refused at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import jobs as jobs_module
from serving import patience
from tests.serving.service import Service, key, listening, until

Serve = Callable[..., Service]
JOB = {"generator": "people", "n": 200, "seed": 3}
PART = b"PAR1" + bytes(range(256)) * 9_000


class Parts:
    """Stands in for ``synth.parts``, which draws on Ray."""

    @staticmethod
    def sample(release: Any, rows: int, out: str, *, progress: Callable[[int], None], **_: Any) -> int:
        Path(out).mkdir(parents=True)
        Path(out, "part-000000.parquet").write_bytes(PART)
        Path(out, "parts.json").write_bytes(b"{}")  # which is nobody's business
        progress(rows)
        return 1


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(jobs_module, "parts", Parts)
    yield
    over()


def over() -> None:
    """Until no job is at work: one that outlived its test would start a real Ray."""
    for thread in threading.enumerate():
        if thread.name.startswith("job-"):
            thread.join(30)
            assert not thread.is_alive()


def ask(service: Service, method: str, path: str = "", token: str | None = None, body: Any = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return service.client.request(method, f"/v1/jobs{path}", headers=headers, json=body)


def test_a_job_is_started_shown_and_listed(serve: Serve) -> None:
    service = serve()
    answer = ask(service, "POST", body=JOB | {"where": "age>=40"})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["version"], job["seed"], job["rows"], job["asked"]) == ("people@1", 3, 200, {"where": "age>=40"})
    assert job["release"] == service.desk.shelves["people@1"].manifest.id and job["key"] is None
    assert until(lambda: ask(service, "GET", f"/{job['id']}").json()["state"] == "done")
    other = ask(service, "POST", body={"generator": "people@2", "n": 5}).json()
    assert 0 <= other["seed"] < 2**53 and other["version"] == "people@2"
    assert [found["id"] for found in ask(service, "GET").json()["jobs"]] == [other["id"], job["id"]]
    line = service.audit[0]
    assert (line["event"], line["rows"], line["asked"], line["seed"]) == ("job", 200, {"where": "age>=40"}, 3)


def test_a_job_s_rows_are_fetched_part_by_part_by_whoever_may_see_it(serve: Serve, tmp_path: Path) -> None:
    mine, other = (key(tmp_path / "keys.yaml", name) for name in ("ana", "bo"))
    service = serve(keys=str(tmp_path / "keys.yaml"), jobs=str(tmp_path / "shared"))
    job = ask(service, "POST", token=mine, body=JOB).json()
    assert Path(job["out"]).parent == tmp_path / "shared"
    over()
    place = f"/{job['id']}/parts"
    assert ask(service, "GET", place, mine).json() == {"parts": {"part-000000.parquet": len(PART)}}
    answer = ask(service, "GET", f"{place}/part-000000.parquet", mine)
    assert answer.content == PART and answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert answer.headers["content-length"] == str(len(PART))
    for path, status in (
        ("part-000001.parquet", 404),
        ("parts.json", 422),
        ("..%2fkeys.yaml", 404),
        ("part-000000", 422),
    ):
        assert ask(service, "GET", f"{place}/{path}", mine).status_code == status, path
    for path in (place, f"{place}/part-000000.parquet"):
        assert ask(service, "GET", path, other).status_code == 404


def test_over_a_socket_who_does_not_read_a_part_is_hung_up_on(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LINGER_S", 0.1)
    monkeypatch.setattr(f"{__name__}.PART", PART * 8)
    service = serve(limits={"answer_s": 0.5})
    job = ask(service, "POST", body=JOB).json()
    over()
    with listening(service.app) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(
            f"GET /v1/jobs/{job['id']}/parts/part-000000.parquet HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert until(lambda: bool(server.connections)) and until(lambda: not server.connections)
        received = 0
        while content := connection.recv(1 << 20):
            received += len(content)
        assert 0 < received < len(PART)


def test_a_job_that_has_not_begun_to_write_has_no_parts(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parts, "sample", lambda release, rows, out, *, progress, **_: progress(rows))
    service = serve()
    job = ask(service, "POST", body=JOB).json()
    over()
    assert ask(service, "GET", f"/{job['id']}/parts").json() == {"parts": {}}


@pytest.mark.parametrize(
    ("body", "status", "type"),
    [
        ({"n": 0}, 422, "invalid-request"), ({"n": "5"}, 422, "invalid-request"), ({"n": 10**11}, 413, "too-many-rows"),
        ({"first": 5}, 422, "no-first"), ({"where": ["age>3"] * 65}, 422, "too-many-clauses"),
        ({"out": 5}, 422, "invalid-request"),
        ({"where": "agee>3"}, 422, "impossible"), ({"where": "age>900"}, 422, "impossible"), ({"boost": 2}, 422, "impossible"),
        ({"generator": "nobody"}, 404, "unknown-generator"), ({"generator": "people@9"}, 404, "unknown-generator"),
        ({"generator": "../x"}, 422, "invalid-request"), ({"generator": "people\n"}, 422, "invalid-request"),
        ({"format": "csv"}, 422, "invalid-request"), ({"out": "x" * 1_001}, 422, "invalid-request"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_at_once_and_costs_nothing(
    serve: Serve, tmp_path: Path, body: dict[str, Any], status: int, type: str
) -> None:
    token = key(tmp_path / "keys.yaml", admin=True, rows_per_day=10**12)
    service = serve(keys=str(tmp_path / "keys.yaml"))
    answer = ask(service, "POST", token=token, body=JOB | body)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{type}"), answer.json()
    assert ask(service, "GET", token=token).json() == {"jobs": []} and service.idle
    assert not service.audit or type == "impossible"  # which was tried
    left = service.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).json()["left"]
    assert left == {"rows": 10**12}


def test_a_job_that_cannot_begin_costs_nothing_whatever_the_reason(serve: Serve, tmp_path: Path) -> None:
    token = key(tmp_path / "keys.yaml", admin=True, rows_per_day=10**6)
    service = serve(keys=str(tmp_path / "keys.yaml")).still()

    async def lost(*_: object) -> None:
        raise ConnectionError("no sampler is left")

    service.backend.draw = lost  # type: ignore[assignment]
    assert ask(service, "POST", token=token, body=JOB | {"where": "age>30"}).status_code == 500
    assert ask(service, "GET", token=token).json() == {"jobs": []} and service.idle
    left = service.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).json()["left"]
    assert left == {"rows": 10**6}


def test_a_job_is_its_key_s_and_the_admin_s(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    ana, ben, admin = key(file), key(file, name="Ben"), key(file, name="Admin", admin=True)
    service = serve(keys=str(file))
    job = ask(service, "POST", token=ana, body=JOB).json()
    assert job["key"] == ana[4:16]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/resume")):
        answers = [ask(service, method, f"/{id}{path}", ben) for id in (job["id"], "0" * 16)]
        assert [answer.status_code for answer in answers] == [404, 404]  # and both say the same
        assert answers[0].json()["detail"].replace(job["id"], "0" * 16) == answers[1].json()["detail"]
    assert ask(service, "GET", token=ben).json() == {"jobs": []}
    for token in (ana, admin):
        assert ask(service, "GET", f"/{job['id']}", token).status_code == 200
        assert len(ask(service, "GET", token=token).json()["jobs"]) == 1


def test_only_an_admin_says_where_to(serve: Serve, tmp_path: Path) -> None:
    file, out = tmp_path / "keys.yaml", str(tmp_path / "out")
    ana, admin = key(file), key(file, admin=True)
    service = serve(keys=str(file))
    assert ask(service, "POST", token=ana, body=JOB | {"out": out}).status_code == 403
    assert ask(service, "POST", token=admin, body=JOB | {"out": out}).json()["out"] == out
    assert ask(service, "POST", token=ana, body=JOB).json()["out"].startswith(str(service.state))


def test_rows_are_charged_once(serve: Serve, tmp_path: Path) -> None:
    token = key(tmp_path / "keys.yaml", rows_per_day=300)
    service = serve(keys=str(tmp_path / "keys.yaml"))
    job = ask(service, "POST", token=token, body=JOB).json()
    assert ask(service, "POST", token=token, body=JOB).status_code == 429
    assert len(ask(service, "GET", token=token).json()["jobs"]) == 1
    assert until(lambda: ask(service, "GET", f"/{job['id']}", token).json()["state"] == "done")
    assert ask(service, "POST", f"/{job['id']}/resume", token).status_code == 422
    assert ask(service, "DELETE", f"/{job['id']}", token).json()["state"] == "done"


def test_a_job_of_a_release_that_is_gone_cannot_go_on(serve: Serve) -> None:
    service = serve()
    job = ask(service, "POST", body=JOB | {"generator": "people@2"}).json()
    service.app.state.jobs.records[job["id"]].state = "interrupted"
    del service.desk.shelves["people@2"]
    answer = ask(service, "POST", f"/{job['id']}/resume")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/gone")


def test_a_busy_service_has_no_time_to_see_whether_a_job_can_be_drawn(serve: Serve) -> None:
    service = serve()
    with service.desk.admission.waiting(1.0), service.desk.admission.waiting(1.0):
        answer = ask(service, "POST", body=JOB | {"where": "age>=40"})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/busy")
        assert ask(service, "POST", body=JOB).status_code == 202
