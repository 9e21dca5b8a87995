"""Rows on their way to a caller, whatever way it came: let in, drawn, watched, signed and written down."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from serving import formats, refusals
from serving.access import Caller
from serving.asked import CHOSEN, Samples
from serving.desk import Desk
from serving.grant import Grant
from serving.problems import Problem
from serving.settings import Limits
from serving.stream import Backend, drawn, pieces
from synth.data.image_sink import encoded
from synth.errors import ReleaseError, UserError
from synth.provenance.origin import Origin

GONE = 499  # nginx's number for a caller who has gone away
LATE = "no rows in time"  # why an answer was given up, where its caller did not


@asynccontextmanager
async def answered(
    desk: Desk, backend: Backend, who: Caller, name: str, wanted: Samples, chosen: formats.Format
) -> AsyncGenerator[Answer]:
    """An answer that has begun, so that what cannot be asked is a problem, and no broken stream. Problem, UserError or a
    refusal of the desk's where there is none."""
    seed = secrets.randbelow(CHOSEN) if wanted.seed is None else wanted.seed
    try:
        who.must(name)
        _bounded(wanted, desk.settings.limits)
        told = {"asked": wanted.words, "format": chosen.name}
        grant = desk.grant(who.key, name, seed, wanted.first, wanted.n, told)
    except (Problem, *refusals.ALL) as e:
        desk.refused(name, seed, (e if isinstance(e, Problem) else refusals.problem_of(e)).status)
        raise
    async with Answer(desk, backend, grant, wanted, chosen) as answer:
        await answer.begin()
        yield answer


def _bounded(wanted: Samples, limits: Limits) -> None:
    """Problem for more than one answer may have."""
    if wanted.n > limits.rows:
        jobs = f"have a job draw them, at most {limits.job_rows:,}: POST /v1/jobs"
        raise Problem(
            413, "More rows than one answer has", f"n={wanted.n:,}: an answer has at most {limits.rows:,} rows",
            "/problems/too-many-rows", "/n", jobs if wanted.n <= limits.job_rows else f"ask for fewer, or {jobs}",
        )  # fmt: skip
    wanted.check(limits)


class Answer:
    """Rows on their way to a caller: ``begin`` has the first of them, ``stream`` sends all. As a context, it is over when the
    block is, however that ends: nothing more is drawn, what was not sent is given back, and what was is written down."""

    def __init__(self, desk: Desk, backend: Backend, grant: Grant, wanted: Samples, chosen: formats.Format) -> None:
        self.desk, self.backend, self.grant, self.wanted, self.chosen = desk, backend, grant, wanted, chosen
        shelf, text = grant.shelf, wanted.text
        whole = bool(text) or not shelf.joins
        todo = pieces(grant.seed, grant.first, grant.rows, text, whole=whole)
        alone = whole or not shelf.at_once
        self.source = drawn(backend, desk.admission, shelf.version, shelf.manifest.id, todo, alone=alone)
        self.begun = self.sent = False

    async def __aenter__(self) -> Answer:
        return self

    async def begin(self) -> None:
        self.piece, self.drawn = await anext(self.source)
        self.grant.shelf.at_once = self.drawn.at_once
        self.batch = await self._files()
        grant, key = self.grant, self.desk.signing_key
        mark = self.desk.marks.get(grant.shelf.manifest.id)
        origin = Origin.of(
            grant.shelf.manifest, version=str(grant.shelf.version), seed=grant.seed, first=grant.first, rows=grant.rows,
            key=self.drawn.key, asked=self.wanted.words, at=self.desk.time(), public_key=key.public_key().public_bytes_raw(),
            mark=mark,
        )  # fmt: skip
        signature = origin.sign(key)
        self.encoder = formats.Encoder(self.chosen, self.batch.schema, origin.metadata(signature))
        name = f"{grant.shelf.version.name}-{grant.seed}.{self.chosen.name}"
        self.headers = origin.headers(signature) | {
            "Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store",
        }  # fmt: skip

    async def stream(self) -> AsyncGenerator[bytes]:
        self.begun, written = True, 0
        yield self.encoder.begin()
        while True:
            chunk = self.encoder.write(self.batch)
            written += self.piece.rows
            self.desk.sampled(self.grant, self.piece.rows, self.drawn.seconds)
            self.backend.watch(self.grant.shelf.version, self.piece, self.drawn)
            # Counted before they leave: who hangs up on the last byte of them has had them.
            self.desk.sent(self.grant, written - self.encoder.waiting - self.grant.sent)
            if chunk:
                yield chunk
            try:
                self.piece, self.drawn = await anext(self.source)
            except StopAsyncIteration:
                break
            self.batch = await self._files()
        self.desk.sent(self.grant, written - self.grant.sent)
        yield self.encoder.end()
        self.sent = True

    async def _files(self) -> pa.RecordBatch:
        """The rows with images as files, which takes long enough to have others served meanwhile."""
        schema = self.grant.shelf.schema
        if schema.image is None:
            return self.drawn.batch
        return await run_in_threadpool(lambda: next(encoded([self.drawn.batch], schema, self.piece.first)))

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self.source.aclose()
        finally:  # a server may cancel more than once
            self.desk.done(self.grant, self._code(error))

    def _code(self, error: BaseException | None) -> int:
        match error:
            case None:
                return 200 if self.sent else GONE
            case asyncio.CancelledError(args=(why,)) if why == LATE:
                return 503
            case asyncio.CancelledError() | ClientDisconnect():
                return GONE
            case TimeoutError():
                return 408
            case Problem() if not self.begun:
                return error.status
            case UserError() if not self.begun and not isinstance(error, ReleaseError):
                return 422
        return 500
