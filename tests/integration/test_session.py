"""An embedded Ray keeps to itself: its ports to this machine, its token and settings to its own time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from cluster.session import impatient

pytestmark = [pytest.mark.integration, pytest.mark.slow]
PROGRAM = """
import os, psutil
from cluster.machine import usable_cores
from cluster.session import connected

def addresses():
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip.removeprefix("::ffff:")

before = dict(os.environ)
for turn in range(2):
    if turn and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with connected() as ray:
        assert not turn or ray.cluster_resources()["CPU"] == usable_cores(), ray.cluster_resources()
        assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
        assert os.environ["RAY_AUTH_TOKEN"] and os.environ["RAY_AUTH_MODE"] == "token"
        listening = set(addresses())
        assert listening and listening <= {"127.0.0.1", "::1"}, listening
    changed = {name for name in os.environ.keys() | before if os.environ.get(name) != before.get(name)}
    assert changed <= {"RAY_USAGE_STATS_ENABLED", "RAY_TRAIN_V2_ENABLED", "RAY_CLIENT_MODE"}, changed
"""
JOIN = """
from cluster.session import connected
from synth.errors import UserError

try:
    with connected("127.0.0.1:6399"):
        pass
except UserError as e:
    assert "asks for its token: set RAY_AUTH_TOKEN" in str(e), e
else:
    raise AssertionError("joined")
"""


CONNECT = """
import sys
from cluster.session import connected

with connected(sys.argv[1]) as ray:
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
"""


def run(program: str, *arguments: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def without_ray() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def test_ports_are_on_loopback_and_the_environment_is_given_back() -> None:
    run(PROGRAM, environment=without_ray())


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="one scheduling policy for all")
def test_rays_processes_wait_for_a_tick_where_a_worker_computes_at_once() -> None:
    def policies() -> tuple[int, int]:
        before = os.sched_getscheduler(0)
        impatient()
        return before, os.sched_getscheduler(0)

    # In a process of its own: one that has computed before would be impatient already.
    fresh = ray.remote(runtime_env={"env_vars": {"ARTESIAN_TEST": "policies"}})(policies)
    assert ray.get(fresh.remote()) == (os.SCHED_BATCH, os.SCHED_OTHER)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_cluster_that_wants_a_token_says_so(tmp_path: Path) -> None:
    run(JOIN, environment=without_ray() | {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)})


def test_a_cluster_of_another_version_says_so() -> None:
    program = f"import ray\nray.__version__ = '2.59.0'\n{CONNECT}"
    command = [sys.executable, "-c", program, ray.get_runtime_context().gcs_address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "has other versions than this machine. Version mismatch" in done.stderr
    assert "Ray: 2.60.0" in done.stderr and "Ray: 2.59.0" in done.stderr


def test_a_cluster_is_joined_with_its_token_and_goes_on_without_us() -> None:
    """The cluster is that of the test session, whose token and ways are in this process's environment."""
    run(CONNECT, ray.get_runtime_context().gcs_address, environment=dict(os.environ))
    assert ray.get(ray.remote(lambda: 8).remote()) == 8
