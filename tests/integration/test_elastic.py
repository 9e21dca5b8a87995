"""A run that may have one to two workers takes a node that joins, and goes on without one that dies."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]
PROGRAM = Path(__file__).with_name("grow_and_shrink.py")


def test_one_worker_then_two_then_one(table: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    # Ray Train sees deaths once in 2 s by itself, and waits for 60 s for the room of a node that has just gone.
    environment |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "8"}
    command = [sys.executable, str(PROGRAM), str(table), str(tmp_path / "x.run")]
    root = PROGRAM.parents[2]
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    teams = told["teams"]
    assert [team["workers"] for team in teams] == [1, 2, 1]
    for before, after in itertools.pairwise(teams):  # not from the start, nor from long ago: one is saved each second
        assert after["first"] > 0.5 * before["last"], teams
    assert told["stopped"] and told["loss"] < 5 and told["notes"] == []
