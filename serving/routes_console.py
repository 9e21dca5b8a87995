"""The console: a page at ``/`` that draws and watches by the service's own interface, with what any caller may.

It is plain files beside this one, without a build. Its headers have the browser load nothing from elsewhere, run nothing
that stands in the page, and make no HTML of text; so a category that looks like markup is text, whatever the scripts do.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

PAGE = "index.html"
KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:",
    "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, and asked for anew by its ETag: after an update no page is half old
}

router = APIRouter(include_in_schema=False)


def _read(folder: Path) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Each file by its name: what is in it, and the headers that go with it."""
    files = {}
    for path in (path for path in folder.iterdir() if path.suffix in KINDS):  # an editor may keep others beside them
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        files[path.name] = content, HEADERS | {"Content-Type": f"{KINDS[path.suffix]}; charset=utf-8", "ETag": tag}
    return files


FILES = _read(Path(__file__).with_name("console"))


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The page."""
    return _file(PAGE, request)


@router.api_route("/console/{name}", methods=["GET", "HEAD"])
async def asset(request: Request, name: str) -> Response:
    """What the page is made of. The page itself is at ``/`` alone, from where its links are meant."""
    if name not in FILES or name == PAGE:
        raise HTTPException(404)
    return _file(name, request)


def _file(name: str, request: Request) -> Response:
    content, headers = FILES[name]
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(None, 304, headers)
    return Response(content, headers=headers)
