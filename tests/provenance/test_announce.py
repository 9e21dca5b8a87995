"""A catalogue is told of what was published; one that cannot be told costs a note, and no secret."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from synth.generators.families import build
from synth.provenance import announce, manifest
from synth.provenance.manifest import Manifest, Training
from synth.recipe import Recipe
from synth.training.prepare import open_sources, prepare
from synth.training.publish import publish
from tests.serving.releases import people


@dataclass
class Catalogue:
    """A server that keeps what it is told, and answers with ``status``."""

    url: str = ""
    status: int = 201
    headers: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, str | None, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    found = Catalogue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.told.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            raise AssertionError("nothing is asked for")

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OPENLINEAGE_URL", found.url)
        yield found
        server.shutdown()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "ENDPOINT", "API_KEY", "DISABLED"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)


def record(**changes: Any) -> Manifest:
    return Manifest(
        name="adult", id=manifest.release_id({}), created=datetime.now(UTC), files={}, data=[], parents=[],
        generation_depth=0, real_fraction=1.0, recipe_sha256="0" * 64, environment=manifest.environment(), seed=0,
        training=Training(steps=1, seconds=1.0, workers=1, zero=0, devices=["cpu"]),
    ).model_copy(update=changes)  # fmt: skip


def test_nobody_is_told_unless_somebody_is_named() -> None:
    assert announce.announce(record()) == []


def test_a_catalogue_is_told_of_start_and_end(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    assert announce.announce(record()) == []
    assert [(path, key, event["eventType"]) for path, key, event in catalogue.told] == [
        ("/api/v1/lineage", "Bearer secret", "START"), ("/api/v1/lineage", "Bearer secret", "COMPLETE")
    ]  # fmt: skip


def test_the_path_is_the_user_s(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", f"{catalogue.url}/gate/")
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "/events/lineage")
    assert announce.announce(record()) == []
    assert {(path, key) for path, key, _ in catalogue.told} == {("/gate/events/lineage", None)}


def test_it_can_be_turned_off(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "True")
    assert announce.announce(record()) == [] and not catalogue.told


@pytest.mark.parametrize("status", [400, 401, 500])
def test_what_a_catalogue_refuses_is_a_note(catalogue: Catalogue, status: int) -> None:
    catalogue.status = status
    [note] = announce.announce(record())
    assert f"it answered with status {status}" in note and len(catalogue.told) == 1


def test_a_key_is_not_sent_on(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    catalogue.status, catalogue.headers = 302, {"Location": f"{catalogue.url}/elsewhere"}
    [note] = announce.announce(record())
    assert "status 302" in note and [path for path, _, _ in catalogue.told] == ["/api/v1/lineage"]


def test_a_catalogue_that_is_away_or_silent_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        [note] = announce.announce(record())
        assert "no answer within 0.2 s" in note
    [note] = announce.announce(record())
    assert "refused" in note and "the release is complete without it" in note


def test_a_catalogue_that_never_ends_its_answer_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece of it comes in time, so that no limit of a single step is ever reached."""
    monkeypatch.setattr(announce, "TIMEOUT_S", 0.5)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 201 Created\r\n")
                while not over.wait(0.1):
                    connection.sendall(b"X-More: yes\r\n")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        [note] = announce.announce(record())
        took = time.monotonic() - began
        over.set()
        dripping.join()
    assert "no answer within 0.5 s" in note and took < 3


@pytest.mark.parametrize("host", ["192.0.2.1", "catalogue.invalid", "[2001:db8::1]"])
def test_a_key_is_not_sent_where_all_could_read_it(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("nobody is asked")

    monkeypatch.setattr("socket.create_connection", connect)
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://{host}:5000")
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "hunter2")
    [note] = announce.announce(record())
    assert "over http:// all could read OPENLINEAGE_API_KEY; give an address with https://" in note
    assert "hunter2" not in note and host not in note


def test_what_stays_here_goes_by_no_proxy(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert announce.announce(record()) == [] and len(catalogue.told) == 2


def test_who_is_tired_of_waiting_stops_nothing_else(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("socket.create_connection", stop)
    [note] = announce.announce(record())
    assert "it was stopped; the release is complete without it" in note


def test_what_is_no_http_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"hello\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        [note] = announce.announce(record())
    assert "what answers there is no catalogue" in note


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://ana:hunter2@127.0.0.1:1", "it holds a name or a password"),
        ("http://ana:hunter2", "it is no address"),
        ("http://127.0.0.1:1/?key=hunter2", "it is no address"),
        ("file:///etc/hunter2", "it is no address"),
        ("hunter2", "it is no address"),
        ("http://[hunter2", "it is no address"),
        ("http://hunter2..x", "the release is complete"),
        ("http://hunter2 x", "it is no address"),
    ],
)
def test_addresses_are_checked_and_not_repeated(url: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", url)
    [note] = announce.announce(record())
    assert says in note and "hunter2" not in note


@pytest.mark.parametrize("key", ["hunter2\nx", "hunter2ü", "hunter2 x"])
def test_a_key_that_cannot_be_one_is_not_repeated(
    catalogue: Catalogue, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", key)
    [note] = announce.announce(record())
    assert "OPENLINEAGE_API_KEY holds signs" in note and "hunter2" not in note and not catalogue.told


def test_an_endpoint_that_is_no_path_is_a_note(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "a?b")
    [note] = announce.announce(record())
    assert "OPENLINEAGE_ENDPOINT is no path" in note and not catalogue.told


def test_what_is_too_long_is_not_sent(catalogue: Catalogue) -> None:
    [note] = announce.announce(record(name="x" * announce.MOST))
    assert "at most 1,048,576 are sent" in note and not catalogue.told


@pytest.mark.parametrize("status", [201, 500])
def test_a_release_that_is_published_is_told(catalogue: Catalogue, tmp_path: Path, status: int) -> None:
    catalogue.status = status
    pq.write_table(people(), tmp_path / "real.parquet")
    settings = {"target": "member", "diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 2}
    recipe = Recipe.read(None, settings).resolved(test_apart=False)
    sources, schema = open_sources(str(tmp_path / "real.parquet"), None, recipe)
    table = prepare(sources, schema, recipe)
    torch.manual_seed(0)
    published = publish(
        recipe, table, build(recipe, table.codec.layout).state_dict(), str(tmp_path / "release"),
        training=Training(steps=1, seconds=1.0, workers=1, zero=0, devices=["cpu"]), took="a step", overwrite=False,
        progress=lambda *_: None,
    )  # fmt: skip
    assert [event["run"]["facets"]["artesian_lineage"]["release"] for _, _, event in catalogue.told] == (
        [published.manifest.id] * (2 if status == 201 else 1)
    )
    assert [note for note in published.notes if "OPENLINEAGE_URL" in note] == published.notes[-1:] * (status == 500)
    assert not [note for note in published.certificate.preparation if "OPENLINEAGE" in note]
