"""The front of the service: an HTTP server in a process of Ray Serve, before replicas that Serve scales.

It listens itself, and not by Serve's proxy: between that and a slow reader an answer piles up in memory, since nothing
tells who makes it to wait. Here the socket does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import uvicorn
from ray import serve
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serving.api import create
from serving.catalogue import Version
from serving.desk import Desk
from serving.patience import Patient
from serving.replica import model_of
from serving.rpc import Rpc
from serving.settings import Settings
from serving.stream import Drawn, Piece

TRIES = 5  # of a piece, whose replica may have died: it is the same whoever draws it
AGAIN_S = 0.2
LOOK_S = 1.0  # between looks at what the watcher knows
DRAIN_S = 30.0  # for answers under way to end

REPLICA = "Replica"  # the deployment's name

logger = logging.getLogger(__name__)


class RayBackend:
    """Rows from the replicas of a Serve deployment, watched by another."""

    def __init__(self, desk: Desk, replicas: DeploymentHandle, watcher: DeploymentHandle) -> None:
        self.desk, self.replicas, self.watcher = desk, replicas, watcher
        self.up, self.heard = False, set[str]()

    async def draw(self, version: Version, release: str, piece: Piece) -> Drawn:
        model = model_of(release, version.place)
        handle = self.replicas.options(multiplexed_model_id=model)
        for left in reversed(range(TRIES)):
            try:
                found: Drawn = await handle.draw.remote(model, piece)
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
        self.watcher.see.remote(str(version), piece, drawn)

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
        """Look after replicas and watcher for as long as the service lives."""
        while True:
            try:
                await self.measure()
                self.desk.replicas(*await asyncio.to_thread(replicas_now))
                self.up = True
            except (RayActorError, ActorUnavailableError, DeploymentUnavailableError, BackPressureError) as e:
                logger.warning("the watcher or the replicas cannot be reached: %s", type(e).__name__)
            await asyncio.sleep(LOOK_S)


def replicas_now() -> tuple[int, int]:
    """How many replicas of the sampler run, and how many there should be."""
    for app in serve.status().applications.values():
        if (found := app.deployments.get(REPLICA)) is not None:
            states = {str(state): count for state, count in found.replica_states.items()}
            return states.get("RUNNING", 0), sum(count for state, count in states.items() if state != "STOPPING")
    return 0, 0


class Front:
    """Serves until it is told to end, and then ends what is under way."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it, in the loop that the server runs in
        self, settings: dict[str, Any], replicas: DeploymentHandle, watcher: DeploymentHandle
    ) -> None:
        self.settings = Settings.model_validate(settings)
        self.desk = Desk(self.settings)
        self.backend = RayBackend(self.desk, replicas, watcher)
        app = create(self.desk, self.backend)
        limits = self.settings.limits
        self.server = uvicorn.Server(
            uvicorn.Config(
                app, host=self.settings.host, port=self.settings.port, http=Patient.waiting(limits.head_s), ws="none",
                limit_concurrency=limits.connections, timeout_keep_alive=30, timeout_graceful_shutdown=int(DRAIN_S),
                server_header=False, log_level="warning", access_log=False, proxy_headers=False,
                ssl_certfile=self.settings.certificate, ssl_keyfile=self.settings.certificate_key,
            )
        )  # fmt: skip
        self.rpc = None if self.settings.grpc_port is None else Rpc(self.desk, self.backend)
        if self.rpc is not None:
            await self.rpc.start()
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(self.server.serve()), loop.create_task(self.backend.follow())]

    async def address(self) -> tuple[str, int]:
        """Where it listens, once it does."""
        while not self.server.started:
            if self.tasks[0].done():
                raise RuntimeError(f"cannot listen at {self.settings.host}:{self.settings.port}")
            await asyncio.sleep(0.05)
        [(host, port, *_)] = [s.getsockname() for server in self.server.servers for s in server.sockets][:1]
        return host, port

    def check_health(self) -> None:
        for task in self.tasks:
            if task.done():
                raise RuntimeError(f"the service has stopped: {task.exception()}")

    async def __del__(self) -> None:
        self.server.should_exit = True
        over = [self.tasks[0]]
        over += [] if self.rpc is None else [asyncio.get_running_loop().create_task(self.rpc.stop(DRAIN_S))]
        await asyncio.wait(over, timeout=DRAIN_S)
        self.tasks[1].cancel()
