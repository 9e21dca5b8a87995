"""Files that a browser is sent: with what it may do with them, and told apart by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from fastapi import HTTPException, Request
from starlette.responses import Response

KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Nothing is loaded from elsewhere, nothing runs that stands in the page, and no other page shows this one in a frame.
STRICT = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:",
    "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
}  # fmt: skip
COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, and asked for anew by its ETag: after an update no page is half old
}

Files = Mapping[str, tuple[bytes, dict[str, str]]]
"""Of each file's name what is in it, and the headers that go with it."""


def read(paths: Iterable[Path], policy: Mapping[str, str]) -> Files:
    """The files of those paths that a browser knows what to do with; ``policy`` is their Content-Security-Policy."""
    common = COMMON | {"Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in policy.items())}
    files = {}
    for path in (path for path in paths if path.suffix in KINDS):  # an editor may keep others beside them
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        files[path.name] = content, common | {"Content-Type": f"{KINDS[path.suffix]}; charset=utf-8", "ETag": tag}
    return files


def answer(files: Files, name: str, request: Request) -> Response:
    """A file, or that the browser has it already. HTTPException 404 where there is none of this name."""
    if name not in files:
        raise HTTPException(404)
    content, headers = files[name]
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(None, 304, headers)
    return Response(content, headers=headers)
