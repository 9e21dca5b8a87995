"""Over a real socket: who sends no head, or half of one, keeps nobody out; what may be read in two ways is refused."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from starlette.types import Receive, Scope, Send

from serving.bounds import Bounds
from serving.patience import Patient
from serving.settings import Limits
from tests.serving.service import Listener, listening, post, until

HEAD_S = 0.3
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Echo:
    """Notes the bodies that come, and gives them back."""

    def __init__(self) -> None:
        self.bodies = list[bytes]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[Listener]:
    with listening(Bounds(echo, Limits()), http=Patient.of(HEAD_S, 2_000, echo)) as found:
        yield found


def read(connection: socket.socket, seconds: float = 5.0) -> bytes:
    """All that comes until the other side hangs up; where it does not, TimeoutError."""
    connection.settimeout(seconds)
    received = bytearray()
    while content := connection.recv(65_536):
        received += content
    return bytes(received)


@pytest.mark.parametrize("start", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_is_hung_up_on(server: Listener, echo: Echo, start: bytes) -> None:
    with server.connect() as connection:
        began = time.monotonic()
        connection.sendall(start)
        read(connection)
        assert HEAD_S * 0.9 < time.monotonic() - began < HEAD_S + 3
    assert until(lambda: not server.connections) and echo.bodies == []


def test_a_head_that_comes_drop_by_drop_has_no_longer(server: Listener) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011 (a reset or a broken pipe)
            while time.monotonic() - began < 5:
                connection.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - began < HEAD_S + 3


def test_a_second_request_has_as_long_as_the_first(server: Listener, echo: Echo) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(GET)
            answer = b""
            while not answer.endswith(b"ok"):
                answer += connection.recv(1_000)
            time.sleep(HEAD_S * 1.5)  # kept alive meanwhile
        connection.sendall(b"GET / HT")
        began = time.monotonic()
        read(connection)
        assert time.monotonic() - began < HEAD_S + 3 and len(echo.bodies) == 2


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough of them for both ends of a thousand connections."""
    resource = pytest.importorskip("resource")
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 2_500:
        pytest.skip("this process may not have so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, 2_500), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@pytest.mark.usefixtures("descriptors")
def test_a_thousand_idle_connections_stop_nobody() -> None:
    with listening(Bounds(Echo(), Limits()), http=Patient.of(10.0, 2_000, Echo())) as server, ExitStack() as stack:
        for k in range(1_000):
            stack.enter_context(server.connect()).sendall(b"GET / HTTP/1.1\r\n" if k % 2 else b"")
        began = time.monotonic()
        for _ in range(5):
            with server.connect() as connection:
                connection.sendall(LAST)
                assert read(connection).endswith(b"ok")
        assert time.monotonic() - began < 2
        assert until(lambda: len(server.connections) == 1_000)


def refused(server: Listener, echo: Echo, request: bytes, *more: bytes) -> bytes:
    """The answer to what must be refused, after which the connection ends, and what follows is no request."""
    with server.connect() as connection:
        connection.sendall(request + b"".join(more))
        answer = read(connection)
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1, answer
    assert echo.bodies == []
    return answer


SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"content-length: 4\r\ntransfer-ENCODING: chunked\r\n",
    ],
)  # fmt: skip
def test_two_ways_to_end_a_body_are_refused(server: Listener, echo: Echo, head: bytes) -> None:
    answer = refused(server, echo, b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n0\r\n\r\n", SMUGGLED)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "/problems/two-lengths"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: 5, 6\r\n", b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 5 5\r\n", b"Content-Length : 5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b" Content-Length: 5\r\n", b"X: y\r\n\tContent-Length: 5\r\n", b"X: a\x00b\r\n", b"X\r\n: y\r\n", b"Host: y\r\n",
    ],
)  # fmt: skip
def test_heads_that_readers_differ_on_are_refused(server: Listener, echo: Echo, head: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + b"12345" + SMUGGLED)
        answer = read(connection)
    # 501 is for codings that are not known (RFC 9112, 6.1).
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")) and echo.bodies == []


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\nHost: x\n\n", b"GET / HTTP/1.1\r\nHost: x\n\r\n", b"GET / HTTP/1.1\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: y\nContent-Length: 34\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\n",
        b"\nGET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\nX: y\r\n\r\n",
    ],
)  # fmt: skip
def test_a_bare_line_feed_ends_no_line(server: Listener, echo: Echo, request_: bytes) -> None:
    assert b"/admin" not in refused(server, echo, request_, SMUGGLED) and not echo.bodies


def test_a_bare_line_feed_is_refused_however_it_is_cut_into_packets(server: Listener, echo: Echo) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises(OSError):  # noqa: PT011
            for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX: y\n\r\n" * 20:
                connection.sendall(bytes([byte]))
                time.sleep(0.001)
    assert echo.bodies == []


@pytest.mark.parametrize(
    "body", [b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5;\nx\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n"]
)
def test_chunks_end_as_http_has_it(server: Listener, echo: Echo, body: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body + SMUGGLED)
        connection.settimeout(5)
        assert not connection.recv(1_000).startswith(b"HTTP/1.1 200")
    assert echo.bodies == []


def test_bodies_may_hold_line_feeds_and_requests_follow_each_other(server: Listener, echo: Echo) -> None:
    first = post("/", {"where": "a==1"}).replace(b"==", b"\n ")
    second = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(first + second + LAST)
        assert read(connection).count(b"HTTP/1.1 200") == 3
    assert echo.bodies == [b'{"where": "a\n 1"}', b"a\nb", b""]


def test_a_head_is_not_endless(server: Listener, echo: Echo) -> None:
    with server.connect() as connection, pytest.raises((OSError, AssertionError)):
        for _ in range(100):
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 65_536)
        assert read(connection).startswith(b"HTTP/1.1 200")
    assert echo.bodies == []
