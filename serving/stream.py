"""An answer on its way: blocks are computed a little ahead of what has been sent, and no further."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from serving.admission import Admission
from serving.catalogue import Version
from synth.sampling import BLOCK, SMALL

AHEAD = 2  # blocks that are computed or wait to be sent; one more than is being sent keeps a replica at work


@dataclass(frozen=True)
class Piece:
    """Rows ``first`` … ``first + rows − 1`` of a seed's table, all of one block, as ``text`` asks for them: the arguments of
    ``Sampler.ask`` as JSON, empty where nothing is asked."""

    seed: int
    first: int
    rows: int
    text: str

    @property
    def words(self) -> dict[str, Any]:
        words: dict[str, Any] = json.loads(self.text) if self.text else {}
        return words


@dataclass(frozen=True)
class Drawn:
    """The rows of a piece, the seconds that a replica took for them, and ``synth.asking``'s key of what was asked."""

    batch: pa.RecordBatch
    seconds: float
    key: str | None


class Backend(Protocol):
    """Where rows come from, and where they are watched."""

    async def draw(self, version: Version, release: str, piece: Piece) -> Drawn:
        """The rows of a piece from the release with this id. UserError for what cannot be asked of it."""
        ...

    def watch(self, version: Version, piece: Piece, drawn: Drawn) -> None:
        """Show the monitor what was sent; never waits."""
        ...

    def watch_anew(self, version: Version) -> None:
        """Have the monitor begin anew."""
        ...

    async def measure(self) -> None:
        """Bring the desk's metrics up to date with what is known elsewhere."""
        ...

    async def ready(self) -> bool:
        """Whether there is a replica."""
        ...


def pieces(seed: int, first: int, rows: int, text: str) -> list[Piece]:
    """The rows block by block, but for the first few, which are there sooner alone."""
    last, found = first + rows, list[Piece]()
    while first < last:
        count = min((BLOCK if found else SMALL) - first % (BLOCK if found else SMALL), last - first)
        found.append(Piece(seed, first, count, text))
        first += count
    return found


async def drawn(
    backend: Backend, admission: Admission, version: Version, release: str, wanted: list[Piece]
) -> AsyncIterator[tuple[Piece, Drawn]]:
    """The pieces in their order, of which AHEAD are asked for at once.

    Where the reader stops, what is still being computed is given up.
    """
    waiting: deque[tuple[Piece, asyncio.Task[Drawn]]] = deque()
    todo = iter(wanted)

    async def draw(piece: Piece) -> Drawn:
        seconds = None
        admission.begin()
        try:
            found = await backend.draw(version, release, piece)
            seconds = found.seconds
            return found
        finally:
            admission.end(seconds)

    def ask() -> None:
        if (piece := next(todo, None)) is not None:
            waiting.append((piece, asyncio.ensure_future(draw(piece))))

    try:
        for _ in range(AHEAD):
            ask()
        while waiting:
            piece, task = waiting[0]
            found = await task
            waiting.popleft()
            ask()
            yield piece, found
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
