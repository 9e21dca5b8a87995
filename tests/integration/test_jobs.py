"""Commands sent to a cluster as Ray Jobs: followed to their end, left alone, stopped, refused."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cluster.session import LOOPBACK
from synth import release as releases

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
SMALL = [
    "--target",
    "income",
    "--set",
    "diffusion.width=32",
    "--set",
    "diffusion.blocks=1",
    "--set",
    "training.batch=64",
]
# A process in the background inherits that Ctrl-C is ignored.
ARTESIAN = "import signal, artesian; signal.signal(signal.SIGINT, signal.default_int_handler); artesian.main()"

Command = Callable[..., subprocess.CompletedProcess[str]]


def ports(number: int) -> list[int]:
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """For a cluster with a token of its own, and for those who use it; ``python`` is this one."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{ours['PATH']}"
    return ours | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PATH": path, LOOPBACK: "0"}


@pytest.fixture(scope="module")
def address(environment: dict[str, str]) -> Iterator[str]:
    gcs, dashboard, agent, agent_grpc, client = ports(5)
    folder = tempfile.mkdtemp(prefix="ray-")  # short: the names of sockets are in it
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={gcs}", f"--ray-client-server-port={client}", f"--temp-dir={folder}"),
        *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"),
        *("--num-cpus=2", "--object-store-memory=200000000"),
    ]
    head = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{dashboard}"
        wait_for(url, environment["RAY_AUTH_TOKEN"], head)
        yield url
    finally:
        # These processes and no others: ray stop would end every Ray here. A signal to stop makes the head wait for 30 s.
        theirs: list[psutil.Process] = [head]
        with contextlib.suppress(psutil.NoSuchProcess):
            theirs += head.children(recursive=True)
        for process in theirs:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(theirs, timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(url: str, token: str, head: psutil.Popen) -> None:
    request = urllib.request.Request(f"{url}/api/version", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and head.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(request, timeout=5):
            return
        time.sleep(0.5)
    pytest.fail("the cluster did not start")


@pytest.fixture(scope="module")
def artesian(address: str, environment: dict[str, str]) -> Command:
    there = environment | {"RAY_API_SERVER_ADDRESS": address}

    def run(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", ARTESIAN, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=there | changed, capture_output=True, text=True, check=False, timeout=300
        )
        assert "Traceback" not in done.stderr and environment["RAY_AUTH_TOKEN"] not in done.stdout + done.stderr
        return done

    return run


def test_a_training_runs_there_and_is_followed_to_its_release(artesian: Command, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    done = artesian("submit", "--", "train", str(table), *SMALL, "--steps", "5", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{table}, {out}: on the job's own disk" in done.stderr
    job, *log = done.stdout.splitlines()
    assert any("--address auto" in line for line in log) and any(f"at {out}" in line for line in log)
    assert releases.verify(out).whole
    assert "SUCCEEDED" in artesian("jobs", "status", job).stdout
    assert job in artesian("jobs", "list").stdout
    assert artesian("jobs", "follow", job).stdout.splitlines() == log
    assert "has already ended: SUCCEEDED" in artesian("jobs", "stop", job).stderr


def test_a_failure_is_that_of_the_command(artesian: Command) -> None:
    done = artesian("submit", "--name", "failing", "--", "verify", "nowhere")
    assert done.returncode == 1
    assert done.stdout.startswith("failing\n") and "error: nowhere" in done.stdout
    assert "error: job failing: FAILED with exit status 2" in done.stderr
    assert "choose another --name" in artesian("submit", "--name", "failing", "--", "verify", "nowhere").stderr


def test_ctrl_c_leaves_a_training_running_and_stop_lets_it_save(
    artesian: Command, address: str, environment: dict[str, str], table: Path, tmp_path: Path
) -> None:
    train = ["train", str(table), *SMALL, "--budget", "10m", "--out", str(tmp_path / "release")]
    command = [sys.executable, "-c", ARTESIAN, "submit", "--address", address, "--name", "long", "--", *train]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert any(line.startswith("training ") for line in following.stdout)
        following.send_signal(signal.SIGINT)
        said = following.communicate(timeout=30)[1]
    assert following.returncode == 130 and "Traceback" not in said
    assert f"job long goes on\nartesian jobs follow long --address {address}\n" in said
    assert "RUNNING" in artesian("jobs", "status", "long").stdout
    assert artesian("jobs", "stop", "long").stdout == "job long: STOPPED\n"
    followed = artesian("jobs", "follow", "long")
    assert followed.returncode == 1 and "job long: STOPPED" in followed.stderr
    assert "the same command with --resume goes on" in followed.stdout
    assert list((tmp_path / "release.run").glob("checkpoint_*"))


def test_a_wrong_token_is_refused(artesian: Command) -> None:
    done = artesian("jobs", "list", RAY_AUTH_TOKEN="wr0ng")
    assert done.returncode == 2
    assert "refuses the token that is set here" in done.stderr and "wr0ng" not in done.stderr


def test_a_job_that_nobody_sent_is_named(artesian: Command) -> None:
    done = artesian("jobs", "follow", "nobody")
    assert done.returncode == 2
    assert "Job nobody does not exist; artesian jobs list" in done.stderr
