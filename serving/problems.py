"""What the service answers where it cannot do what was asked: problem details (RFC 9457) that name the value, the place
and the remedy.

A problem with a page of its own has a type ``/problems/…``, which does not change; one that says no more than its status
is ``about:blank``, as the RFC has it. What the caller wrote is given back only in part, and what failed inside stays in the
log, under the incident that the answer names.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from synth.errors import ReleaseError, UserError

MEDIA_TYPE = "application/problem+json"
MOST_TEXT = 1_000  # characters of a text that the caller's may be part of
MOST_ECHO = 80  # characters of a value that is given back
MOST_ERRORS = 100  # that are listed: a short request can hold very many
_QUIET = {"missing", "extra_forbidden", "json_invalid", "value_error"}  # the value is not there, or named already
_REMEDIES = {
    "missing": "add it",
    "extra_forbidden": "leave it out, or correct its name",
}
_WHOLE = "send one JSON object, in UTF-8 and with Content-Type: application/json"
# What the sampler's messages call by the names of the command's flags.
_FLAG = re.compile(r"--(where|balance|rare|boost)\b")

logger = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that is a problem.

    ``type`` is a relative URI that stays the same; ``field`` points at what is wrong in the request (a JSON pointer, RFC
    6901); ``remedy`` says what to do; ``headers`` go with the answer; ``more`` are further members of it.
    """

    def __init__(
        self, status: int, title: str, detail: str, type: str, field: str | None = None, remedy: str | None = None,
        headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        # All of them, in their order: so a copy, which is how another process gets it, is made of the same.
        super().__init__(status, title, detail, type, field, remedy, headers, more)
        assert 400 <= status < 600 and (type == "about:blank" or type.startswith("/problems/"))
        self.status, self.title, self.detail, self.type = status, title, detail, type
        self.field, self.remedy = field, remedy
        self.headers = {} if headers is None else dict(headers)
        self.more = {} if more is None else dict(more)

    def __str__(self) -> str:
        return self.detail if self.remedy is None else f"{self.detail}; {self.remedy}"

    def response(self) -> Response:
        members: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": cut(self.detail),
        }
        members |= {} if self.field is None else {"field": cut(self.field)}
        members |= {} if self.remedy is None else {"remedy": cut(self.remedy)}
        content = json.dumps(members | self.more, allow_nan=False).encode("ascii")
        return Response(content, self.status, self.headers, MEDIA_TYPE)


def install(app: Starlette, *, incident: Callable[[], str] = lambda: str(uuid.uuid4())) -> None:
    """Have ``app`` answer every exception with a problem; ``incident`` draws the UUID of one that was not foreseen."""

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return _of_status(error, request).response()
        return problem(error, f"{request.method} {cut(request.url.path, MOST_ECHO)!r}", incident).response()

    for kind in (Problem, RequestValidationError, HTTPException, UserError, Exception):
        app.add_exception_handler(kind, answer)


def problem(error: Exception, called: str, incident: Callable[[], str] = lambda: str(uuid.uuid4())) -> Problem:
    """The problem that an exception is for the caller; logs one that is no fault of the caller's, and what was ``called``."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, UserError) and not isinstance(error, ReleaseError):  # releases are the service's own
        return _impossible(error)
    name = incident()
    logger.error("incident %s: %s", name, called, exc_info=error)
    return Problem(
        500, "The service failed", f"this is no fault of the request; the service's log has it as incident {name}",
        "/problems/internal", remedy="try again; if it stays, tell the service's operator the incident",
        more={"instance": f"urn:uuid:{name}"},
    )  # fmt: skip


def cut(text: str, most: int = MOST_TEXT) -> str:
    """Text of at most so many characters, without lone surrogates: of longer text, the beginning and the end, where the
    remedy stands."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    end = most // 3
    return text if len(text) <= most else f"{text[: most - end - 1]}…{text[-end:]}"


def pointer(steps: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _invalid(error: RequestValidationError) -> Problem:
    """What is wrong with the shape of a request: the first of it, and all of it under ``errors``."""
    found = error.errors()
    errors = [_one(e, error.body) for e in found[:MOST_ERRORS]]
    first, place = errors[0], f"{errors[0]['in']} {errors[0]['field']}".rstrip()
    detail = f"{place}: {first['detail']}" + (f"; and {len(found) - 1:,} more" if len(found) > 1 else "")
    detail += f", of which {MOST_ERRORS - 1} are listed" if len(found) > MOST_ERRORS else ""
    return Problem(
        422, "The request is not valid", detail, "/problems/invalid-request", first["field"], first["remedy"],
        more={"errors": errors},
    )  # fmt: skip


def _one(error: Mapping[str, Any], body: Any) -> dict[str, str]:
    """One of pydantic's errors: which part of the request it is ``in``, the ``field`` there, ``detail`` and ``remedy``."""
    kind, (part, *location) = error["type"], error["loc"]
    detail = error["msg"].removeprefix("Value error, ")
    if kind == "json_invalid":
        detail, location = f"is not JSON at character {location[0]}: {error['ctx']['error']}", []
    elif part == "body":
        location = _steps(location, body, missing=kind == "missing")
    # Headers and cookies are where secrets are.
    if kind not in _QUIET and part not in ("header", "cookie") and isinstance(error["input"], str | int | float | None):
        detail += f"; here stands {cut(json.dumps(error['input'], ensure_ascii=False), MOST_ECHO)}"
    remedy = _REMEDIES.get(kind, "correct the value") if part != "body" or location else _WHOLE
    return {"in": str(part), "field": cut(pointer(location)), "detail": cut(detail), "remedy": remedy}


def _steps(location: Sequence[str | int], body: Any, *, missing: bool) -> list[str | int]:
    """The steps of a location that lead through the body: others name an alternative that pydantic tried."""
    steps: list[str | int] = []
    at = body
    for number, step in enumerate(location, start=1):
        inside = range(len(at)) if isinstance(at, list) else at if isinstance(at, dict) else ()
        if step in inside:
            at = at[step]
            steps.append(step)
        elif missing and number == len(location):
            steps.append(step)
    return steps


def _of_status(error: HTTPException, request: Request) -> Problem:
    title = http.client.responses.get(error.status_code, "Error")
    path, detail, remedy = cut(request.url.path, MOST_ECHO), str(error.detail), None
    if error.status_code == 404 and detail == title:
        detail, remedy = f"there is nothing at {path}", "correct the address"
    if error.status_code == 405 and detail == title:
        detail = f"{path} does not take {cut(request.method, MOST_ECHO)}"
        remedy = f"use {error.headers['Allow']}" if error.headers is not None and "Allow" in error.headers else None
    return Problem(error.status_code, title, detail, "about:blank", remedy=remedy, headers=error.headers)


def _impossible(error: UserError) -> Problem:
    """What was asked for cannot be done; the message holds its remedy."""
    flag = _FLAG.match(str(error))
    part = error.part if flag is None else flag[1]
    field = None if part is None else pointer([part])
    return Problem(
        422, "What was asked for cannot be done", _FLAG.sub(r"\1", str(error)), "/problems/impossible", field
    )
