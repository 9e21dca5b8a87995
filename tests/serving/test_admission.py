"""Room is work that is waited for: counted exactly, told about honestly, given back in any case."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.admission import PER_REPLICA, Admission, OverloadError


def test_there_is_room_for_so_many_blocks_of_each_replica() -> None:
    for replicas in (1, 3):
        admission = Admission(replicas)
        with ExitStack() as blocks:
            for _ in range(PER_REPLICA * replicas):
                admission.enter(10)
                blocks.enter_context(admission.waiting(1.0))
            with pytest.raises(OverloadError):
                admission.enter(10)
        admission.enter(10)
        assert (admission.turns, admission.queued_rows) == (0.0, 10 * (PER_REPLICA * replicas + 1))


def test_small_answers_take_the_room_that_they_need() -> None:
    admission = Admission()
    with ExitStack() as blocks:
        for _ in range(8 * PER_REPLICA):
            admission.enter(1)
            blocks.enter_context(admission.waiting(1 / 8))
        with pytest.raises(OverloadError):
            admission.enter(1)


def test_who_is_refused_is_told_when_what_is_in_line_will_be_done() -> None:
    admission = Admission(2)
    admission.took(4.0, 0.5)  # 8 seconds a block
    with ExitStack() as blocks:
        for _ in range(4):
            blocks.enter_context(admission.waiting(1.0))
        with pytest.raises(OverloadError, match="busy; try again in 16 s") as refused:
            admission.enter(1)
        assert refused.value.retry_after_s == 16.0 and admission.queued_rows == 0


def test_the_seconds_of_a_block_follow_the_latest() -> None:
    admission = Admission()
    for seconds, mean in ((1.0, 1.0), (2.0, 1.2), (2.0, 1.36)):
        admission.took(seconds, 1.0)
        assert admission.turn_s == pytest.approx(mean)


def test_a_block_that_fails_is_waited_for_no_more() -> None:
    admission = Admission()
    with pytest.raises(KeyError), admission.waiting(1.0):
        raise KeyError
    assert admission.turns == 0.0


@given(st.lists(st.integers(1, 8), max_size=50), st.randoms())
def test_blocks_end_in_any_order_and_leave_nothing(eighths: list[int], random: object) -> None:
    admission, open = Admission(10**6), []
    for part in eighths:
        block = admission.waiting(part / 8)
        block.__enter__()
        open.append(block)
    assert admission.turns == sum(eighths) / 8
    random.shuffle(open)  # type: ignore[attr-defined]
    for block in open:
        block.__exit__(None, None, None)
    assert admission.turns == 0.0
