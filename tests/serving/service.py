"""The real application without Ray, callers of it that read as slowly as a test lets them, and a socket that it listens at."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.api import create
from serving.desk import Desk
from serving.key_file import edit
from serving.patience import Patient
from serving.settings import Settings
from tests.serving.releases import LocalBackend


@dataclass
class Service:
    desk: Desk
    backend: LocalBackend
    app: FastAPI
    client: TestClient
    state: Path

    @classmethod
    def of(cls, generators: dict[str, Any], state: Path, **settings: Any) -> Service:
        checked = Settings.check(
            {"generators": generators, "state": str(state), "any_signer": True} | settings, where="the test"
        )
        desk, backend = Desk(checked), LocalBackend()
        app = create(desk, backend)
        client = TestClient(app, "http://127.0.0.1", raise_server_exceptions=False)
        return cls(desk, backend, app, client, state)

    def still(self) -> Service:
        """The same, for whose quotas no time passes: they do not fill up again, however slow the machine is."""
        moment = self.desk.now()
        self.desk.now = lambda: moment
        return self

    def draw(self, name: str = "people", *, token: str | None = None, **asked: Any) -> Any:
        """The answer to a request for samples."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.client.post(f"/v1/generators/{name}/samples", json={"n": 10} | asked, headers=headers)

    @property
    def audit(self) -> list[dict[str, Any]]:
        """Its lines but for those that an answer began with."""
        lines = [json.loads(line) for line in self.desk.audit.path.read_text("utf-8").splitlines()]
        return [line for line in lines if line["event"] != "grant"]

    @property
    def idle(self) -> bool:
        """Whether nothing is under way or counted as if it were."""
        return self.desk.admission.turns == 0 and self.desk.admission.queued_rows == 0


def key(file: Path, name: str = "Ana", generators: Sequence[str] = ("*",), **rights: Any) -> str:
    """The token of a key that is added to a file."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    return edit(file, lambda keys: keys.add(name=name, generators=generators, now=now, **rights), create=True)


class Caller:
    """A request as a server hands it on. The caller takes what is sent while ``reading`` is set, and may hang up.

    Leave out the ``body``, and the parts of one come when the test says so, by ``part``.
    """

    def __init__(
        self, app: Any, path: str, body: Any = None, *, method: str = "POST", headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:  # fmt: skip
        self.app, self.messages = app, list[dict[str, Any]]()
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        self.scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers],
            "client": ("127.0.0.1", 1), "server": ("x", 1),
        }  # fmt: skip
        if body is not None:
            self.part(json.dumps(body).encode(), more=False)
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        await self.app(self.scope, self.incoming.get, self._send)

    async def _send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        await self.reading.wait()

    def part(self, content: bytes, *, more: bool) -> None:
        self.incoming.put_nowait({"type": "http.request", "body": content, "more_body": more})

    def hang_up(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def sent(self, bodies: int) -> None:
        """Until so many parts of the answer's body have been handed over."""
        while sum(bool(m.get("body")) for m in self.messages) < bodies:
            assert not self.task.done(), self.messages
            await asyncio.sleep(0.001)

    @property
    def status(self) -> int | None:
        return self.messages[0]["status"] if self.messages else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def content(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def whole(self) -> bool:
        """Whether the answer was ended, and not cut."""
        return bool(self.messages) and self.messages[-1].get("more_body") is False


@dataclass
class Listener:
    """A server in a thread, its port and the connections that it has."""

    port: int
    connections: set[Any]

    def connect(self, **options: Any) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), **options)


def post(path: str, body: Any) -> bytes:
    """A request as it comes over the wire."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def until(met: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it comes true in so many seconds."""
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(0.01)
    return met()


@contextmanager
def listening(app: Any, **settings: Any) -> Iterator[Listener]:
    """A server that serves ``app`` as the service does; ``settings`` are uvicorn's."""
    chosen: dict[str, Any] = {"http": Patient.of(10.0, 2_000, app), "lifespan": "off", "log_level": "critical"}
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", **(chosen | settings)))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield Listener(server.servers[0].sockets[0].getsockname()[1], server.server_state.connections)
    server.should_exit = server.force_exit = True
    thread.join(10)
    assert not thread.is_alive()
