"""Answers that take no longer than they may."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Limited(StreamingResponse):
    """A streamed answer that is cut after ``most_s`` seconds, and then looks to no caller like a whole one: who reads it too
    slowly keeps a connection for so long, and no longer."""

    def __init__(self, content: Any, most_s: float, **rest: Any) -> None:
        self.most_s = most_s
        super().__init__(content, **rest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.timeout(self.most_s):
            await super().__call__(scope, receive, send)
