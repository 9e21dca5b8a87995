"""Who may come in: as much work at once as leaves each answer its latency; the rest are told when to come again.

Answers are computed block by block. A new one is let in only while there is a replica without a block in line, so that one
which is let in waits for about one other block. What counts is work, not connections: whoever reads slowly has nothing
computed meanwhile, and keeps nobody out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PER_REPLICA = 2  # blocks: one at work and one in line, so that a replica is never idle
SMOOTH = 0.2  # weight of the latest block in the mean


class OverloadError(Exception):
    """There is no room now; ``retry_after_s`` is when there should be."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the service is busy; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


@dataclass
class Admission:
    """Blocks at work or in line, rows that answers still have to send, and the seconds that a block takes."""

    replicas: int = 1
    blocks: int = 0
    queued_rows: int = 0
    block_s: float = 0.0

    def enter(self, rows: int) -> None:
        """Let an answer of so many rows in. OverloadError where there is no room."""
        if self.blocks >= PER_REPLICA * self.replicas:
            raise OverloadError(max(1.0, math.ceil(self.block_s * self.blocks / self.replicas)))
        self.queued_rows += rows

    def begin(self) -> None:
        """A block goes to work."""
        self.blocks += 1

    def end(self, seconds: float | None) -> None:
        """A block is there, which took a replica so long; None where it was given up."""
        self.blocks -= 1
        if seconds is not None:
            self.block_s += (seconds - self.block_s) * (SMOOTH if self.block_s else 1.0)

    def leave(self, rows: int) -> None:
        """So many rows were sent, or never will be."""
        self.queued_rows -= rows
