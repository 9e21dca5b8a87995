"""An answer on its way: blocks are computed a little ahead of what has been sent, and no further."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from serving.admission import Admission
from serving.catalogue import Version
from synth.sampling import BLOCK, SMALL, TOGETHER

AHEAD = 2  # blocks that are computed or wait to be sent; one more than is being sent keeps a replica at work


def text_of(words: Mapping[str, Any]) -> str:
    """Arguments of ``Sampler.ask`` as canonical JSON; empty where nothing is asked."""
    return json.dumps(words, sort_keys=True, separators=(",", ":")) if words else ""


@dataclass(frozen=True)
class Piece:
    """Rows ``first`` … ``first + rows − 1`` of a seed's table, all of one block, as ``text`` asks for them (see
    ``text_of``)."""

    seed: int
    first: int
    rows: int
    text: str

    @property
    def words(self) -> dict[str, Any]:
        words: dict[str, Any] = json.loads(self.text) if self.text else {}
        return words

    @property
    def blocks(self) -> range:
        """The small blocks that hold its rows, by number."""
        return range(self.first // SMALL, -(-(self.first + self.rows) // SMALL))


@dataclass(frozen=True)
class Drawn:
    """The rows of a piece, the seconds that a replica took for them, ``synth.asking``'s key of what was asked, and whether the
    device draws several small pieces in the time of one, as GPUs do."""

    batch: pa.RecordBatch
    seconds: float
    key: str | None
    at_once: bool = False


class Backend(Protocol):
    """Where rows come from, and where they are watched."""

    async def draw(self, version: Version, release: str, piece: Piece) -> Drawn:
        """The rows of a piece from the release with this id. UserError for what cannot be asked of it."""
        ...

    def watch(self, version: Version, piece: Piece, drawn: Drawn) -> None:
        """Show the monitor what was sent; never waits, and may be called from any thread."""
        ...

    def watch_anew(self, version: Version) -> None:
        """Have the monitor begin anew."""
        ...

    async def ready(self) -> bool:
        """Whether there is a replica."""
        ...


def pieces(seed: int, first: int, rows: int, text: str, *, whole: bool) -> Iterator[Piece]:
    """The rows block by block, but for the first few, which are there sooner alone; unless blocks are computed ``whole``,
    whatever is wanted of them, as they are where something is asked and by generators that do not join."""
    last, size = first + rows, BLOCK if whole else SMALL
    while first < last:
        count = min(size - first % size, last - first)
        yield Piece(seed, first, count, text)
        first, size = first + count, BLOCK


async def drawn(
    backend: Backend, admission: Admission, version: Version, release: str, wanted: Iterable[Piece], *, alone: bool
) -> AsyncGenerator[tuple[Piece, Drawn]]:
    """The pieces in their order, of which AHEAD are asked for at once; each takes a turn of a replica ``alone``, or small ones
    are drawn in the time of one.

    Where the reader stops, what is still being computed is given up.
    """
    waiting: deque[tuple[Piece, asyncio.Task[Drawn]]] = deque()
    todo = iter(wanted)

    def ask() -> None:
        if (piece := next(todo, None)) is not None:
            waiting.append((piece, asyncio.create_task(backend.draw(version, release, piece))))

    try:
        for _ in range(AHEAD):
            ask()
        turns = min(1.0, sum(_turns(piece, alone) for piece, _ in waiting))
        while waiting:
            piece, task = waiting[0]
            # What is waited for counts, from the moment on that it was asked for, so that callers who come at once are
            # counted, each of them; what is drawn ahead keeps nobody out.
            with admission.waiting(turns):
                found = await task
            admission.took(found.seconds, _turns(piece, alone))
            waiting.popleft()
            ask()
            yield piece, found
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


def _turns(piece: Piece, alone: bool) -> float:
    """What a piece takes of a replica's turn."""
    return 1.0 if alone else len(piece.blocks) / TOGETHER
