"""Drawing: POST /v1/generators/{name}/samples, an answer that is streamed as it is computed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from serving import formats
from serving.access import Name, Who, desk_of
from serving.asked import SEEDS, Samples
from serving.desk import Desk, Grant
from serving.origin import Origin
from serving.problems import Problem
from serving.stream import Backend, Drawn, Piece, drawn, pieces

router = APIRouter()


@router.post("/v1/generators/{name}/samples", tags=["samples"], response_class=StreamingResponse)
async def samples(request: Request, wanted: Samples, name: Name, who: Who) -> StreamingResponse:
    """Rows of a release.

    `name` is a generator, a version of it (`adult@3`) or an alias (`adult:production`). The same version, seed and row number
    give the same row, so that an answer that was cut goes on with `first`. Its headers say where it comes from, signed.
    """
    desk, backend = desk_of(request), request.app.state.backend
    who.must(name)
    limits = desk.settings.limits
    if wanted.n > limits.rows:
        raise Problem(
            413, "More rows than one answer has", f"n={wanted.n:,}: an answer has at most {limits.rows:,} rows",
            "/problems/too-many-rows", "/n", "have a job draw them: POST /v1/jobs",
        )  # fmt: skip
    if wanted.clauses > limits.clauses:
        raise Problem(
            422, "More clauses than a request has", f"{wanted.clauses} clauses: at most {limits.clauses} are understood",
            "/problems/too-many-clauses", "/where", "ask for less at once",
        )  # fmt: skip
    chosen = formats.choose(wanted.format, request.headers.get("accept"))
    seed = secrets.randbelow(SEEDS) if wanted.seed is None else wanted.seed
    grant = desk.grant(who.key, name, seed, wanted.first, wanted.n)
    answer = Answer(desk, backend, grant, wanted, chosen)
    try:
        await answer.begin()  # so that what cannot be asked is a problem, and no broken stream
    except BaseException:
        answer.close(499)
        raise
    return StreamingResponse(answer.stream(), media_type=chosen.media_type, headers=answer.headers)


class Answer:
    """Rows on their way to a caller; ``begin`` has the first of them."""

    def __init__(self, desk: Desk, backend: Backend, grant: Grant, wanted: Samples, chosen: formats.Format) -> None:
        self.desk, self.backend, self.grant, self.wanted, self.chosen = desk, backend, grant, wanted, chosen
        shelf = grant.shelf
        todo = pieces(grant.seed, grant.first, grant.rows, wanted.text)
        self.source = drawn(backend, desk.admission, shelf.version, shelf.manifest.id, todo)
        self.closed = False

    async def begin(self) -> None:
        self.first = await anext(self.source)
        grant, key = self.grant, self.desk.signing_key
        origin = Origin.of(
            grant.shelf.manifest, version=str(grant.shelf.version), seed=grant.seed, first=grant.first, rows=grant.rows,
            key=self.first[1].key, asked=self.wanted.words, at=self.desk.time(), public_key=key.public_key().public_bytes_raw(),
        )  # fmt: skip
        signature = origin.sign(key)
        self.encoder = formats.Encoder(self.chosen, self.first[1].batch.schema, origin.metadata(signature))
        name = f"{grant.shelf.version.name}-{grant.seed}.{self.chosen.name}"
        self.headers = origin.headers(signature) | {
            "Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store",
        }  # fmt: skip

    async def stream(self) -> AsyncIterator[bytes]:
        code = 499  # nginx's number for a caller who has gone away
        try:
            async with asyncio.timeout(self.desk.settings.limits.answer_s):
                yield self.encoder.begin()
                async for chunk in self._chunks():
                    yield chunk
                yield self.encoder.end()
            code = 200
        except TimeoutError:
            code = 408
            raise
        finally:
            await self.source.aclose()  # type: ignore[attr-defined]
            self.close(code)

    async def _chunks(self) -> AsyncIterator[bytes]:
        piece, found = self.first
        while True:
            if chunk := self.encoder.write(found.batch):
                yield chunk
            self._sent(piece, found)
            try:
                piece, found = await anext(self.source)
            except StopAsyncIteration:
                return

    def _sent(self, piece: Piece, found: Drawn) -> None:
        self.desk.sent(self.grant, piece.rows, found.seconds)
        self.backend.watch(self.grant.shelf.version, piece, found)

    def close(self, code: int) -> None:
        """Once: the answer is over, and what was asked is written down."""
        if not self.closed:
            self.closed = True
            asked: dict[str, Any] = {"asked": self.wanted.words, "format": self.chosen.name}
            self.desk.done(self.grant, code, asked)
