"""Who may come in: as much work at once as leaves each answer its latency; the rest are told when to come again.

Answers are computed piece by piece. A new one is let in while those that wait for rows wait for less than PER_REPLICA turns
of each replica, so that one which is let in waits for about one other. A piece takes a turn, however small it is, unless
replicas draw several in the time of one, as GPUs do: then a small one takes its part. What counts is work that is waited
for, not connections: whoever reads slowly has nothing computed meanwhile, and keeps nobody out; and neither does one who
reads fast, alone, for what is drawn ahead of him does not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PER_REPLICA = 2  # turns: one at work and one in line, so that a replica is never idle
SMOOTH = 0.2  # weight of the latest turn in the mean


class OverloadError(Exception):
    """There is no room now; ``retry_after_s`` is when there should be."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the service is busy; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


@dataclass
class Admission:
    """Turns that are waited for, rows that answers still have to send, and the seconds that a turn takes."""

    replicas: int = 1
    turns: float = 0.0
    queued_rows: int = 0
    turn_s: float = 0.0

    def enter(self, rows: int) -> None:
        """Let an answer of so many rows in. OverloadError where there is no room."""
        if self.turns >= PER_REPLICA * self.replicas:
            raise OverloadError(max(1.0, math.ceil(self.turn_s * self.turns / self.replicas)))
        self.queued_rows += rows

    @contextmanager
    def waiting(self, turns: float) -> Iterator[None]:
        """While an answer waits for a turn; ``turns`` below 1, in eighths, of one that takes less than that in all."""
        assert 0 < turns <= 1
        self.turns += turns
        try:
            yield
        finally:
            self.turns -= turns

    def took(self, seconds: float, turns: float) -> None:
        """A replica took so long for a turn, or a part of one."""
        self.turn_s += (seconds / turns - self.turn_s) * (SMOOTH if self.turn_s else 1.0)

    def leave(self, rows: int) -> None:
        """So many rows were sent, or never will be."""
        self.queued_rows -= rows
