"""The pages: the console at ``/``, which draws and watches by the service's own interface with what any caller may, and at
``/docs`` that interface, to be read and tried.

Both are plain files without a build. The console's headers have the browser make no HTML of text; so a category that looks
like markup is text, whatever the scripts do. Swagger UI, which styles its elements itself, shows nothing but the document.
"""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving import static

PAGE, DOCS = "index.html", "docs.html"
SWAGGER = Path(fastapi_offline.__file__).parent / "static"
HERE = Path(__file__).parent

FILES = static.read((HERE / "console").iterdir(), static.STRICT | {"require-trusted-types-for": "'script'"})
DOCS_FILES = static.read(
    [*(HERE / "docs").iterdir(), SWAGGER / "swagger-ui-bundle.js", SWAGGER / "swagger-ui.css"],
    static.STRICT | {"style-src": "'self' 'unsafe-inline'"},
)

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The console."""
    return static.answer(FILES, PAGE, request)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """The OpenAPI document as a page."""
    return static.answer(DOCS_FILES, DOCS, request)


# The pages themselves are at their own places alone, from where their links are meant.
@router.api_route("/console/{name}", methods=["GET", "HEAD"])
async def console_file(request: Request, name: str) -> Response:
    """What the console is made of."""
    return static.answer(FILES, "" if name == PAGE else name, request)


@router.api_route("/docs/{name}", methods=["GET", "HEAD"])
async def docs_file(request: Request, name: str) -> Response:
    """What the page of the document is made of."""
    return static.answer(DOCS_FILES, "" if name == DOCS else name, request)
