"""Drawing: POST /v1/generators/{name}/samples, an answer that is streamed as it is computed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serving import documented, formats
from serving.access import Name, Who, desk_of
from serving.answer import Answer, answered
from serving.asked import Samples

GONE = 499  # nginx's number for a caller who has gone away

router = APIRouter()


@router.post(
    "/v1/generators/{name}/samples", tags=["samples"], response_class=StreamingResponse, responses=documented.SAMPLES
)
async def samples(request: Request, wanted: Samples, name: Name, who: Who) -> StreamingResponse:
    """Rows of a release.

    `name` is a generator, a version of it (`adult@3`) or an alias (`adult:production`). The same version, seed and row number
    give the same row, so that an answer that was cut goes on with `first`. Its headers say where it comes from, signed.
    """
    chosen = formats.choose(wanted.format, request.headers.get("accept"))
    async with AsyncExitStack() as stack:
        opened = answered(desk_of(request), request.app.state.backend, who, name, wanted, chosen)
        return Streamed(await stack.enter_async_context(opened), stack.pop_all())


class Streamed(StreamingResponse):
    """An answer on its way out, until it was sent, the caller is gone or its time is up; ``ends`` ends it. One that ends early
    is cut, and looks to no caller like a whole one."""

    def __init__(self, answer: Answer, ends: AsyncExitStack) -> None:
        self.rows, self.ends, self.most_s = answer.stream(), ends, answer.desk.settings.limits.answer_s
        super().__init__(self.rows, media_type=answer.chosen.media_type, headers=answer.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.ends, aclosing(self.rows), asyncio.timeout(self.most_s):
            await super().__call__(scope, receive, send)
