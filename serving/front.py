"""The front of the service: an HTTP server in a process of Ray Serve, before replicas that Serve scales.

It listens itself, and not by Serve's proxy: between that and a slow reader an answer piles up in memory, since nothing
tells who makes it to wait. Here the socket does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import uvicorn
from ray import serve
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from cluster.session import impatient
from serving.api import close, create
from serving.catalogue import Version
from serving.crowd import crowded
from serving.desk import Desk
from serving.listener import listener
from serving.patience import Patient
from serving.replica import MODELS
from serving.rpc import Rpc
from serving.settings import Settings
from serving.stream import Drawn, Piece
from synth.provenance.watermark import Mark

TRIES = 5  # of a piece, whose replica may have died: it is the same whoever draws it
AGAIN_S = 0.2
LOOK_S = 1.0  # between looks at what the watcher knows
PATIENCE_S = 5.0  # with a watcher that does not answer
UNSEEN = 64  # pieces on their way to the watcher; while it has so many, the others are not shown to it
DRAIN_S = 30.0  # for answers under way to end

REPLICA = "Replica"  # the deployment's name

logger = logging.getLogger(__name__)


class RayBackend:
    """Rows from the replicas of a Serve deployment, watched by another. A release is asked of the replicas that hold it where
    there are more of them than each can hold (``several``), and of any otherwise, so that all of them work."""

    def __init__(self, desk: Desk, replicas: DeploymentHandle, watcher: DeploymentHandle, app: str) -> None:
        self.desk, self.replicas, self.watcher, self.app = desk, replicas, watcher, app
        self.several = len({shelf.manifest.id for shelf in desk.shelves.values()}) > MODELS
        self.up, self.heard = False, set[str]()
        self.loop = asyncio.get_running_loop()
        self.unseen = set[asyncio.Task[None]]()

    async def draw(self, version: Version, release: str, piece: Piece) -> Drawn:
        handle = self.replicas.options(multiplexed_model_id=release) if self.several else self.replicas
        for left in reversed(range(TRIES)):
            try:
                found: Drawn = await handle.draw.remote(release, piece)
            except RayTaskError as e:
                raise e.cause if e.cause is not None else e from None
            except (RayActorError, ActorUnavailableError, BackPressureError, DeploymentUnavailableError):
                if not left:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                return found
        raise AssertionError("the last try returns or raises")

    def watch(self, version: Version, piece: Piece, drawn: Drawn) -> None:
        self.loop.call_soon_threadsafe(self._watch, version, piece, drawn)

    def _watch(self, version: Version, piece: Piece, drawn: Drawn) -> None:
        if len(self.unseen) >= UNSEEN:
            self.desk.metrics.rows_skipped(str(version), piece.rows)
        else:
            task = self.loop.create_task(self._show(version, piece, drawn))
            self.unseen.add(task)
            task.add_done_callback(self.unseen.discard)

    async def _show(self, version: Version, piece: Piece, drawn: Drawn) -> None:
        with suppress(RayError, DeploymentUnavailableError, BackPressureError):  # ``look`` says that it is away
            await self.watcher.see.remote(str(version), piece, drawn)

    def watch_anew(self, version: Version) -> None:
        self.watcher.anew.remote(str(version))

    async def ready(self) -> bool:
        return self.up

    async def measure(self) -> None:
        """What the watcher knows, into the desk's metrics and health."""
        reports, alarms = await self.watcher.report.remote(self.heard)
        for version, report in reports.items():
            self.desk.watched(version, report)
        for name in alarms.keys() - self.heard:
            self.desk.raise_alarm(*alarms[name])
        self.heard = set(alarms)

    async def follow(self) -> None:
        """Look after replicas and watcher for as long as the service lives, whatever a look meets."""
        while True:
            try:
                running, target = await asyncio.to_thread(replicas_now, self.app)
                self.desk.replicas(running, target)
                self.up = running > 0
                await asyncio.wait_for(self.measure(), PATIENCE_S)
            except Exception:
                logger.exception("a look at the replicas and the watcher failed")
            await asyncio.sleep(LOOK_S)


def replicas_now(app: str) -> tuple[int, int]:
    """How many replicas of the sampler run, and how many there should be."""
    found = serve.status().applications[app].deployments.get(REPLICA)
    if found is None:
        return 0, 0
    states = {str(state): count for state, count in found.replica_states.items()}
    return states.get("RUNNING", 0), sum(count for state, count in states.items() if state != "STOPPING")


class Front:
    """Serves until it is told to end, and then ends what is under way. RuntimeError where it cannot listen."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it, in the loop that the server runs in
        self, settings: dict[str, Any], replicas: DeploymentHandle, watcher: DeploymentHandle, marks: Mapping[str, Mark]
    ) -> None:
        impatient(process=True)
        self.settings = Settings.model_validate(settings)
        try:
            self.socket = listener(self.settings)
        except OSError as e:
            raise RuntimeError(str(e)) from e
        self.desk = Desk(self.settings, marks)
        self.backend = RayBackend(self.desk, replicas, watcher, serve.get_replica_context().app_name)
        self.app = create(self.desk, self.backend)
        limits = self.settings.limits
        self.server = uvicorn.Server(
            uvicorn.Config(
                self.app, http=Patient.of(limits.head_s, limits.connections, crowded(self.desk)), ws="none", lifespan="off",
                timeout_keep_alive=30, timeout_graceful_shutdown=int(DRAIN_S),
                server_header=False, log_level="warning", access_log=False, proxy_headers=False,
                ssl_certfile=self.settings.certificate, ssl_keyfile=self.settings.certificate_key,
            )
        )  # fmt: skip
        self.rpc = None if self.settings.grpc_port is None else Rpc(self.desk, self.backend)
        if self.rpc is not None:
            await self.rpc.start()
        loop = asyncio.get_running_loop()
        self.serving = loop.create_task(self.server.serve(sockets=[self.socket]))
        self.following = loop.create_task(self.backend.follow())
        self.ending: asyncio.Task[None] | None = None

    async def address(self) -> tuple[str, int]:
        """Where it listens, once it does."""
        while not self.server.started:
            if self.serving.done():
                raise RuntimeError(f"the server has stopped: {self.serving.exception()}")
            await asyncio.sleep(0.05)
        host, port, *_ = self.socket.getsockname()
        return host, port

    def check_health(self) -> None:
        for task in (self.serving, self.following):
            if task.done() and self.ending is None:
                raise RuntimeError(f"the service has stopped: {task.exception()}")

    async def end(self) -> None:
        """Let in nobody else, end what is under way, or cut it after DRAIN_S, and close the desk after all of it."""
        if self.ending is None:
            self.ending = asyncio.get_running_loop().create_task(self._end())
        await asyncio.shield(self.ending)

    async def _end(self) -> None:
        self.server.should_exit = True
        over: list[asyncio.Future[None]] = [self.serving]
        if self.rpc is not None:
            over.append(asyncio.ensure_future(self.rpc.stop(DRAIN_S)))
        await asyncio.wait(over, timeout=DRAIN_S + 5)
        deadline = time.monotonic() + 5  # what was cut is still to be written down
        while self.desk.under_way and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self.following.cancel()
        close(self.app)

    async def __del__(self) -> None:
        await self.end()
