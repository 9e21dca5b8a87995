"""A run that may have one to two workers takes a node that joins, and goes on without one that dies or is taken away."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_one_worker_then_two_then_one(said: Callable[..., Any], table: Path, tmp_path: Path) -> None:
    told = said("grow_and_shrink.py", table, tmp_path / "x.run")
    teams = told["teams"]
    assert [team["workers"] for team in teams] == [1, 2, 1]
    for before, after in itertools.pairwise(teams):  # not from the start, nor from long ago: one is saved each second
        assert after["first"] > 0.5 * before["last"], teams
    assert told["back_s"] <= 30  # from the death of the node to the next step
    assert told["stopped"] and told["loss"] < 5 and told["notes"] == []


@pytest.mark.beside
def test_a_node_that_goes_with_notice_costs_no_step_from_before_it_and_no_failure(
    said: Callable[..., Any], table: Path, tmp_path: Path
) -> None:
    # Saves at no time but then, and may not fail once. Ray Train may wait for room on the node that goes.
    hurry = {"RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15"}
    told = said("lose_with_notice.py", table, tmp_path / "x.run", **hurry)
    assert [team["workers"] for team in told["teams"]] == [2, 1]
    [note] = told["notes"]
    assert note in told["told"]
    saved = re.fullmatch(r"step (\d+): a checkpoint, since 1 node\(s\) will be taken away", note)
    assert saved and told["announced"] <= int(saved[1]) < told["teams"][1]["first"], told
