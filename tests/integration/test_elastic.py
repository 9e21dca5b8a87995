"""A run that may have one to two workers takes a node that joins, and goes on without one that dies or is taken away."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def trained(program: str, table: Path, run: Path) -> dict[str, Any]:
    """What a program beside this file prints of a run on a cluster of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # Ray Train takes in a checkpoint once in 2 s by itself
    environment |= {"RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(Path(__file__).with_name(program)), str(table), str(run)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return said


def test_one_worker_then_two_then_one(table: Path, tmp_path: Path) -> None:
    told = trained("grow_and_shrink.py", table, tmp_path / "x.run")
    teams = told["teams"]
    assert [team["workers"] for team in teams] == [1, 2, 1]
    for before, after in itertools.pairwise(teams):  # not from the start, nor from long ago: one is saved each second
        assert after["first"] > 0.5 * before["last"], teams
    assert told["back_s"] <= 30  # from the death of the node to the next step
    assert told["stopped"] and told["loss"] < 5 and told["notes"] == []


def test_a_node_that_goes_with_notice_costs_no_step_from_before_it_and_no_failure(table: Path, tmp_path: Path) -> None:
    told = trained("lose_with_notice.py", table, tmp_path / "x.run")  # saves at no time but then; may not fail once
    assert [team["workers"] for team in told["teams"]] == [2, 1]
    [note] = told["notes"]
    assert note in told["told"]
    saved = re.fullmatch(r"step (\d+): a checkpoint, since 1 node\(s\) will be taken away", note)
    assert saved and told["announced"] <= int(saved[1]) < told["teams"][1]["first"], told
