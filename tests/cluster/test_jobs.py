"""Submitting a job: what is refused before anything is sent, what is sent, what is said of a cluster's refusals."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import ray
from ray._raylet import AuthenticationTokenLoader

import artesian
from cluster import jobs
from synth.errors import JobError, UserError

TRAIN = ["train", "s3://bucket/t.parquet", "--target", "y", "--out", "s3://bucket/t-release"]
ENDED = {
    "type": "SUBMISSION",
    "status": "SUCCEEDED",
    "submission_id": "ended",
    "entrypoint": "python -m artesian doctor",
}
RUNNING = ENDED | {
    "status": "RUNNING",
    "submission_id": "running",
    "start_time": 1_000,
    "entrypoint": "cat s3://k:s3cr3t@b/x",
}


class Cluster:
    """What a job server answers, and what it was sent."""

    def __init__(self) -> None:
        self.ray_version, self.python_version = ray.__version__, ".".join(map(str, sys.version_info[:3]))
        self.token: str | None = None
        self.jobs = {"ended": ENDED, "running": RUNNING}
        self.submitted: list[dict[str, Any]] = []
        self.packages: dict[str, bytes] = {}

    def answer(self, method: str, path: str, token: str, body: bytes) -> tuple[int, object]:
        if self.token and not token:
            return 401, "Unauthorized: Missing authentication token"
        if self.token and token != f"Bearer {self.token}":
            return 403, "Forbidden: Invalid authentication token"
        if path == "/api/version":
            return 200, {"version": "4", "ray_version": self.ray_version}
        if path == "/api/v0/cluster_metadata":
            return 200, {"result": True, "data": {"pythonVersion": self.python_version}}
        if path.startswith("/api/packages/"):
            if method == "PUT":
                self.packages[path.rpartition("/")[2]] = body
            return 200 if path.rpartition("/")[2] in self.packages else 404, ""
        if path == "/api/jobs/" and method == "POST":
            sent = json.loads(body)
            if sent.get("submission_id") in self.jobs:
                return 500, "Traceback:\nValueError: Job with submission_id x already exists. Please use another.\n.\n"
            self.submitted.append(sent)
            return 200, {"job_id": "new", "submission_id": sent.get("submission_id", "raysubmit_1")}
        if path == "/api/jobs/":
            return 200, list(self.jobs.values())
        name, _, verb = path.removeprefix("/api/jobs/").partition("/")
        if name not in self.jobs:
            return 404, f"Job {name} does not exist"
        if verb == "stop":
            self.jobs[name] = self.jobs[name] | {"status": "STOPPED"}
            return 200, {"stopped": True}
        return 200, self.jobs[name]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def address(cluster: Cluster) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, said = cluster.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            data = (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_ray_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """No token but the one that the test sets."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    tokens = AuthenticationTokenLoader.instance()
    tokens.reset_cache()

    def use(token: str) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        tokens.reset_cache()

    yield use
    tokens.reset_cache()


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["artesian", *arguments])
    with pytest.raises(SystemExit) as stopped:
        artesian.main()
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--", "trian", "x"], "trian: is no command that a job can run; there are train"),
        (["submit", "--", *TRAIN], "submit: is no command that a job can run"),
        (["demo"], "demo: is no command that a job can run"),
        ([*TRAIN, "--targt", "y"], "No such option: --targt"),
        (["--", "train", "s3://bucket/x"], "--out"),
        ([*TRAIN, "--steps", "0"], "--steps"),
        (["--", *TRAIN, "--test", "s3://key:s3cr3t@bucket/x"], "s3://bucket/x: the credentials in it"),
        (["--wheel", "x.whl", "--working-dir", ".", *TRAIN], "--working-dir and --wheel"),
        (["--wheel", "nowhere.whl", *TRAIN], "nowhere.whl: no such file"),
        (["--name", "a/b", *TRAIN], "--name 'a/b'"),
        (["--address", "HOST:6379", *TRAIN], "HOST:6379: is not the address of a dashboard"),
        (["--address", "http://ana:s3cr3t@127.0.0.1:1", *TRAIN], "no job server answers at http://127.0.0.1:1"),
    ],
)
def test_mistakes_are_named_before_anything_is_sent(
    arguments: list[str], message: str, address: str, cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
    assert run(["submit", *arguments], monkeypatch) == 2
    said = "".join(capsys.readouterr())
    assert message in said and "s3cr3t" not in said and "Traceback" not in said
    assert not cluster.submitted and not cluster.packages


def test_a_command_is_sent_with_its_code_and_joins_the_cluster_it_runs_on(
    address: str, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")  # Ray's other port: not where jobs go
    (tmp_path / "artesian.py").touch()
    to = ["submit", "--address", address, "--no-wait", "--working-dir", str(tmp_path)]
    assert run([*to, "--", *TRAIN, "--set", "diffusion.width=[1, 2]"], monkeypatch) == 0
    out, err = capsys.readouterr()
    assert out == "raysubmit_1\n"
    assert f"jobs follow raysubmit_1 --address {address}\n" in err and "disk" not in err
    [sent], [archive] = cluster.submitted, cluster.packages
    [_, *rest] = TRAIN
    assert (
        sent["entrypoint"] == f"python -m artesian train --address auto {' '.join(rest)} --set 'diffusion.width=[1, 2]'"
    )
    assert sent["runtime_env"]["working_dir"] == f"gcs://{archive}"
    assert sent["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60"}

    assert run([*to, "--name", "mine", "train", "t.csv", "--out", "/x", "--address", "h:1"], monkeypatch) == 0
    out, err = capsys.readouterr()
    assert out == "mine\n"
    assert "t.csv, /x: on the job's own disk" in err
    assert cluster.submitted[1]["entrypoint"] == "python -m artesian train t.csv --out /x --address h:1"
    assert len(cluster.packages) == 1, "the same code is sent once"

    assert run([*to, "doctor", "--json"], monkeypatch) == 0
    assert "disk" not in capsys.readouterr().err
    assert run([*to, "--name", "ended", "doctor"], monkeypatch) == 2
    assert "choose another --name" in capsys.readouterr().err


def test_a_wheel_is_sent_as_it_is(address: str, cluster: Cluster, tmp_path: Path) -> None:
    wheel = tmp_path / "artesian-0.1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as file:
        file.writestr("artesian.py", "")
    assert jobs.JobServer(address).submit(["doctor"], source=wheel) == "raysubmit_1"
    assert list(cluster.packages.values()) == [wheel.read_bytes()]


def test_without_a_tree_or_a_wheel_the_cluster_s_own_code_runs(address: str, cluster: Cluster) -> None:
    jobs.JobServer(address).submit(["doctor"])
    assert "working_dir" not in cluster.submitted[0]["runtime_env"] and not cluster.packages


@pytest.mark.parametrize(("what", "version"), [("ray_version", "2.59.0"), ("python_version", "3.10.2")])
def test_another_version_is_named_before_anything_is_sent(
    what: str, version: str, address: str, cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    setattr(cluster, what, version)
    assert run(["submit", "--address", address, *TRAIN], monkeypatch) == 2
    assert f"{what.partition('_')[0].title()} {version.removesuffix('.2')}" in capsys.readouterr().err
    assert not cluster.submitted and not cluster.packages


def test_the_token_is_sent_and_its_refusal_named(
    address: str,
    cluster: Cluster,
    no_ray_settings: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster.token = "t0ken"
    with pytest.raises(UserError, match=rf"the Ray cluster at {address} asks for its token: set RAY_AUTH_TOKEN"):
        jobs.JobServer(address)
    no_ray_settings("wr0ng")
    with pytest.raises(UserError, match="refuses the token that is set here") as caught:
        jobs.JobServer(address)
    assert "wr0ng" not in str(caught.value)
    no_ray_settings("t0ken")
    assert jobs.JobServer(address).jobs()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    AuthenticationTokenLoader.instance().reset_cache()
    with pytest.raises(UserError, match="token cannot be read"):
        jobs.JobServer(address)


def test_what_does_not_answer_in_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_TIMEOUTS_S", (0.2, 0.2))
    silent = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # takes connections and serves none
    try:
        with pytest.raises(UserError, match="no job server answers at"):
            jobs.JobServer(f"http://127.0.0.1:{silent.server_port}")
    finally:
        silent.server_close()


def test_what_is_another_server_is_named(address: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ((404, "no"), (200, "<html>"), (200, {}), (200, []), (502, "Bad gateway")):
        monkeypatch.setattr(cluster, "answer", lambda *request, answer=answer: answer)
        with pytest.raises(UserError, match=f"what answers at {address} is no job server"):
            jobs.JobServer(address)


def test_jobs_are_listed_looked_at_and_stopped(
    address: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
    cluster.jobs["driver"] = RUNNING | {"type": "DRIVER", "submission_id": None}
    assert run(["jobs", "list"], monkeypatch) == 0
    latest, other = capsys.readouterr().out.splitlines()
    assert latest == "running  RUNNING    1970-01-01 00:00:01 UTC  cat s3://b/x"
    assert other.startswith("ended  SUCCEEDED") and other.endswith("artesian doctor")
    assert run(["jobs", "status", "running"], monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[0] == "status   RUNNING"
    assert run(["jobs", "stop", "running"], monkeypatch) == 0
    assert capsys.readouterr().out == "job running: STOPPED\n"
    for verb in ("stop", "status", "follow"):
        for unknown in ("nobody", "a/b"):
            assert run(["jobs", verb, unknown], monkeypatch) == 2
            assert "artesian jobs list" in capsys.readouterr().err
    assert run(["jobs", "stop", "ended"], monkeypatch) == 2
    assert "job ended has already ended: SUCCEEDED" in capsys.readouterr().err


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs.JobServer, "follow", interrupted)
    assert run(["jobs", "follow", "running", "--address", address], monkeypatch) == 130
    said = capsys.readouterr().err
    assert "job running goes on" in said
    assert all(f"artesian jobs {verb} running --address {address}" in said for verb in ("follow", "stop", "status"))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"status": "STOPPED"}, "job ended: STOPPED"),
        (
            {"status": "FAILED", "driver_exit_code": 2, "message": "the log again"},
            "job ended: FAILED with exit status 2$",
        ),
        ({"status": "FAILED", "message": "no http://u:s3cr3t@h/x"}, "job ended: FAILED: no http://h/x"),
        ({"status": "RUNNING"}, "broke off, the job goes on: artesian jobs follow ended"),
    ],
)
def test_a_job_s_end_is_told(
    facts: dict[str, object], message: str, address: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def log(server: object, job_id: str) -> AsyncIterator[str]:
        yield "read s3://k:s3cr3t@b/x\n"

    monkeypatch.setattr(jobs.JobServer, "tail_job_logs", log)
    server, lines = jobs.JobServer(address), list[str]()
    asyncio.run(server.follow("ended", lines.append))
    assert lines == ["read s3://b/x\n"]
    cluster.jobs["ended"] = ENDED | facts
    with pytest.raises(JobError, match=message):
        asyncio.run(server.follow("ended", lines.append))


def test_a_log_that_breaks_off_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def log(server: object, job_id: str) -> AsyncIterator[str]:
        yield "step 1\n"
        raise RuntimeError("WebSocket connection closed unexpectedly")

    monkeypatch.setattr(jobs.JobServer, "tail_job_logs", log)
    with pytest.raises(JobError, match=r"broke off \(WebSocket.*may go on: artesian jobs status running"):
        asyncio.run(jobs.JobServer(address).follow("running", lambda lines: None))
