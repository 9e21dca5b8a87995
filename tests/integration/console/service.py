"""The real service in this process, without Ray: its sampler, its monitor and releases that are made in a moment."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from serving.api import create
from serving.catalogue import Version
from serving.desk import Desk
from serving.monitor.monitor import Monitor
from serving.replica import Loaded
from serving.settings import Settings
from serving.stream import Drawn, Piece
from synth.evaluation.details import reference
from synth.evaluation.frame import Lens
from tests.serving.releases import LocalBackend, people


class Watched(LocalBackend):
    """Has what was sent watched by the real monitor, at once, and the desk told."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.monitors: dict[str, Monitor] = {}

    def watch(self, version: Version, piece: Piece, drawn: Drawn) -> None:
        name, release = str(version), self.desk.shelves[str(version)].manifest.id
        if name not in self.monitors:
            loaded = self.models[release]
            self.monitors[name] = Monitor(loaded.sampler, release, self.desk.folder, loaded.reference)
        alarm = self.monitors[name].see(drawn.batch, piece.text, 10.0)
        self.desk.watched(name, self.monitors[name].report())
        if alarm is not None:
            self.desk.raise_alarm(name, alarm)

    def watch_anew(self, version: Version) -> None:
        self.monitors[str(version)].reset()


@dataclasses.dataclass
class Service:
    desk: Desk
    backend: Watched
    address: str

    def post(self, path: str, body: dict[str, Any]) -> bytes:
        request = urllib.request.Request(
            f"{self.address}/v1/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
            return content


def certificate(loaded: Loaded) -> dict[str, Any]:
    """What the page reads of one: the reference, as certifying makes it."""
    real, sample, rng = people(), loaded.sampler.table(600, seed=5), np.random.default_rng(0)
    lens = Lens.fit(loaded.sampler.schema, {"real": real, "sample": sample})
    frames = [lens.view(table, "", rng)[0] for table in (real, sample)]
    return {"reference": {name: part.model_dump() for name, part in reference(lens, *frames).items()}}


@contextmanager
def serving(releases: dict[int, str], state: Path, **settings: Any) -> Iterator[Service]:
    """A service of these versions of ``people``, of which the first has a certificate, in a thread at a port of its own."""
    served = {"people": {"versions": releases, "aliases": {"production": {1: 1}}}}
    document = {"generators": served, "state": str(state), "any_signer": True}
    desk = Desk(Settings.check(document | settings, where="the test"))
    backend = Watched(desk)
    for shelf in desk.shelves.values():
        backend.models[shelf.manifest.id] = Loaded(shelf.version.place, shelf.manifest.id)
    first = desk.shelves["people@1"]
    first.certificate = certificate(backend.models[first.manifest.id])
    server = uvicorn.Server(
        uvicorn.Config(create(desk, backend), port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Service(desk, backend, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(10)
