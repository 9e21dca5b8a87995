"""An answer ends once, however it ends: nothing more is drawn, what was not sent costs nothing, and it is written down."""

from __future__ import annotations

import asyncio
import io
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from serving import patience
from serving.problems import MEDIA_TYPE
from synth.errors import UserError
from synth.sampling import BLOCK, SMALL
from tests.serving.service import Caller, Service, key, listening, post, until

Serve = Callable[..., Service]
SAMPLES = "/v1/generators/people/samples"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


def left(service: Service) -> dict[str, int]:
    assert service.desk.keys is not None
    [one] = service.desk.keys.current().keys
    return dict(service.desk.quotas.left(one, service.desk.now()))


def test_the_first_rows_are_sent_before_the_others_are_drawn(serve: Serve) -> None:
    async def main() -> None:
        service = serve()
        caller = Caller(service.app, SAMPLES, {"n": 50 * BLOCK, "format": "arrow"})
        caller.reading.clear()
        while not caller.messages:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        assert service.backend.drawn <= 2 * BLOCK  # the first few, and two pieces ahead
        caller.reading.set()
        await caller.sent(3)
        caller.reading.clear()
        first = pa.ipc.open_stream(io.BytesIO(caller.content)).read_next_batch()
        assert first.num_rows == SMALL
        caller.hang_up()
        await caller.task

    asyncio.run(main())


@pytest.mark.parametrize("format", ["json", "ndjson", "csv", "arrow"])
def test_a_caller_who_hangs_up_has_nothing_more_drawn_and_gets_his_quota_back(
    serve: Serve, file: Path, format: str
) -> None:
    token = key(file, rows_per_day=100 * BLOCK)

    async def main() -> Service:
        service = serve(keys=str(file)).still()
        caller = Caller(service.app, SAMPLES, {"n": 50 * BLOCK, "seed": 3, "format": format}, headers=bearer(token))
        await caller.sent(4)
        caller.reading.clear()
        assert not service.idle
        caller.hang_up()
        await caller.task
        assert caller.status == 200 and not caller.whole
        return service

    service = asyncio.run(main())
    drawn, sent = service.backend.drawn, service.audit[-1]["sent"]
    assert service.idle and drawn < 12 * BLOCK and SMALL <= sent < drawn
    assert left(service) == {"rows": 100 * BLOCK - sent}
    line = service.audit[-1]
    assert (line["code"], line["rows"], line["seed"], line["format"]) == (499, 50 * BLOCK, 3, format)
    assert len(service.audit) == 1 and token not in service.desk.audit.path.read_text()
    assert sum(rows for _, _, rows in service.backend.watched) == sent


def test_of_parquet_only_whole_row_groups_have_been_sent(serve: Serve, file: Path) -> None:
    token = key(file, rows_per_day=100 * BLOCK)

    async def main() -> Service:
        service = serve(keys=str(file)).still()
        caller = Caller(service.app, SAMPLES, {"n": 50 * BLOCK, "format": "parquet"}, headers=bearer(token))
        while len(service.backend.watched) < 4:
            await asyncio.sleep(0.001)
        caller.hang_up()
        await caller.task
        return service

    service = asyncio.run(main())
    assert (service.audit[-1]["code"], service.audit[-1]["sent"]) == (499, 0)
    assert left(service) == {"rows": 100 * BLOCK} and service.idle


def test_who_hangs_up_before_his_rows_are_there_costs_little(serve: Serve, file: Path) -> None:
    token = key(file, rows_per_day=50 * BLOCK)

    async def main() -> Service:
        service = serve(keys=str(file)).still()
        service.backend.slow = 0.05
        caller = Caller(service.app, SAMPLES, {"n": 50 * BLOCK}, headers=bearer(token))
        await asyncio.sleep(0.02)
        caller.hang_up()
        await caller.task
        return service

    service = asyncio.run(main())
    assert service.idle and service.audit[-1]["code"] == 499
    assert service.audit[-1]["sent"] <= 2 * BLOCK and left(service)["rows"] >= 48 * BLOCK


@pytest.mark.parametrize(
    ("error", "code"), [(UserError("no such rows"), 500), (RuntimeError("out of memory"), 500), (OSError("gone"), 500)]
)
def test_an_answer_that_fails_on_its_way_is_cut_and_not_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    async def main() -> tuple[Service, Caller]:
        service = serve()
        draw = service.backend.draw

        async def fails(version: Any, release: str, piece: Any) -> Any:
            if piece.first >= 3 * BLOCK:
                raise error
            return await draw(version, release, piece)

        monkeypatch.setattr(service.backend, "draw", fails)
        caller = Caller(service.app, SAMPLES, {"n": 9 * BLOCK, "format": "ndjson"})
        with pytest.raises((type(error), RuntimeError)):
            await caller.task
        return service, caller

    service, caller = asyncio.run(main())
    assert caller.status == 200 and not caller.whole and len(caller.content.splitlines()) == 3 * BLOCK
    assert (service.audit[-1]["code"], service.audit[-1]["sent"]) == (code, 3 * BLOCK) and service.idle


def test_an_answer_that_fails_at_once_is_a_problem_without_what_is_inside(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()

    async def fails(*_: Any) -> Any:
        raise RuntimeError("/secret/place")

    monkeypatch.setattr(service.backend, "draw", fails)
    answer = service.draw()
    assert (answer.status_code, answer.headers["content-type"]) == (500, MEDIA_TYPE) and "secret" not in answer.text
    assert service.audit[-1]["code"] == 500 and service.idle


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_a_release_that_is_gone_is_no_fault_of_the_caller_s(
    serve: Serve, people: Path, tmp_path: Path, damage: str
) -> None:
    place = shutil.copytree(people, tmp_path / "people")
    service = serve(generators={"people": {"versions": {1: str(place)}}})
    if damage == "gone":
        shutil.rmtree(place)
    else:
        (place / "codec.json").write_text("{}")
    answer = service.draw()
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal")
    assert str(tmp_path) not in answer.text and service.idle and service.audit[-1]["code"] == 500


def test_an_answer_takes_no_longer_than_it_may(serve: Serve, file: Path) -> None:
    token = key(file, rows_per_day=100 * BLOCK)

    async def main() -> tuple[Service, Caller]:
        service = serve(keys=str(file), limits={"answer_s": 0.3}).still()
        caller = Caller(service.app, SAMPLES, {"n": 50 * BLOCK, "format": "csv"}, headers=bearer(token))
        await caller.sent(2)
        caller.reading.clear()  # and never again
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(caller.task), 5)
        return service, caller

    service, caller = asyncio.run(main())
    assert not caller.whole and service.idle and service.audit[-1]["code"] == 408
    assert left(service)["rows"] == 100 * BLOCK - service.audit[-1]["sent"] > 50 * BLOCK


def test_over_a_socket_who_reads_nothing_is_hung_up_on_and_the_rest_is_not_drawn(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LINGER_S", 0.1)
    service = serve(limits={"answer_s": 0.5})
    with listening(service.app) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(post(SAMPLES, {"n": 1_000_000, "format": "csv"}))
        assert until(lambda: len(service.audit) == 1)
        assert service.audit[-1]["code"] == 408 and service.audit[-1]["sent"] < 500_000 and service.idle
        assert until(lambda: not server.connections)  # though what was in its buffer has not been taken
        received = bytearray()
        while content := connection.recv(1 << 20):
            received += content
        assert received.startswith(b"HTTP/1.1 200") and not received.endswith(b"0\r\n\r\n")


def test_over_a_socket_who_reads_slowly_gets_all_of_it(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LINGER_S", 0.1)
    service = serve()
    request = post(SAMPLES, {"n": 20_000, "format": "csv", "seed": 1}).replace(
        b"Host: localhost", b"Host: localhost\r\nConnection: close"
    )
    with listening(service.app) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request)
        received = bytearray()
        while content := connection.recv(4_096):
            received += content
            time.sleep(0.002)
        assert received.endswith(b"0\r\n\r\n") and received.count(b"\n", received.index(b'"age"')) > 20_000
        assert until(lambda: len(service.audit) == 1) and service.audit[0]["code"] == 200


def test_over_a_socket_who_hangs_up_is_noticed(serve: Serve) -> None:
    service = serve()
    with listening(service.app) as server:
        with server.connect() as connection:
            connection.sendall(post(SAMPLES, {"n": 1_000_000, "format": "ndjson"}))
            assert connection.recv(1_000).startswith(b"HTTP/1.1 200")
        assert until(lambda: len(service.audit) == 1)
        assert (service.audit[-1]["code"], service.idle) == (499, True)
