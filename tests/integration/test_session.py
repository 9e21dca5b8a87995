"""An embedded Ray keeps to itself: its ports to this machine, its token and settings to its own time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]
PROGRAM = """
import os, psutil
from cluster.session import connected

def addresses():
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip.removeprefix("::ffff:")

before = dict(os.environ)
for turn in range(2):
    with connected() as ray:
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


def run(program: str, **environment: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_ports_are_on_loopback_and_the_environment_is_given_back() -> None:
    run(PROGRAM)


def test_a_cluster_that_wants_a_token_says_so(tmp_path: Path) -> None:
    run(JOIN, RAY_AUTH_MODE="token", HOME=str(tmp_path))
