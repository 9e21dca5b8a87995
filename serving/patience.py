"""A connection that is hung up where a request's head does not come: slow callers keep a socket for a while, and no more."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class Patient(H11Protocol):
    """h11, which is strict about what a head may say, with a limit to the time that one takes to come."""

    head_s: ClassVar[float]
    timer: asyncio.TimerHandle | None = None

    @classmethod
    def waiting(cls, head_s: float) -> type[Patient]:
        """The protocol that waits so long."""
        return type("Patient", (cls,), {"head_s": head_s})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._time()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._time(over=True)
        super().connection_lost(exc)

    def _time(self, *, over: bool = False) -> None:
        """Start the clock while a head is waited for; stop it when there is one."""
        expected = not over and (self.cycle is None or self.cycle.response_complete)
        if expected and self.timer is None:
            self.timer = self.loop.call_later(self.head_s, self._hang_up)
        elif not expected and self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _hang_up(self) -> None:
        self.timer = None
        if not self.transport.is_closing():
            self.transport.close()
