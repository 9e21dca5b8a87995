"""Rows by step: each once an epoch, the same for any number of workers."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.generators.layout import Encoded
from synth.training.feed import Feed, Share


def feed(rows: int, batch: int, rank: int = 0, world: int = 1) -> Feed:
    values = np.arange(rows, dtype=np.float32)[:, None]
    half = rows // 2
    parts = [Encoded(np.zeros((n, 0), np.int32), v) for n, v in ((half, values[:half]), (rows - half, values[half:]))]
    return Feed(parts, Share(3, batch, 1, rank, world, torch.device("cpu")))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 60), batch=st.integers(1, 80))
def test_every_row_is_seen_once_an_epoch(rows: int, batch: int) -> None:
    source = feed(rows, batch)
    steps = -(-3 * rows // batch)
    seen = torch.cat([source(s, slice(0, batch)).values[:, 0] for s in range(steps)])[: 3 * rows].view(3, rows)
    for epoch in seen:
        assert sorted(epoch.tolist()) == list(range(rows))


def test_workers_share_what_one_worker_sees() -> None:
    whole = feed(50, 12)
    for step in (0, 3, 7):
        expected = whole(step, slice(0, 12)).values
        for world in (2, 3):
            for rank in range(world):
                mine = feed(50, 12, rank, world)(step, slice(0, 12)).values
                assert torch.equal(mine, expected[rank::world])


def test_a_step_is_found_without_the_steps_before_it() -> None:
    walked = feed(50, 12)
    for step in range(9):
        last = walked(step, slice(0, 12)).values
    assert torch.equal(feed(50, 12)(8, slice(0, 12)).values, last)
    assert not torch.equal(feed(50, 12)(0, slice(0, 12)).values, last)
