from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.data.demo import adult
from synth.data.hashing import hash_rows, hash_values
from synth.data.source import open_source
from synth.data.split import PARTS, Split
from synth.errors import UserError

ROWS = st.lists(
    st.tuples(st.none() | st.integers(-(2**60), 2**60), st.none() | st.floats(allow_nan=False), st.none() | st.text()),
    min_size=1,
    max_size=50,
)


def batch(rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    types = (pa.int64(), pa.float64(), pa.string())
    arrays = [pa.array(c, t) for c, t in zip(zip(*rows, strict=True), types, strict=True)]
    return pa.record_batch(arrays, names=["i", "x", "s"])


@settings(max_examples=50)
@given(rows=ROWS, more=ROWS, seed=st.integers(0, 2**32), order=st.randoms(use_true_random=False))
def test_a_part_depends_on_the_row_alone(rows: list, more: list, seed: int, order) -> None:  # type: ignore[type-arg,no-untyped-def]
    split = Split(seed=seed)
    parts = split.assign(batch(rows))
    shuffled = order.sample(range(len(rows)), len(rows))
    assert (split.assign(batch([rows[i] for i in shuffled])) == parts[shuffled]).all()
    assert (split.assign(batch(rows + more))[: len(rows)] == parts).all()
    assert [split.assign(batch([row]))[0] for row in rows] == parts.tolist()
    assert (split.assign(batch(rows).select(["s", "i", "x"])) == parts).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 98), min_size=3, max_size=3, unique=True))
def test_shares_are_kept(seed: int, cuts: list[int]) -> None:
    shares = np.diff([0, *sorted(cuts), 100]) / 100
    rows = pa.record_batch([pa.array(np.arange(20_000))], names=["i"])
    split = Split(*shares, seed=seed)
    counts = np.bincount(split.assign(rows), minlength=4)
    assert np.abs(counts / 20_000 - shares).max() < 5 * np.sqrt(0.25 / 20_000)
    split.check(counts)


def test_zero_shares_get_no_row_and_identical_rows_stay_together() -> None:
    rows = pa.record_batch([pa.array(np.arange(10_000) // 2)], names=["i"])
    assert (Split(1, 0, 0, 0).assign(rows) == 0).all()
    assert set(Split(0.5, 0, 0.5, 0).assign(rows)) == {0, 2}
    parts = Split().assign(rows)
    assert (parts[::2] == parts[1::2]).all()
    assert (Split(seed=1).assign(rows) != parts).mean() > 0.3


def test_parts_are_disjoint_and_whole() -> None:
    source, split = open_source(adult(), batch_rows=7_000), Split()
    sizes = sum(np.bincount(split.assign(batch), minlength=len(PARTS)) for batch in source.batches())
    assert sizes.sum() == 48_842
    np.testing.assert_allclose(sizes / 48_842, [0.7, 0.1, 0.1, 0.1], atol=0.01)


def test_hashes_follow_values_not_types() -> None:
    for same in (
        [pa.array([1, None]), pa.array([1.0, float("nan")]), pa.array([True, None]), pa.array([Decimal("1.00"), None])],
        [pa.array([0.0]), pa.array([-0.0]), pa.array([0], pa.uint8())],
        [pa.array(["a", "b", "a", None]), pa.array(["a", "b", "a", None]).dictionary_encode(),
         pa.array(["a", "b", "a", None], pa.large_string())],
        [pa.array([dt.date(1066, 10, 14)]), pa.array([dt.datetime(1066, 10, 14)], pa.timestamp("s")),
         pa.array([dt.datetime(1066, 10, 14)], pa.timestamp("us")), pa.array([dt.date(1066, 10, 14)], pa.date64())],
    ):  # fmt: skip
        for other in same[1:]:
            assert (hash_values(other) == hash_values(same[0])).all()
    assert hash_values(pa.array(["1"])) != hash_values(pa.array([1]))
    assert hash_values(pa.array([""])) != hash_values(pa.array([None], pa.string()))
    swapped = [pa.record_batch([pa.array([a]), pa.array([b])], names=["a", "b"]) for a, b in ((1, 2), (2, 1))]
    assert hash_rows(swapped[0], 0) != hash_rows(swapped[1], 0)


def test_hashes_never_change() -> None:
    """A release names its parts by these numbers: another value here breaks every split made before."""
    rows = batch([(1, 0.5, "a"), (None, None, "")])
    assert hash_rows(rows, 0).tolist() == [9222454971621598001, 3104344194365243483]


def test_shares_that_cannot_be() -> None:
    for shares, message in (
        ((0.7, 0.1, 0.1, 0.2), "split 0.7,0.1,0.1,0.2: the shares add up to 1.1, not to 1"),
        ((1.5, -0.5, 0, 0), "between 0 and 1"),
        ((float("nan"), 0, 0, 1), "between 0 and 1"),
        ((0, 0.5, 0.5, 0), "share of train is 0"),
    ):
        with pytest.raises(UserError) as raised:
            Split(*shares)
        assert message in str(raised.value)


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(UserError, match="no row fell into test"):
        Split().check(np.array([18, 1, 1, 0]))
