"""Every exception becomes a problem as RFC 9457 has it, with a remedy and without what is none of the caller's business."""

from __future__ import annotations

import copy
import json
import logging
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import httpx2
import pytest
from fastapi import FastAPI, Header
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from serving.problems import MOST_ECHO, MOST_ERRORS, MOST_TEXT, Problem, cut, install, pointer
from synth.errors import ReleaseError, UserError

JSON = {"content-type": "application/json"}
INCIDENT = "00000000-0000-4000-8000-000000000000"


class Shares(BaseModel):
    model_config = ConfigDict(extra="forbid")

    column: str
    shares: dict[str, float] = {}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: int = Field(ge=0, le=1_000)
    where: list[str] | None = None
    balance: str | Shares | None = None
    format: Literal["csv", "json"] = "json"

    @field_validator("where")
    @classmethod
    def _clauses(cls, where: list[str] | None) -> list[str] | None:
        for clause in where or ():
            if "=" not in clause:
                raise UserError(f"{clause!r} is no condition: write COLUMN=VALUE")
        return where


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = FastAPI()
    install(app, incident=lambda: INCIDENT)

    @app.post("/sample")
    def sample(body: Body) -> int:
        return body.rows

    @app.get("/rows/{first}")
    def rows(first: int, key: Annotated[int, Header()] = 0) -> int:
        return first + key

    @app.get("/fails/{how}")
    def fails(how: str) -> None:
        raise FAILURES[how]

    @app.get("/stream")
    def stream() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            yield b"1"
            raise OSError("s3cr3t")

        return StreamingResponse(parts())

    with TestClient(app, raise_server_exceptions=False) as found:
        yield found


FAILURES: dict[str, Exception] = {
    "user": UserError("--balance 'town': there is no column 'town'. Did you mean 'city'?"),
    "long": UserError("x" * 100_000 + "; write something else"),
    "busy": Problem(
        429, "Too many requests", "10 requests a minute are let in", "/problems/quota",
        remedy="wait 7 seconds", headers={"Retry-After": "7"}, more={"limit": 10},
    ),
    "large": HTTPException(413),
    "secret": HTTPException(401, "there is no such key", {"WWW-Authenticate": "Bearer"}),
    "unexpected": RuntimeError("the password is s3cr3t"),
    "release": ReleaseError("/srv/s3cr3t/adult: manifest.json: altered"),
}  # fmt: skip


def checked(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The answer's members, which are those of RFC 9457 (appendix A) and ours."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    members = json.loads(answer.content, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert members["status"] == status
    assert members["type"] == "about:blank" or re.fullmatch(r"/problems/[a-z-]+", members["type"])
    for name in ("title", "detail"):
        assert members[name] and len(members[name]) <= MOST_TEXT
    for name in ("field", "remedy", "instance"):
        assert isinstance(members.get(name, ""), str)
    for error in members.get("errors", ()):
        assert set(error) == {"in", "field", "detail", "remedy"} and all(isinstance(v, str) for v in error.values())
    assert "s3cr3t" not in answer.text and "Traceback" not in answer.text
    return members


def test_a_problem_is_answered_as_it_was_raised(client: TestClient) -> None:
    answer = client.get("/fails/busy")
    assert checked(answer, 429) == {
        "type": "/problems/quota", "title": "Too many requests", "status": 429,
        "detail": "10 requests a minute are let in", "remedy": "wait 7 seconds", "limit": 10,
    }  # fmt: skip
    assert answer.headers["retry-after"] == "7"


def test_an_address_that_is_none(client: TestClient) -> None:
    found = checked(client.get("/nowhere"), 404)
    assert found["type"] == "about:blank" and found["title"] == "Not Found"
    assert found["detail"] == "there is nothing at /nowhere"
    found = checked(client.get("/" + "x" * 5_000), 404)
    assert len(found["detail"]) < 2 * MOST_ECHO


def test_a_method_that_is_none(client: TestClient) -> None:
    answer = client.get("/sample")
    found = checked(answer, 405)
    assert answer.headers["allow"] == "POST"
    assert found["detail"] == "/sample does not take GET" and found["remedy"] == "use POST"


def test_other_statuses_keep_their_headers(client: TestClient) -> None:
    assert checked(client.get("/fails/large"), 413)["title"]
    answer = client.get("/fails/secret")
    assert checked(answer, 401)["detail"] == "there is no such key"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_what_the_user_asked_for_is_told_in_the_words_of_the_request(client: TestClient) -> None:
    found = checked(client.get("/fails/user"), 422)
    assert found["detail"] == "balance 'town': there is no column 'town'. Did you mean 'city'?"
    assert found["field"] == "/balance"
    assert checked(client.get("/fails/long"), 422)["detail"].endswith("; write something else")


@pytest.mark.parametrize("how", ["unexpected", "release"])
def test_what_was_not_foreseen_stays_in_the_log(client: TestClient, how: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "serving.problems"):
        found = checked(client.get(f"/fails/{how}?token=hunter2"), 500)
    assert found["instance"] == f"urn:uuid:{INCIDENT}" and INCIDENT in found["detail"]
    [record] = [r for r in caplog.records if r.name == "serving.problems"]
    assert INCIDENT in record.getMessage() and f"GET '/fails/{how}'" in record.getMessage()
    assert "s3cr3t" in caplog.text and "hunter2" not in caplog.text


def test_what_fails_on_the_way_is_cut_off_and_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "serving.problems"):
        assert client.get("/stream").content in (b"", b"1")
    assert f"incident {INCIDENT}" in caplog.text


def test_a_caller_writes_no_lines_into_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    install(app)

    @app.get("/{name}")
    def fails(name: str) -> None:
        raise RuntimeError

    with TestClient(app, raise_server_exceptions=False) as other, caplog.at_level(logging.ERROR):
        first, second = (checked(other.get("/a%0d%0aERROR%20all%20is%20lost"), 500)["instance"] for _ in range(2))
    assert first != second
    assert all("\n" not in r.getMessage() for r in caplog.records if r.name == "serving.problems")


@pytest.mark.parametrize(
    ("body", "field", "detail", "remedy"),
    [
        ({}, "/rows", "Field required", "add it"),
        ({"rows": "many"}, "/rows", 'here stands "many"', "correct the value"),
        ({"rows": 2_000}, "/rows", "less than or equal to 1000; here stands 2000", "correct the value"),
        ({"rows": None}, "/rows", "here stands null", "correct the value"),
        ({"rows": 1, "rwos/~": 2}, "/rwos~1~0", "Extra inputs are not permitted", "leave it out"),
        ({"rows": 1, "where": ["a=1", 2]}, "/where/1", "here stands 2", "correct the value"),
        ({"rows": 1, "where": ["age"]}, "/where", "'age' is no condition: write COLUMN=VALUE", "correct the value"),
        ({"rows": 1, "format": "cvs"}, "/format", "'csv' or 'json'; here stands \"cvs\"", "correct the value"),
        ({"rows": "\ud800"}, "/rows", 'here stands "?"', "correct the value"),
        ([], "", "", "send one JSON object"),
    ],
)
def test_what_is_wrong_with_a_request_is_pointed_at(
    client: TestClient, body: Any, field: str, detail: str, remedy: str
) -> None:
    found = checked(client.post("/sample", content=json.dumps(body), headers=JSON), 422)
    [error] = found["errors"]
    assert found["type"] == "/problems/invalid-request" and error["in"] == "body"
    assert error["field"] == found["field"] == field
    assert detail in error["detail"] and error["detail"] in found["detail"]
    assert error["remedy"].startswith(remedy)


def test_alternatives_point_into_the_request_alone(client: TestClient) -> None:
    body = {"rows": -1, "balance": {"column": 3, "shares": {"A": "half"}}}
    found = checked(client.post("/sample", json=body), 422)
    fields = [error["field"] for error in found["errors"]]
    assert fields == ["/rows", "/balance", "/balance/column", "/balance/shares/A"]
    assert found["detail"].startswith("body /rows: ") and found["detail"].endswith("; and 3 more")
    found = checked(client.post("/sample", json={"rows": 1, "balance": {}}), 422)
    assert "/balance/column" in [error["field"] for error in found["errors"]]


@pytest.mark.parametrize("content", [b"", b"{", b'{"rows": 1,}', b"1", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object(client: TestClient, content: bytes) -> None:
    answer = client.post("/sample", content=content, headers=JSON)
    found = checked(answer, 400 if content[:1] == b"\xff" or len(content) > 1_000 else 422)
    assert answer.status_code == 400 or found["remedy"].startswith("send one JSON object")
    assert content not in (b"{", b'{"rows": 1,}') or "is not JSON at character" in found["detail"]


def test_json_that_does_not_say_so(client: TestClient) -> None:
    found = checked(client.post("/sample", content=b'{"rows": 1}', headers={"content-type": "text/plain"}), 422)
    assert found["field"] == "" and "Content-Type: application/json" in found["remedy"]


def test_parameters_are_named_and_headers_not_repeated(client: TestClient) -> None:
    found = checked(client.get("/rows/first"), 422)
    assert (found["errors"][0]["in"], found["field"]) == ("path", "/first") and '"first"' in found["detail"]
    found = checked(client.get("/rows/1", headers={"key": "s3cr3t"}), 422)
    assert (found["errors"][0]["in"], found["field"]) == ("header", "/key")


def test_a_long_request_has_a_short_answer(client: TestClient) -> None:
    answer = client.post("/sample", json={"rows": "x" * 100_000, "where": [0] * 10_000})
    found = checked(answer, 422)
    assert len(found["errors"]) == MOST_ERRORS and len(answer.content) < 20_000
    assert found["detail"].endswith(f"; and 10,000 more, of which {MOST_ERRORS - 1} are listed")
    long = {"k" * 50_000: 1}
    assert len(client.post("/sample", json={"rows": 1} | long).content) < 5_000


@given(st.text(), st.integers(3, 100))
def test_cut_text_is_short_and_has_both_ends(text: str, most: int) -> None:
    found = cut(text, most)
    assert len(found) <= most
    assert found == text if len(text) <= most else found[0] == text[0] and found[-1] == text[-1]


@given(st.lists(st.text(max_size=5) | st.integers(0, 9)))
def test_a_pointer_has_one_reading(steps: list[str | int]) -> None:
    read = [s.replace("~1", "/").replace("~0", "~") for s in pointer(steps).split("/")[1:]]
    assert read == [str(step) for step in steps]


def test_a_copy_is_the_same_problem() -> None:
    first = FAILURES["busy"]
    assert isinstance(first, Problem)
    second = copy.copy(first)
    assert second.response().body == first.response().body and second.headers == first.headers
    assert str(second) == "10 requests a minute are let in; wait 7 seconds"
