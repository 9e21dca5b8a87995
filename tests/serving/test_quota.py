"""Token buckets: what they let through, what they say to whom they don't, and what survives a restart."""

from __future__ import annotations

import itertools
import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.keys import Key, Keys
from serving.quota import Bucket, Exceeded, Quotas

NOON = 1.8e9  # a time of the day, in seconds as time.time gives them
DAY = 86_400.0


def key(rows: int | None = None, requests: int | None = None, name: str = "a") -> Key:
    keys, _ = Keys(keys=()).add(
        name=name,
        generators=["*"],
        now=datetime(2027, 1, 1, tzinfo=UTC),
        rows_per_day=rows,
        requests_per_minute=requests,
    )
    return keys.keys[0]


def exceeded(quotas: Quotas, who: Key, rows: int, now: float) -> Exceeded:
    with pytest.raises(Exceeded) as caught:
        quotas.take(who, rows, now)
    return caught.value


asks = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 12)), max_size=40)
"""Seconds since the one before, and tokens."""


@given(asks, st.floats(0.01, 10), st.integers(1, 20), st.sampled_from([0.0, NOON]))
def test_no_window_lets_more_through_than_the_burst_and_what_comes_in(
    asked: list[tuple[float, int]], rate: float, burst: int, start: float
) -> None:
    bucket, now, taken = Bucket(rate, burst), start, []
    for pause, amount in asked:
        now += pause
        if bucket.wait(amount, now) == 0:
            bucket.take(amount, now)
            taken.append((now, amount))
    for first, last in itertools.combinations_with_replacement(range(len(taken)), 2):
        window = taken[last][0] - taken[first][0]
        assert sum(amount for _, amount in taken[first : last + 1]) <= burst + rate * window + 1e-6


@given(asks, st.floats(0.01, 10), st.integers(1, 20), st.sampled_from([0.0, NOON]))
def test_a_wait_is_long_enough_and_hardly_longer(
    asked: list[tuple[float, int]], rate: float, burst: int, start: float
) -> None:
    bucket, now = Bucket(rate, burst), start
    for pause, amount in asked:
        now += pause
        wait = bucket.wait(amount, now)
        if amount > burst:
            assert wait == math.inf
            continue
        if wait > 0.01:
            assert Bucket(rate, burst, bucket.spent, bucket.at).wait(amount, now + wait - 0.01) > 0
        now += wait
        assert bucket.wait(amount, now) == 0
        bucket.take(amount, now)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_a_clock_that_jumps_adds_nothing_twice(jumps: list[float]) -> None:
    """What comes in depends on the latest time that was seen alone."""
    bucket, now, latest = Bucket(0.01, 10, 10.0, NOON), NOON, NOON
    for jump in jumps:
        now += jump
        latest = max(latest, now)
        assert bucket.left(now) == pytest.approx(min(10, 0.01 * (latest - NOON)), abs=1e-5)


@given(st.integers(0, 10), st.integers(0, 15), st.floats(0, 20))
def test_what_is_given_back_was_never_taken_but_for_the_room(taken: int, back: int, pause: float) -> None:
    """Before a pause or after it: the same."""
    before, after = Bucket(0.5, 10), Bucket(0.5, 10)
    for bucket in (before, after):
        bucket.take(taken, 0.0)
    before.give_back(back)
    after.left(pause)
    after.give_back(back)
    assert before.left(pause) == pytest.approx(after.left(pause)) and before.left(pause) <= 10


def test_a_minutes_worth_of_requests_at_once_and_then_evenly() -> None:
    quotas, who = Quotas(), key(requests=60)
    for _ in range(60):
        quotas.take(who, 10**9, NOON)
    error = exceeded(quotas, who, 1, NOON)
    assert (error.kind, error.remaining, error.limit) == ("requests", 0, 60)
    assert error.retry_after_s == pytest.approx(1, abs=0.003)
    assert "may ask for 60 requests a minute, and has 0 left" in str(error) and "in 2 s" in str(error)
    quotas.take(who, 1, NOON + error.retry_after_s)
    assert quotas.left(who, NOON + 30) == {"requests": 29} and quotas.left(who, NOON + 1e6) == {"requests": 60}


def test_a_days_worth_of_rows_at_once_and_then_evenly() -> None:
    quotas, who = Quotas(), key(rows=86_400)
    quotas.take(who, 86_000, NOON)
    error = exceeded(quotas, who, 1_000, NOON)
    assert (error.kind, error.remaining, error.limit) == ("rows", 400, 86_400)
    assert error.retry_after_s == pytest.approx(600, abs=0.003)
    quotas.take(who, 1_000, NOON + error.retry_after_s)
    assert quotas.left(who, NOON + error.retry_after_s) == {"rows": 0}


def test_a_request_that_is_refused_costs_nothing() -> None:
    quotas, who = Quotas(), key(rows=100, requests=2)
    quotas.take(who, 90, NOON)
    assert exceeded(quotas, who, 11, NOON).kind == "rows"
    assert quotas.left(who, NOON) == {"requests": 1, "rows": 10}
    quotas.take(who, 10, NOON)
    assert exceeded(quotas, who, 0, NOON).kind == "requests"
    assert quotas.left(who, NOON) == {"requests": 0, "rows": 0}


def test_what_takes_longest_is_named() -> None:
    quotas, who = Quotas(), key(rows=100, requests=1)
    quotas.take(who, 100, NOON)
    error = exceeded(quotas, who, 50, NOON)
    assert error.kind == "rows" and error.retry_after_s == pytest.approx(DAY / 2, abs=0.003)
    assert exceeded(quotas, who, 0, NOON).kind == "requests"
    quotas.take(who, 50, NOON + error.retry_after_s)


def test_more_than_the_limit_is_said_to_be_in_vain() -> None:
    quotas, who = Quotas(), key(rows=100, requests=1)
    error = exceeded(quotas, who, 101, NOON)
    assert (error.kind, error.remaining, error.limit, error.retry_after_s) == ("rows", 100, 100, DAY)
    assert "may ask for 100 rows a day, and this asks for 101: ask in parts" in str(error)


def test_rows_that_were_not_sent_are_given_back() -> None:
    quotas, who = Quotas(), key(rows=100, requests=5)
    quotas.take(who, 100, NOON)
    quotas.give_back(who, 70)
    assert quotas.left(who, NOON) == {"requests": 4, "rows": 70}
    quotas.give_back(who, 70)
    assert quotas.left(who, NOON)["rows"] == 100
    quotas.give_back(key(rows=100), 70)  # of a key that has asked for nothing, or was forgotten meanwhile


def test_a_key_without_limits_has_none() -> None:
    quotas, who = Quotas(), key()
    for _ in range(1_000):
        quotas.take(who, 10**12, NOON)
    quotas.give_back(who, 5)
    assert quotas.left(who, NOON) == {}


def test_keys_do_not_share() -> None:
    quotas, one, other = Quotas(), key(rows=10), key(rows=10)
    quotas.take(one, 10, NOON)
    assert quotas.left(one, NOON) == {"rows": 0} and quotas.left(other, NOON) == {"rows": 10}
    quotas.take(other, 10, NOON)


@pytest.mark.parametrize("limit", [50, 100, 200])
def test_a_limit_that_is_changed_gives_nothing_back(limit: int) -> None:
    quotas, who = Quotas(), key(rows=100)
    quotas.take(who, 80, NOON)
    changed = who.model_copy(update={"rows_per_day": limit})
    assert quotas.left(changed, NOON) == {"rows": max(0, limit - 80)}
    assert quotas.left(changed, NOON + DAY) == {"rows": limit}, "and nobody waits for more than a day"
    assert quotas.left(who.model_copy(update={"rows_per_day": None}), NOON) == {}


@pytest.mark.parametrize("down", [0.0, DAY / 4])
def test_a_restart_refills_nothing_but_what_came_in(down: float) -> None:
    quotas, who = Quotas(), key(rows=1_000, requests=5)
    for _ in range(5):
        quotas.take(who, 200, NOON)
    state = json.loads(json.dumps(quotas.state()))
    after = Quotas()
    after.restore(state, NOON + down)
    assert after.left(who, NOON + down) == {"requests": 5 if down else 0, "rows": 1_000 * down / DAY}
    after.give_back(who, 100)
    assert after.left(who, NOON + down)["rows"] == 1_000 * down / DAY + 100


def test_a_clock_that_was_ahead_holds_nobody_up() -> None:
    quotas, who = Quotas(), key(rows=100)
    quotas.take(who, 100, NOON + 365 * DAY)
    after = Quotas()
    after.restore(quotas.state(), NOON)
    assert after.left(who, NOON) == {"rows": 0} and after.left(who, NOON + DAY / 2) == {"rows": 50}


def test_keys_that_are_no_more_are_forgotten() -> None:
    quotas, one, other = Quotas(), key(rows=10), key(rows=10)
    quotas.take(one, 10, NOON)
    quotas.take(other, 10, NOON)
    quotas.keep(Keys(keys=(one,)).by_id)
    assert list(quotas.state()) == [one.id]
    assert quotas.left(one, NOON) == {"rows": 0}


GOOD = {"rate": 1.0, "burst": 10.0, "spent": 3.0, "at": NOON}


@pytest.mark.parametrize(
    "state",
    [
        [], {"a": 3}, {"a": {"bytes": GOOD}}, {"a": {"rows": {}}}, {"a": {"rows": GOOD | {"rate": 0.0}}},
        {"a": {"rows": GOOD | {"spent": -1.0}}}, {"a": {"rows": GOOD | {"spent": math.nan}}},
    ],
)  # fmt: skip
def test_a_damaged_state_is_refused(state: Any) -> None:
    quotas, who = Quotas(), key(rows=10)
    quotas.take(who, 10, NOON)
    with pytest.raises(ValueError, match="state of the quotas"):
        quotas.restore(state, NOON)
    assert quotas.left(who, NOON) == {"rows": 0}, "and leaves what there was"
