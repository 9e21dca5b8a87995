"""Connections, of which there may be so many."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack

from serving.crowd import crowded
from serving.patience import Patient
from tests.serving.service import Listener, Service, listening, until

Serve = Callable[..., Service]
ASK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def asked(server: Listener) -> bytes:
    with server.connect(timeout=5) as connection:
        connection.sendall(ASK)
        received = connection.recv(65_536)
        if received.startswith(b"HTTP/1.1 503"):
            assert connection.recv(1) == b"", "it is hung up"
        return received


def test_one_too_many_is_told_when_to_come_again(serve: Serve) -> None:
    service = serve(limits={"connections": 3})
    protocol = Patient.of(10.0, 3, crowded(service.desk))
    with listening(service.app, http=protocol) as server:
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(server.connect())
            assert until(lambda: len(server.connections) == 3)
            head, _, body = asked(server).partition(b"\r\n\r\n")
            assert (
                head.startswith(b"HTTP/1.1 503")
                and b"application/problem+json" in head
                and b"retry-after: 5" in head.lower()
            )
            assert "3 connections" in json.loads(body)["detail"]
        assert until(lambda: not server.connections)
        assert asked(server).startswith(b"HTTP/1.1 200")
    assert service.desk.metrics.render()[0].decode().count('artesian_shed_total{reason="connections"} 1.0') == 1
