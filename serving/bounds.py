"""Bounds on what comes in: a request's body is read whole before anything looks at it, up to a size and within a time."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import Problem
from serving.settings import Limits


class Bounds:
    """Middleware that hands on a request when its whole body is there, and answers for it where that is not to be."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._body(scope, receive), self.limits.body_s)
        except TimeoutError:
            refusal = Problem(
                408, "The body did not come", f"it was waited for {self.limits.body_s:g} s", "/problems/too-slow",
                remedy="send it at once", headers={"Connection": "close"},
            )  # fmt: skip
            await refusal.response()(scope, receive, send)
            return
        except Problem as refusal:
            await refusal.response()(scope, receive, send)
            return
        if body is not None:
            await self.app(scope, _replayed(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of it; None where the caller has gone. Problem 413 where it is, or says that it is, too large; 400 where it says
        in two ways where it ends, of which a proxy may have taken the other (RFC 9112, 6.3)."""
        most, headers = self.limits.body_kib << 10, dict(scope["headers"])
        if {b"content-length", b"transfer-encoding"} <= headers.keys():
            raise Problem(
                400, "Where does the body end?", "both Content-Length and Transfer-Encoding came with the request",
                "/problems/two-lengths", remedy="send one of them", headers={"Connection": "close"},
            )  # fmt: skip
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and int(told[:20]) > most:
            raise self._too_large()
        parts, size = list[bytes](), 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> Problem:
        return Problem(
            413, "Too large a request", f"a body has at most {self.limits.body_kib:,} KiB", "/problems/too-large",
            remedy="ask for less at once", headers={"Connection": "close"},
        )  # fmt: skip


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one message, and then whatever the server has to say: that the caller is gone."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
