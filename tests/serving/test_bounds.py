"""What comes in is bounded before anything looks at it: a body's size, the time that it takes, and where it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from serving.bounds import Bounds
from serving.settings import Limits
from tests.serving.service import Caller


class Echo:
    """An application that notes what it was asked, and answers with the size of the body."""

    def __init__(self) -> None:
        self.bodies = list[bytes]()
        self.after = list[Any]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert message["more_body"] is False
        self.bodies.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % len(message["body"])})
        self.after.append((await receive())["type"])


def run(test: Callable[[Echo, Callable[..., Caller]], Awaitable[None]]) -> None:
    async def main() -> None:
        echo = Echo()
        bounds = Bounds(echo, Limits(body_kib=1, body_s=0.1))
        await test(echo, lambda **more: Caller(bounds, "/", **more))

    asyncio.run(main())


def problem(caller: Caller) -> tuple[int | None, str]:
    assert caller.headers["content-type"] == "application/problem+json" and caller.headers["connection"] == "close"
    told = json.loads(caller.content)
    assert told["remedy"] and told["status"] == caller.status
    return caller.status, told["type"]


def test_a_body_comes_whole_whatever_its_parts_and_then_the_caller_s_end() -> None:
    async def test(echo: Echo, call: Callable[..., Caller]) -> None:
        caller = call()
        for part in (b"a", b"", b"b" * 1_000):
            caller.part(part, more=True)
        caller.part(b"c" * 23, more=False)
        caller.hang_up()
        await caller.task
        assert echo.bodies == [b"a" + b"b" * 1_000 + b"c" * 23] and caller.content == b"1024"
        assert echo.after == ["http.disconnect"]

    run(test)


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    async def test(echo: Echo, call: Callable[..., Caller]) -> None:
        for length in (b"1025", b"99999999999999999999999999999999999999999", b"1" + b"0" * 5_000):
            caller = call(headers=[(b"content-length", length)])
            await caller.task
            assert problem(caller) == (413, "/problems/too-large")
        assert echo.bodies == []

    run(test)


@pytest.mark.parametrize("parts", [[b"x" * 1_025], [b"x" * 1_024, b"x"], [b"x"] * 1_025])
def test_a_body_that_turns_out_too_large_is_read_no_further(parts: list[bytes]) -> None:
    async def test(echo: Echo, call: Callable[..., Caller]) -> None:
        caller = call()
        for part in [*parts, b"never read"]:
            caller.part(part, more=True)
        await caller.task
        assert problem(caller) == (413, "/problems/too-large") and echo.bodies == []
        assert caller.incoming.qsize() == 1

    run(test)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def test(echo: Echo, call: Callable[..., Caller]) -> None:
        caller = call()
        for _ in range(3):  # drop by drop
            caller.part(b"x", more=True)
            await asyncio.sleep(0.02)
        await asyncio.wait_for(caller.task, 2)
        assert problem(caller) == (408, "/problems/too-slow") and echo.bodies == []

    run(test)


def test_a_caller_who_hangs_up_in_his_body_is_let_go() -> None:
    async def test(echo: Echo, call: Callable[..., Caller]) -> None:
        caller = call()
        caller.part(b"x", more=True)
        caller.hang_up()
        await caller.task
        assert caller.messages == [] and echo.bodies == []

    run(test)


def test_a_body_that_ends_in_two_ways_is_refused() -> None:
    async def test(echo: Echo, call: Callable[..., Caller]) -> None:
        caller = call(body={}, headers=[(b"content-length", b"2"), (b"transfer-encoding", b"chunked")])
        await caller.task
        assert problem(caller) == (400, "/problems/two-lengths") and echo.bodies == []

    run(test)


def test_what_is_no_request_passes() -> None:
    async def main() -> None:
        seen = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["type"])

        await Bounds(app, Limits())({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
        assert seen == ["lifespan"]

    asyncio.run(main())
