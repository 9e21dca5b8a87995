"""Drawing: POST /v1/generators/{name}/samples, an answer that is streamed as it is computed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from serving import documented, formats
from serving.access import Name, Who, desk_of
from serving.answer import GONE, LATE, Answer, answered
from serving.asked import Samples
from serving.limited import Limited
from serving.problems import Problem

router = APIRouter()


@router.post(
    "/v1/generators/{name}/samples", tags=["samples"], response_class=StreamingResponse, responses=documented.SAMPLES
)
async def samples(request: Request, wanted: Samples, name: Name, who: Who) -> Response:
    """Rows of a release.

    `name` is a generator, a version of it (`adult@3`) or an alias (`adult:production`). The same version, seed and row number
    give the same row, so that an answer that was cut goes on with `first`. Its headers say where it comes from, signed.
    """
    chosen = formats.choose(wanted.format, request.headers.get("accept"))
    desk = desk_of(request)
    async with AsyncExitStack() as stack:
        opened = answered(desk, request.app.state.backend, who, name, wanted, chosen)
        try:
            answer = await _unless_gone(request, stack.enter_async_context(opened), desk.settings.limits.first_s)
        except ClientDisconnect:
            return Response(status_code=GONE)
        return Streamed(answer, stack.pop_all())


async def _unless_gone(request: Request, begun: Coroutine[Any, Any, Answer], most_s: float) -> Answer:
    """The answer that has begun. ClientDisconnect where its caller has gone before, Problem 503 after so many seconds."""
    work, gone, why = asyncio.create_task(begun), asyncio.create_task(_gone(request)), None
    try:
        done, _ = await asyncio.wait({work, gone}, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            return work.result()
        why = None if done else LATE
    finally:
        for task in (work, gone):
            task.cancel(why)
        await asyncio.gather(work, gone, return_exceptions=True)
    if done:
        raise ClientDisconnect
    desk_of(request).metrics.request_shed("late")
    raise Problem(
        503, "No rows yet", f"no sampler has drawn any within {most_s:g} s", "/problems/busy", remedy="come again then",
        headers={"Retry-After": str(math.ceil(most_s))},
    )  # fmt: skip


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Streamed(Limited):
    """An answer on its way out, until it was sent, the caller is gone or its time is up; ``ends`` ends it."""

    def __init__(self, answer: Answer, ends: AsyncExitStack) -> None:
        self.rows, self.ends = answer.stream(), ends
        most_s = answer.desk.settings.limits.answer_s
        super().__init__(self.rows, most_s, media_type=answer.chosen.media_type, headers=answer.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.ends, aclosing(self.rows):
            await super().__call__(scope, receive, send)
