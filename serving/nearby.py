"""Whom a service without keys answers: programs on this machine, and its own pages in this machine's browser.

A page of another site that the browser shows is neither. It could reach us by a name of its own that it has stand for this
machine (DNS rebinding), and then read what it is answered; or post to us without being let read the answer (cross-site
request forgery). Browsers say which name they asked for, and for which site: Host, Sec-Fetch-Site and Origin, which no page
can change.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.problems import MOST_ECHO, Problem, cut
from serving.settings import loopback

HARMLESS = {"GET", "HEAD", "OPTIONS"}  # which change nothing, and whose answers other sites' pages cannot read
OURS = {"same-origin", "none"}  # none: what somebody typed in, or a bookmark


class Nearby:
    """Middleware that answers for what a page of another site may have sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope["method"], Headers(scope=scope)) if scope["type"] == "http" else None
        await (self.app if refusal is None else refusal.response())(scope, receive, send)


def _refusal(method: str, headers: Headers) -> Problem | None:
    host = headers.get("host")  # a browser always sends it
    if host is not None and not loopback(_name(f"//{host}")):
        return Problem(
            421, "Asked for by another name", f"this service has no keys, and is not {cut(host, MOST_ECHO)}",
            "/problems/other-host", remedy="ask for 127.0.0.1 or localhost, or give it keys: artesian serve --keys",
        )  # fmt: skip
    if method not in HARMLESS and (site := _site(headers)) not in OURS:
        return Problem(
            403, "Asked by another site's page", f"this service has no keys, and the request came from {cut(site, MOST_ECHO)}",
            "/problems/other-site", remedy="use the page at /, or give the service keys: artesian serve --keys",
        )  # fmt: skip
    return None


def _site(headers: Headers) -> str:
    """Which site's page has the browser ask, in the words of Sec-Fetch-Site; from one that does not say so, by the Origin."""
    if told := headers.get("sec-fetch-site"):
        return told
    scheme, _, place = headers.get("origin", "").partition("://")
    return "none" if not scheme or place == headers.get("host") else "cross-site"


def _name(url: str) -> str:
    """The host of a URL without its port; empty where it has none that can be read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
