"""Which ZeRO stage the memory asks for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from cluster.machine import usable_memory
from synth.training import sharding
from synth.training.sharding import STATE, choose

GIB = 2**30


@pytest.mark.parametrize(
    ("parameters", "workers", "memory", "stage"),
    [
        (3_000_000, 4, 16 * GIB, 0),  # small: nothing is gained by sharding
        (300_000_000, 1, 8 * GIB, 0),  # alone, nothing is spread, and stages 1 and 2 hold a copy more
        (400_000_000, 8, 14 * GIB, 1),
        (600_000_000, 8, 10 * GIB, 2),
        (1_000_000_000, 8, 8 * GIB, 3),
        (10_000_000_000, 8, 8 * GIB, 3),  # the leanest, though it does not fit
    ],
)
def test_the_lowest_stage_that_fits(parameters: int, workers: int, memory: int, stage: int) -> None:
    found, why = choose(parameters, workers, memory)
    assert found == stage and why.startswith(f"ZeRO {stage}: the state of")
    whole, spread = STATE[stage]
    assert ("does not fit" in why) == (parameters * (whole + spread / workers) > memory / 2)
    assert f"on each of {workers} worker(s)" in why


def test_no_stage_beyond_the_most_is_chosen() -> None:
    stage, why = choose(1_000_000_000, 8, 8 * GIB, most=2)
    assert stage == 2 and "does not fit" in why
    assert choose(3_000_000, 4, 16 * GIB, most=2)[0] == 0


def test_the_workers_of_a_container_share_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, text in {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": str(GIB)}.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    monkeypatch.setattr(sharding, "usable_memory", partial(usable_memory, tmp_path))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert sharding._memory(torch.device("cpu")) == GIB // 4
