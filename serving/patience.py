"""Connections that are turned away, or hung up: one too many; one of whose request the head does not come; one whose caller
does not take the end of an answer. Slow callers keep a socket for a while, and no more. Heads whose lines end otherwise than
HTTP's do, or go on in the next, are refused, since a proxy might read others in them.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import Any, ClassVar, NamedTuple

from h11 import RemoteProtocolError
from h11._receivebuffer import ReceiveBuffer
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r\n[ \t]")
LINGER_S = 10.0  # in which whoever was given the last bytes of an answer has to take some of them


class Lines(ReceiveBuffer):
    """What has been received, of which h11 takes a head's lines; it alone would have a bare line feed end one, and a line that
    begins with a blank go on with the one before (RFC 9112, 2.2 and 5.2): a head that hides another one."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        end = self._data.find(b"\r\n\r\n")
        if _AMBIGUOUS.search(self._data, 0, len(self._data) if end < 0 else end + 4):
            raise RemoteProtocolError("a line of the head ends without a carriage return, or begins with a blank")
        return super().maybe_extract_lines()


class Curt:
    """A transport that does not wait for ever, once it is closed, for its last bytes to be taken."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def close(self) -> None:
        self.transport.close()
        self._look(math.inf)

    def _look(self, before: float) -> None:
        """Hang up where no byte has been taken since ``before`` were left."""
        if left := self.transport.get_write_buffer_size():
            if left >= before:
                self.transport.abort()
            else:
                self.loop.call_later(LINGER_S, self._look, left)


class Room(NamedTuple):
    """Seconds that a head has to come in, how many connections there may be, and what answers one beyond that."""

    head_s: float
    most: int
    full: ASGIApp


class Patient(H11Protocol):
    """h11, which is strict about what a head may say, with limits to the time that one takes to come, and to connections."""

    room: ClassVar[Room]
    timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, head_s: float, most: int, full: ASGIApp) -> type[Patient]:
        """The protocol that waits so long, and has whoever is there while there are ``most`` others answered by ``full``."""
        return type("Patient", (cls,), {"room": Room(head_s, most, full)})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Curt(transport, self.loop))  # type: ignore[arg-type]
        self.conn._receive_buffer = Lines()
        if len(self.connections) > self.room.most:  # uvicorn's own limit answers with bare text
            self.app = self.room.full
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
            self.timer = self.loop.call_later(self.room.head_s, self._hang_up)
        elif not expected and self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _hang_up(self) -> None:
        self.timer = None
        if not self.transport.is_closing():
            self.transport.close()
