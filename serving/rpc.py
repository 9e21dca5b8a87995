"""The same rows over gRPC: an Arrow stream in parts that wait for their reader (``sampling.proto``).

It stands beside the HTTP server in the front, over the same desk, and not behind Serve's own proxy, for the same reason.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc
from fastapi.exceptions import RequestValidationError
from grpc import aio
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from serving import refusals
from serving import sampling_pb2 as messages
from serving.access import NAMED, Caller, identified
from serving.answer import answered
from serving.asked import Asked, Samples
from serving.catalogue import UnknownError
from serving.desk import Desk
from serving.formats import FORMATS
from serving.problems import MOST_ECHO, Problem, cut, problem
from serving.stream import Backend

PART = 1 << 20  # bytes; gRPC's clients take messages of four times as many where nothing else is said
IDLE_S = 300  # after which a connection without a call is closed
MOST_PROBLEM = 4 << 10  # bytes of metadata, of which clients take twice as many
ORIGIN = "artesian-"  # of the headers, those that say where rows come from
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED, 404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED, 429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL, 503: grpc.StatusCode.UNAVAILABLE,
}  # fmt: skip


class Rpc:
    """A gRPC server over one desk and one place where rows come from."""

    def __init__(self, desk: Desk, backend: Backend) -> None:
        self.desk, self.backend = desk, backend
        limits = desk.settings.limits
        options = [
            ("grpc.max_receive_message_length", limits.body_kib << 10), ("grpc.max_connection_idle_ms", IDLE_S * 1_000),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, and not shared
        ]  # fmt: skip
        self.server = aio.server(maximum_concurrent_rpcs=limits.connections, options=options)
        service = messages.DESCRIPTOR.services_by_name["Sampling"]
        # Over the wire a unary request is a stream of one message; so it can be waited for no longer than an HTTP body.
        draw = grpc.stream_stream_rpc_method_handler(
            self._draw,
            request_deserializer=messages.DrawRequest.FromString,
            response_serializer=messages.Part.SerializeToString,
        )
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.full_name, {"Draw": draw})])

    async def start(self) -> None:
        """Listen. RuntimeError where that cannot be."""
        settings = self.desk.settings
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{shown}:{settings.grpc_port}"
        if settings.certificate is None or settings.certificate_key is None:
            self.server.add_insecure_port(address)
        else:
            pair = Path(settings.certificate_key).read_bytes(), Path(settings.certificate).read_bytes()
            self.server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        await self.server.start()

    async def stop(self, drain_s: float) -> None:
        """Let in nobody else, and end what is under way, or cut it after so many seconds."""
        await self.server.stop(drain_s)

    async def _draw(self, _: Any, context: aio.ServicerContext) -> None:
        limits, called = self.desk.settings.limits, "Draw"
        try:
            given = [str(value) for name, value in context.invocation_metadata() or () if name == "authorization"]
            who = identified(self.desk, given)
            async with asyncio.timeout(limits.body_s):
                request = await context.read()
            if request is aio.EOF:
                raise Problem(
                    422, "Nothing was asked", "no message came", "/problems/invalid-request", remedy="send one"
                )
            called = f"Draw {cut(request.generator, MOST_ECHO)!r}"
            async with asyncio.timeout(limits.answer_s):
                await self._answer(who, request, context)
            return
        except ClientDisconnect:
            return
        except TimeoutError:
            found = Problem(
                408, "It took too long", f"a message has {limits.body_s:g} s, an answer {limits.answer_s:g} s",
                "/problems/too-slow", remedy="send it at once; ask for fewer rows, and for the others by first",
            )  # fmt: skip
        except refusals.ALL as e:
            found = refusals.problem_of(e)
        except Exception as e:  # noqa: BLE001 - gRPC would tell the caller what it says
            found = problem(e, called)
        code = CODES.get(found.status, grpc.StatusCode.INVALID_ARGUMENT)
        if len(found.response().body) > MOST_PROBLEM:  # a list of errors
            found.more = {}
        more = [(name.lower(), text) for name, text in found.headers.items() if name == "Retry-After"]
        await context.abort(code, cut(str(found)), (("problem-bin", found.response().body), *more))

    async def _answer(self, who: Caller, request: Any, context: aio.ServicerContext) -> None:
        if not re.fullmatch(NAMED[1:-1], request.generator):
            raise UnknownError(f"{cut(request.generator, MOST_ECHO)!r} names no generator")
        wanted, chosen = _wanted(request), FORMATS["arrow"]
        async with answered(self.desk, self.backend, who, request.generator, wanted, chosen) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            await context.send_initial_metadata([(n, v) for n, v in headers.items() if n.startswith(ORIGIN)])
            async for chunk in answer.stream():
                for start in range(0, len(chunk), PART):
                    try:
                        await context.write(messages.Part(arrow=chunk[start : start + PART]))
                    except aio.InternalError as e:  # which is all that is said
                        raise ClientDisconnect from e


def _wanted(request: Any) -> Samples:
    """What the message asks for. Problem or RequestValidationError, as over HTTP, where it is not valid."""
    told: dict[str, Any] = {"n": request.n, "first": request.first}
    told |= {"seed": request.seed} if request.HasField("seed") else {}
    try:
        asked = from_json(request.asked) if request.asked else {}
    except ValueError as e:
        raise Problem(
            422,
            "The request is not valid",
            f"asked: is not JSON: {e}",
            "/problems/invalid-request",
            "/asked",
            "send an object",
        ) from e
    try:
        return Samples.model_validate(told | Asked.model_validate(asked).words)
    except ValidationError as e:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in e.errors()]
        raise RequestValidationError(errors, body=told | asked if isinstance(asked, dict) else told) from e
