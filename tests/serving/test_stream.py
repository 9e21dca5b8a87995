"""An answer's pieces cover its rows once, are drawn a little ahead and no further, and are given up with their reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.admission import Admission
from serving.catalogue import Version
from serving.stream import AHEAD, Drawn, Piece, drawn, pieces
from synth.errors import UserError
from synth.sampling import BLOCK, SMALL

VERSION = Version("people", 1, "place")


@given(st.integers(0, 2**63 - 1), st.integers(1, 20_000), st.sampled_from(["", '{"where":"a=1"}']), st.booleans())
def test_pieces_cover_the_rows_in_their_order_and_none_crosses_a_block(
    first: int, rows: int, text: str, whole: bool
) -> None:
    at, found = first, list(pieces(3, first, rows, text, whole=whole))
    for number, piece in enumerate(found):
        assert (piece.seed, piece.text, piece.first) == (3, text, at) and piece.rows > 0
        assert piece.first // BLOCK == (piece.first + piece.rows - 1) // BLOCK
        assert number or whole or piece.first // SMALL == (piece.first + piece.rows - 1) // SMALL
        assert list(piece.blocks) == sorted(
            {row // SMALL for row in (piece.first, piece.first + piece.rows - 1)} | {*piece.blocks}
        )
        at += piece.rows
    assert at == first + rows
    assert len(found) <= rows // BLOCK + 3


def test_the_first_rows_come_alone_where_that_is_faster() -> None:
    assert [p.rows for p in pieces(0, 0, 3 * BLOCK, "", whole=False)] == [SMALL, BLOCK - SMALL, BLOCK, BLOCK]
    assert [p.rows for p in pieces(0, 0, 3 * BLOCK, "", whole=True)] == [BLOCK] * 3
    assert [p.rows for p in pieces(0, SMALL - 1, 2, "", whole=False)] == [1, 1]
    assert [p.rows for p in pieces(0, BLOCK - 5, 20, "", whole=True)] == [5, 15]


class Slow:
    """A backend that draws when it is told to; ``asked`` has the first rows of what was asked for."""

    def __init__(self, fails: int | None = None) -> None:
        self.asked, self.given_up, self.fails = list[int](), list[int](), fails
        self.go = asyncio.Semaphore(0)

    async def draw(self, version: Version, release: str, piece: Piece) -> Drawn:
        assert (version, release) == (VERSION, "id")
        self.asked.append(piece.first)
        try:
            await self.go.acquire()
        except asyncio.CancelledError:
            self.given_up.append(piece.first)
            raise
        if piece.first == self.fails:
            raise UserError("no such rows")
        return Drawn(pa.record_batch({"row": range(piece.first, piece.first + piece.rows)}), 0.5, None)

    watch = watch_anew = ready = None


def reader(backend: Slow, admission: Admission, blocks: int = 5) -> AsyncIterator[tuple[Piece, Drawn]]:
    wanted = [Piece(0, k * BLOCK, BLOCK, "") for k in range(blocks)]
    return drawn(backend, admission, VERSION, "id", wanted, alone=True)  # type: ignore[arg-type]


def test_as_much_is_drawn_ahead_of_a_reader_as_he_takes() -> None:
    async def main() -> None:
        backend, admission = Slow(), Admission()
        rows = reader(backend, admission)
        for _ in range(100):
            backend.go.release()
        for taken in range(5):
            piece, found = await anext(rows)
            assert piece.first == taken * BLOCK and found.batch["row"][0].as_py() == piece.first
            await asyncio.sleep(0.01)
            assert len(backend.asked) == min(taken + 1 + AHEAD, 5)
            assert admission.turns == 0  # who reads slowly waits for nothing
        with pytest.raises(StopAsyncIteration):
            await anext(rows)
        assert backend.given_up == [] and admission.turn_s == 0.5

    asyncio.run(main())


def test_what_is_waited_for_counts_from_the_start_and_what_is_ahead_does_not() -> None:
    async def main() -> None:
        backend, admission = Slow(), Admission()
        readers = [asyncio.ensure_future(anext(reader(backend, admission))) for _ in range(3)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert admission.turns == 3
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        assert admission.turns == 0 and sorted(backend.given_up) == sorted(backend.asked) != []

    asyncio.run(main())


def test_where_the_reader_stops_what_is_under_way_is_given_up() -> None:
    async def main() -> None:
        backend, admission = Slow(), Admission()
        backend.go.release()
        async with aclosing(reader(backend, admission)) as rows:  # type: ignore[type-var]
            await anext(rows)
            await asyncio.sleep(0.01)
        assert backend.given_up == [BLOCK, 2 * BLOCK] and admission.turns == 0

    asyncio.run(main())


@pytest.mark.parametrize("fails", [0, 1, 3])
def test_an_error_comes_in_its_place_and_ends_the_rest(fails: int) -> None:
    async def main() -> None:
        backend, admission = Slow(fails * BLOCK), Admission()
        for _ in range(fails + 1):
            backend.go.release()
        taken = 0
        with pytest.raises(UserError, match="no such rows"):
            async for _ in reader(backend, admission):
                taken += 1
        assert taken == fails and admission.turns == 0
        assert backend.given_up == backend.asked[fails + 1 :]

    asyncio.run(main())


def test_an_answer_that_nobody_began_to_read_costs_nothing() -> None:
    async def main() -> None:
        backend, admission = Slow(), Admission()
        await reader(backend, admission).aclose()  # type: ignore[attr-defined]
        assert backend.asked == [] and admission.turns == 0

    asyncio.run(main())
