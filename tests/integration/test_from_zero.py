"""A cluster without a worker node starts those that a run needs, and says at once which it cannot."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]
PROGRAM = Path(__file__).with_name("from_zero.py")
KNOWN = "and can start up to 2 × small (1 CPUs, 0 GPUs), room for 2 workers of a CPU each; give --workers 2 or fewer"
TRIED = "and its autoscaler can start no room for 3 workers of a CPU each beside what is at work; give fewer, or"


@pytest.mark.parametrize(("autoscaler", "refusal"), [("v2", KNOWN), ("v1", KNOWN), ("hidden", TRIED)])
def test_a_cluster_scaled_to_zero(table: Path, tmp_path: Path, autoscaler: str, refusal: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # loopback
    command = [sys.executable, str(PROGRAM), str(table), str(tmp_path / "x.run"), autoscaler]
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(PROGRAM.parents[2])},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["nodes"] == 1
    assert found["refused"].startswith("--workers 3: the cluster has 0 CPUs and 0 GPUs on 1 node(s)")
    assert refusal in found["refused"] and found["took_s"] < 60
    said = found["said"]
    assert "waiting for room for 2 workers of a CPU each: asked the cluster's autoscaler for nodes" in said
    assert any(re.fullmatch(r"on their way: [12] × small", line) for line in said), said
    assert said.index("waiting for nodes") < said.index("starting the workers") < said.index("training")
    assert (found["steps"], found["workers"]) == (20, 2)
