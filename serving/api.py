"""The service's HTTP interface: what is let in, what comes back, and what is a problem."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from serving import documented, problems, refusals, routes_generators, routes_jobs, routes_pages, routes_samples
from serving.access import Who, desk_of
from serving.bounds import Bounds
from serving.desk import Desk
from serving.jobs import Jobs
from serving.nearby import Nearby
from serving.stream import Backend

ABOUT = "Synthetic rows of certified generators, watched for falling diversity. Every answer says, signed, where it comes from."


def create(desk: Desk, backend: Backend) -> FastAPI:
    """The application over one desk and one place where rows come from."""

    app = FastAPI(
        title="Artesian", version=metadata.version("artesian"), description=ABOUT,
        docs_url=None, redoc_url=None,  # whose pages fetch their scripts from other hosts
        responses=documented.PROBLEMS,
    )  # fmt: skip
    app.state.desk, app.state.backend = desk, backend
    app.state.jobs = Jobs(
        desk.folder / "jobs", desk.settings.jobs, check=desk.check_sound, watch=backend.watch, marks=desk.marks
    )
    app.add_middleware(Bounds, limits=desk.settings.limits)
    if desk.keys is None:
        app.add_middleware(Nearby)
    problems.install(app)
    for error in refusals.ALL:
        app.add_exception_handler(error, _told)
    for router in (routes_samples.router, routes_generators.router, routes_jobs.router, routes_pages.router):
        app.include_router(router)

    @app.get("/healthz", tags=["service"])
    async def healthz() -> dict[str, str]:
        """Whether the service is there."""
        return {"status": "ok"}

    @app.get("/-/healthz", include_in_schema=False)
    async def ray_healthz() -> Response:
        """The same where Ray's operator looks for it."""
        return Response("success", media_type="text/plain")

    @app.get("/readyz", tags=["service"], responses=documented.READY)
    async def readyz() -> JSONResponse:
        """Whether it can serve: 503 until a replica has come up, and while the service ends."""
        ready = bool(await backend.ready())
        return JSONResponse({"status": "ready" if ready else "not ready"}, status_code=200 if ready else 503)

    @app.get("/metrics", tags=["service"], response_class=Response, responses=documented.METRICS)
    async def metrics(request: Request, who: Who) -> Response:
        """Prometheus metrics, one value a release whatever the number of replicas."""
        desk.metrics.keys_stale(desk.keys is not None and desk.keys.problem is not None)
        content, kind = desk.metrics.render(request.headers.get("accept", ""))
        return Response(content, media_type=kind)

    @app.get("/v1/me", tags=["service"])
    async def me(request: Request, who: Who) -> dict[str, Any]:
        """What this caller may do, and what is left of its quotas."""
        desk = desk_of(request)
        if who.key is None:
            return {"name": None, "generators": ["*"], "admin": True, "left": {}}
        left = desk.quotas.left(who.key, desk.now())
        return {"name": who.key.name, "generators": who.key.generators, "admin": who.key.admin, "left": left}

    return app


def close(app: FastAPI) -> None:
    """At its end, when nothing is under way any more: jobs stop, and what must survive is kept."""
    app.state.jobs.close()
    app.state.desk.close()


async def _told(request: Request, error: Exception) -> Response:
    return refusals.problem_of(error).response()
