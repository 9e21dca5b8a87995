"""The application around the routes: its health, its metrics, its answers to what it has no answer for, its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.admission import OverloadError
from serving.api import close
from serving.catalogue import UnknownError
from serving.desk import STATE, UnhealthyError
from serving.quota import Exceeded
from serving.refusals import problem_of
from tests.serving.service import Service, key

Serve = Callable[..., Service]


def test_it_says_whether_it_lives_and_whether_it_can_serve(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve()
    assert service.client.get("/healthz").json() == {"status": "ok"}
    assert service.client.get("/-/healthz").text == "success"
    assert service.client.get("/readyz").json() == {"status": "ready"}

    async def not_yet() -> bool:
        return False

    monkeypatch.setattr(service.backend, "ready", not_yet)
    answer = service.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0"])
def test_metrics_come_as_prometheus_reads_them(serve: Serve, accept: str) -> None:
    service = serve()
    service.draw(n=7)
    service.draw(n=7, where="agee>3")
    service.draw("nobody")
    service.draw(n=10**9)
    answer = service.client.get("/metrics", headers={"accept": accept})
    kind = "application/openmetrics-text" if "openmetrics" in accept else "text/plain"
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    for line in (
        'artesian_samples_total{release="people@1"} 7.0', 'artesian_requests_total{code="200",release="people@1"} 1.0',
        'artesian_requests_total{code="422",release="people@1"} 1.0',
        'artesian_refused_requests_total{code="404",release="other"} 1.0',
        'artesian_refused_requests_total{code="413",release="people@1"} 1.0',
        'artesian_healthy{release="others@1"} 1.0',
        "artesian_queued_rows 0.0", 'artesian_first_row_seconds_count{release="people@1"} 1.0',
    ):  # fmt: skip
        assert line in answer.text, line


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1", 404),
        ("GET", "/redoc", 404),
        ("DELETE", "/healthz", 405),
        ("GET", "//healthz", 404),
    ],
)
def test_what_there_is_not_is_a_problem(serve: Serve, method: str, path: str, status: int) -> None:
    answer = serve().client.request(method, f"http://127.0.0.1{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["remedy"]


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [
        (UnknownError("adults: there is none"), 404, None), (Exceeded("rows", 12.3, 1, 10, 5), 429, "13"),
        (OverloadError(0.2), 503, "1"), (OverloadError(4.0), 503, "4"), (UnhealthyError("ill"), 503, "300"),
    ],
)  # fmt: skip
def test_what_the_desk_refuses_is_a_problem_that_says_when_to_come_again(
    error: Exception, status: int, after: str | None
) -> None:
    answer = problem_of(error).response()
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, after)
    assert json.loads(bytes(answer.body))["detail"] == str(error)


def test_a_body_that_is_no_json_is_a_problem_whatever_it_is(serve: Serve) -> None:
    client = serve().client
    for content in (
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 60_000,
        b'{"n":1,"where":' + b"[" * 30_000,
        b"9" * 5_000,
    ):
        answer = client.post(
            "/v1/generators/people/samples", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code in (400, 422) and answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 5_000


def test_at_its_end_what_must_survive_is_saved(serve: Serve, tmp_path: Path) -> None:
    token = key(tmp_path / "keys.yaml", rows_per_day=1_000)
    service = serve(keys=str(tmp_path / "keys.yaml"))
    service.draw(token=token, n=400)
    close(service.app)
    state = json.loads((service.state / STATE).read_text())
    assert state["quotas"][token[4:16]]["rows"]["spent"] == 400
    again = serve(keys=str(tmp_path / "keys.yaml"))
    assert again.draw(token=token, n=700).status_code == 429
