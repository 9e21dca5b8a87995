"""gRPC gives the rows that HTTP gives, to who may have them, no faster than they are read."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from grpc import aio

from serving import sampling_pb2 as messages
from serving.rpc import PART, Rpc
from synth.provenance.origin import Origin
from synth.sampling import BLOCK, Sampler
from tests.serving.service import Service, key
from tests.serving.test_launch import pem

Serve = Callable[..., Service]
Draw = Callable[..., Any]
PATH = "/artesian.v1.Sampling/Draw"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run(
    serve: Serve, test: Callable[[Service, Draw], Awaitable[None]], ca: str | None = None, **settings: Any
) -> Service:
    """A test with a service and a caller of it."""
    service = serve(grpc_port=free_port(), **settings)

    async def main() -> None:
        rpc = Rpc(service.desk, service.backend)
        await rpc.start()
        address = f"localhost:{service.desk.settings.grpc_port}"
        if ca is None:
            channel = aio.insecure_channel(address)
        else:
            channel = aio.secure_channel(
                address, grpc.ssl_channel_credentials(Path(ca).read_bytes()), [("grpc.ssl_target_name_override", "x")]
            )
        draw = channel.unary_stream(
            PATH,
            request_serializer=messages.DrawRequest.SerializeToString,
            response_deserializer=messages.Part.FromString,
        )

        def ask(*keys: str, **asked: Any) -> Any:
            request = messages.DrawRequest(**{"generator": "people", "n": 10} | asked)
            return draw(request, metadata=[("authorization", f"Bearer {token}") for token in keys])

        try:
            await test(service, ask)
        finally:
            await channel.close()
            await rpc.stop(5)

    asyncio.run(main())
    return service


async def rows(call: Any) -> pa.Table:
    content = b"".join([part.arrow async for part in call])
    return pa.ipc.open_stream(io.BytesIO(content)).read_all()


async def refused(call: Any) -> tuple[grpc.StatusCode, dict[str, Any]]:
    with pytest.raises(aio.AioRpcError) as found:
        await rows(call)
    problem = dict(found.value.trailing_metadata() or ())
    told: dict[str, Any] = json.loads(problem["problem-bin"])
    assert told["detail"][:50] in (found.value.details() or "")
    return found.value.code(), told


@pytest.mark.parametrize("asked", [{}, {"where": "age>=40"}, {"balance": "member"}], ids=str)
def test_the_rows_are_the_sampler_s_own_and_say_where_they_come_from(
    serve: Serve, sampler: Sampler, asked: dict[str, Any]
) -> None:
    async def test(service: Service, draw: Draw) -> None:
        call = draw(n=BLOCK + 300, seed=5, first=50, asked=json.dumps(asked) if asked else "")
        headers = dict(await call.initial_metadata())
        found = await rows(call)
        request = sampler.ask(**asked) if asked else None
        expected = pa.Table.from_batches(sampler.batches(BLOCK + 300, seed=5, first=50, request=request))
        assert found.replace_schema_metadata().equals(expected.replace_schema_metadata())
        origin, signed = Origin.read({name.title(): value for name, value in headers.items()})
        assert (origin.seed, origin.first, origin.rows, origin.version) == (5, 50, BLOCK + 300, "people@1") and signed

    service = run(serve, test)
    [line] = service.audit
    assert (line["sent"], line["code"], line["asked"]) == (BLOCK + 300, 200, asked)
    assert service.idle and sum(rows for _, _, rows in service.backend.watched) == BLOCK + 300


@pytest.mark.parametrize(
    ("asked", "code", "type", "field"),
    [
        ({"n": 0}, "INVALID_ARGUMENT", "invalid-request", "/n"),
        ({"n": 10**12}, "INVALID_ARGUMENT", "too-many-rows", "/n"),
        ({"seed": 2**63}, "INVALID_ARGUMENT", "invalid-request", "/seed"),
        ({"asked": "{"}, "INVALID_ARGUMENT", "invalid-request", "/asked"),
        ({"asked": "[" * 10_000}, "INVALID_ARGUMENT", "invalid-request", "/asked"),
        ({"asked": '{"n": 5}'}, "INVALID_ARGUMENT", "invalid-request", "/n"),
        ({"asked": '{"where": "agee>3"}'}, "INVALID_ARGUMENT", "impossible", "/where"),
        ({"asked": '{"where": "age>900"}'}, "INVALID_ARGUMENT", "impossible", "/where"),
        ({"generator": "nobody"}, "NOT_FOUND", "unknown-generator", None),
        ({"generator": "people@9"}, "NOT_FOUND", "unknown-generator", None),
        ({"generator": "../people"}, "NOT_FOUND", "unknown-generator", None),
        ({"generator": "people\n"}, "NOT_FOUND", "unknown-generator", None),
        ({"generator": ""}, "NOT_FOUND", "unknown-generator", None),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_the_problem_that_it_is_over_http(
    serve: Serve, asked: dict[str, Any], code: str, type: str, field: str | None
) -> None:
    async def test(service: Service, draw: Draw) -> None:
        found, problem = await refused(draw(**asked))
        assert (found.name, problem["type"], problem.get("field")) == (code, f"/problems/{type}", field), problem

    assert run(serve, test).idle


def test_who_has_no_key_or_another_s_gets_nothing(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    ana, bob = key(file, "Ana", ["people"]), key(file, "Bob", ["others"], rows_per_day=50)

    async def test(service: Service, draw: Draw) -> None:
        for keys in ((), ("art_" + "a" * 12 + "_" + "A" * 43,), (ana, bob)):
            assert (await refused(draw(*keys)))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert (await refused(draw(bob)))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert (await rows(draw(ana))).num_rows == 10
        assert (await rows(draw(bob, generator="others", n=50))).num_rows == 50
        code, problem = await refused(draw(bob, generator="others"))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and problem["type"] == "/problems/quota"

    assert run(serve, test, keys=str(file)).idle


def test_what_fails_inside_is_told_to_nobody(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service, draw: Draw) -> None:
        async def fail(*_: Any) -> Any:
            raise ZeroDivisionError("the secret")

        service.backend.draw = fail  # type: ignore[method-assign]
        code, problem = await refused(draw())
        assert code is grpc.StatusCode.INTERNAL and "secret" not in json.dumps(problem)
        assert "the secret" in caplog.text and problem["instance"].removeprefix("urn:uuid:") in caplog.text

    assert run(serve, test).audit[0]["code"] == 500


def test_a_reader_that_does_not_read_makes_the_sampler_wait_and_one_that_goes_ends_it(serve: Serve) -> None:
    async def test(service: Service, draw: Draw) -> None:
        call = draw(n=400 * BLOCK, seed=1)
        await call.initial_metadata()
        before = -1
        while service.backend.drawn != before:  # until it is not drawn on
            before = service.backend.drawn
            await asyncio.sleep(1.0)
        assert before < 200 * BLOCK
        call.cancel()
        for _ in range(100):
            if service.audit:
                break
            await asyncio.sleep(0.05)
        assert service.audit[0]["code"] == 499 and service.idle
        assert service.backend.drawn <= before + 2 * BLOCK

    run(serve, test)


def test_an_answer_has_its_time(serve: Serve) -> None:
    async def test(service: Service, draw: Draw) -> None:
        service.backend.slow = 30.0
        code, _ = await refused(draw())
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED

    service = run(serve, test, limits={"answer_s": 0.3})
    assert service.idle


def test_a_message_has_its_size(serve: Serve) -> None:
    async def test(service: Service, draw: Draw) -> None:
        with pytest.raises(aio.AioRpcError) as found:
            await rows(draw(asked='{"where": "' + "a" * (80 << 10) + '"}'))
        assert found.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    assert run(serve, test).audit == []


def test_parts_are_small_enough_for_any_client(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.rpc.PART", 1_000)

    async def test(service: Service, draw: Draw) -> None:
        parts = [part.arrow async for part in draw(n=500)]
        assert len(parts) > 5 and max(map(len, parts)) == 1_000
        assert pa.ipc.open_stream(io.BytesIO(b"".join(parts))).read_all().num_rows == 500

    run(serve, test)
    assert PART < 4 << 20


def test_it_is_encrypted_where_http_is(serve: Serve, tmp_path: Path) -> None:
    certificate, private = pem(tmp_path)

    async def test(service: Service, draw: Draw) -> None:
        assert (await rows(draw())).num_rows == 10
        async with aio.insecure_channel(f"localhost:{service.desk.settings.grpc_port}") as plain:
            with pytest.raises(aio.AioRpcError) as found:
                await plain.unary_stream(PATH)(b"").read()
        assert found.value.code() is grpc.StatusCode.UNAVAILABLE

    run(serve, test, ca=certificate, certificate=certificate, certificate_key=private)


def test_a_port_that_is_taken_is_an_error(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = serve(grpc_port=taken.getsockname()[1])

        async def main() -> None:
            with pytest.raises(RuntimeError, match="bind"):
                await Rpc(service.desk, service.backend).start()

        asyncio.run(main())
