"""Rows by step: each once an epoch, the same for any number of workers."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.generators.layout import Encoded
from synth.training.feed import Feed, Mixed, Share, mixed


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


def kinds(shares: list[float], batch: int, rank: int = 0, world: int = 1) -> Feed | Mixed:
    """Kinds of 7, 14, 21 … rows, which hold their kind and their number."""
    pools = []
    for kind, weight in enumerate(shares):
        values = np.stack([np.full(7 * (kind + 1), kind), np.arange(7 * (kind + 1))], axis=1).astype(np.float32)
        pools.append((weight, [Encoded(np.zeros((len(values), 0), np.int32), values)]))
    return mixed(pools, Share(3, batch, 1, rank, world, torch.device("cpu")))


@settings(max_examples=40, deadline=None)
@given(weight=st.floats(0.01, 0.99), batch=st.integers(1, 80), step=st.integers(0, 10**6))
def test_a_kind_makes_up_its_share_of_every_batch_to_a_row(weight: float, batch: int, step: int) -> None:
    found = kinds([weight, 1 - weight], batch)(step, slice(0, batch)).values[:, 0]
    assert abs(int((found == 0).sum()) - weight * batch) <= 1 + 1e-6 * step


def test_of_several_kinds_each_goes_through_its_own_rows() -> None:
    shares, batch = [0.5, 0.2, 0.3], 50
    source = kinds(shares, batch)
    assert source.rows == 14, "after which the first kind has come round"
    rows = torch.cat([source(step, slice(0, batch)).values for step in range(100)])
    for kind, weight in enumerate(shares):
        mine = rows[rows[:, 0] == kind, 1]
        assert abs(len(mine) / len(rows) - weight) < 0.001
        times = torch.bincount(mine.long(), minlength=7 * (kind + 1))
        assert times.max() - times.min() <= 1, "each row as often as any other, to an epoch"


def test_workers_share_what_one_worker_sees_of_mixed_rows() -> None:
    whole = kinds([0.3, 0.7], 12)
    for step in (0, 3, 7):
        expected = whole(step, slice(0, 12)).values
        for rank in range(3):
            assert torch.equal(kinds([0.3, 0.7], 12, rank, 3)(step, slice(0, 12)).values, expected[rank::3])


def test_one_kind_is_a_plain_feed() -> None:
    assert isinstance(kinds([1.0], 12), Feed)
