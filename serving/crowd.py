"""What is said to a connection that is one too many."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.desk import Desk
from serving.problems import Problem

AGAIN_S = 5


def crowded(desk: Desk) -> ASGIApp:
    """The application that has no room for anybody, and counts whom it turns away."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        desk.metrics.request_shed("connections")
        refusal = Problem(
            503, "No room just now", f"there are {desk.settings.limits.connections:,} connections already", "/problems/busy",
            remedy="come again then", headers={"Retry-After": str(AGAIN_S), "Connection": "close"},
        )  # fmt: skip
        await refusal.response()(scope, receive, send)

    return app
