"""Who has no key, or not this one, gets nothing, and learns nothing by trying."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving import key_file
from serving.access import Caller
from serving.key_file import edit
from serving.keys import Key
from tests.serving.service import Service, key

Serve = Callable[..., Service]
OPEN = [("GET", "/healthz"), ("GET", "/-/healthz"), ("GET", "/readyz"), ("GET", "/openapi.json")]
CLOSED = [
    ("GET", "/v1/generators"), ("GET", "/v1/generators/people"), ("POST", "/v1/generators/people/samples"),
    ("PUT", "/v1/generators/people/aliases/beta"), ("POST", "/v1/generators/people/aliases/beta/rollback"),
    ("POST", "/v1/generators/people@1/acknowledge"), ("GET", "/v1/jobs"), ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/0123456789abcdef"), ("DELETE", "/v1/jobs/0123456789abcdef"),
    ("POST", "/v1/jobs/0123456789abcdef/resume"), ("GET", "/v1/jobs/0123456789abcdef/parts"),
    ("GET", "/v1/jobs/0123456789abcdef/parts/part-000000.parquet"), ("GET", "/metrics"), ("GET", "/v1/me"),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def service(serve: Serve, file: Path) -> Service:
    key(file, name="first")
    return serve(keys=str(file))


def ask(service: Service, method: str, path: str, token: str | None = None, body: Any = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return service.client.request(method, path, headers=headers, json=body if method in ("POST", "PUT") else None)


def refused(answer: Any, detail: str = "") -> bool:
    told = answer.json()
    assert (answer.status_code, told["type"]) == (401, "/problems/unauthorised"), told
    assert answer.headers["www-authenticate"] == 'Bearer realm="artesian"' and told["remedy"]
    assert detail in told["detail"], told
    return True


def test_every_way_in_is_known_here(service: Service) -> None:
    paths = service.app.openapi()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == {
        (method, path.replace("people@1", "{name}").replace("people", "{name}").replace("beta", "{alias}")
         .replace("0123456789abcdef", "{id}").replace("part-000000.parquet", "{name}"))
        for method, path in [*CLOSED, *OPEN] if path not in ("/-/healthz", "/openapi.json")
    }  # fmt: skip


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_without_a_key_nothing_is_open_but_whether_it_lives(service: Service, method: str, path: str) -> None:
    assert refused(ask(service, method, path, body={"n": 1}), "no key came with the request")
    assert refused(ask(service, method, path, f"art_{'a' * 12}_{'A' * 43}", body={"n": 1}), "the key is not known here")
    assert all(ask(service, *one).status_code == 200 for one in OPEN)
    assert service.idle and not service.audit and not service.desk.quotas.buckets


@pytest.mark.parametrize(
    "value",
    [
        b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"Bearer x", b"bearer\tx", b"Bearer " + b"a" * 50_000, "Bearer ä".encode(),
        b"Bearer \xff\xfe", b"Bearer art_aaaaaaaaaaaa_", b"Digest x=y, Bearer x",
    ],
)  # fmt: skip
def test_odd_headers_open_nothing(service: Service, value: bytes) -> None:
    answer = service.client.get("/v1/me", headers=[(b"authorization", value)])
    assert refused(answer)
    assert len(answer.text) < 1_000 and "aaaa" not in answer.text


def test_of_two_authorization_headers_neither_is_taken(service: Service, file: Path) -> None:
    token = key(file).encode()
    later(service)
    good = (b"authorization", b"Bearer " + token)
    assert service.client.get("/v1/me", headers=[good]).status_code == 200
    for other in (good, (b"Authorization", b"Bearer x")):
        for headers in ([good, other], [other, good]):
            assert refused(service.client.get("/v1/me", headers=headers), "more than one Authorization header")


def test_the_scheme_s_case_and_blanks_around_the_token_do_not_matter(service: Service, file: Path) -> None:
    token = key(file)
    later(service)
    for value in (f"bearer {token}", f"BEARER  {token} "):
        assert service.client.get("/v1/me", headers={"authorization": value}).status_code == 200


def later(service: Service) -> None:
    """The service looks at its keys again at once, and not in a second."""
    assert service.desk.keys is not None
    service.desk.keys._looked -= 2 * key_file.LOOK_S


def test_keys_are_added_and_revoked_while_it_runs(service: Service, file: Path) -> None:
    token = key(file, name="late")
    later(service)
    assert ask(service, "GET", "/v1/me", token).json() == {
        "name": "late", "generators": ["*"], "admin": False, "left": {},
    }  # fmt: skip
    now = datetime.now(UTC)
    edit(file, lambda keys: (keys.revoke(token[4:16], now=now), None))
    later(service)
    assert refused(ask(service, "GET", "/v1/me", token), f"the key was revoked on {now:%Y-%m-%d %H:%M:%S} UTC")
    file.write_text("keys: [")  # a typing error locks nobody out, and lets nobody in
    os.utime(file, (1, 1))
    later(service)
    assert refused(ask(service, "GET", "/v1/me", token), "was revoked")


def test_that_the_keys_file_cannot_be_read_is_told_until_it_can(service: Service, file: Path) -> None:
    token = key(file, name="watcher")

    def stale() -> float:
        later(service)
        text = ask(service, "GET", "/metrics", token).text
        return float(re.search(r"^artesian_keys_stale (\S+)$", text, re.MULTILINE)[1])

    assert stale() == 0
    whole = file.read_text()
    file.write_text("keys: [")
    assert stale() == 1
    file.write_text(whole)
    assert stale() == 0


def test_a_key_expires(serve: Serve, file: Path) -> None:
    token = key(file, expires=datetime.now(UTC) + timedelta(seconds=30))
    service = serve(keys=str(file))
    assert service.draw(token=token).status_code == 200
    service.desk.now = lambda: datetime.now(UTC).timestamp() + 31
    assert refused(service.draw(token=token), "the key expired on")


@pytest.mark.parametrize(
    ("lists", "opens"),
    [
        (["*"], {"people", "people@1", "people@2", "people:production", "others"}),
        (["people"], {"people", "people@1", "people@2", "people:production"}),
        (["people@1"], {"people@1"}),
        (["people:production"], {"people", "people:production"}),
        (["people@2", "others@1"], {"people@2"}),
        (["nobody"], set()),
    ],
)
def test_a_key_opens_what_it_lists(serve: Serve, file: Path, lists: list[str], opens: set[str]) -> None:
    token = key(file, generators=lists)
    service = serve(keys=str(file))
    for name in ("people", "people@1", "people@2", "people:production", "others", "unknown"):
        for answer in (
            service.draw(name, token=token),
            ask(service, "GET", f"/v1/generators/{name}", token),
            ask(service, "POST", "/v1/jobs", token, {"generator": name, "n": 5, "first": 1}),  # which no job takes
        ):
            if name in opens:
                assert answer.status_code in (200, 422)
            elif lists == ["*"] and name == "unknown":
                assert answer.status_code in (404, 422)
            else:  # the same for what there is and what there is not
                assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-yours")
                assert f"does not reach {name}" in answer.json()["detail"]


def test_only_an_admin_changes_what_is_served(serve: Serve, file: Path, tmp_path: Path) -> None:
    plain, admin = key(file), key(file, admin=True)
    service = serve(keys=str(file))
    changes = [
        ("PUT", "/v1/generators/people/aliases/beta", {"shares": {"2": 1}}),
        ("POST", "/v1/generators/people/aliases/beta/rollback", None),
        ("POST", "/v1/generators/people@1/acknowledge", None),
        ("POST", "/v1/jobs", {"generator": "people", "n": 5, "out": str(tmp_path / "out")}),
    ]
    for method, path, body in changes:
        answer = ask(service, method, path, plain, body)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-yours"), path
    assert not service.audit and list(service.desk.catalogue.aliases["people"]) == ["production"]
    assert [ask(service, *change[:2], admin, change[2]).status_code for change in changes[:3]] == [200, 404, 200]
    assert service.audit[0]["key"] == admin[4:16]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/generators/..%2f..%2fetc", "/v1/generators/%2e%2e", "/v1/generators/people%00", "/v1/generators/people%0a",
        "/v1/generators/" + "a" * 5_000, "/v1/generators/people@1@2", "/v1/generators/people:a:b", "/v1/generators/%ff",
        "/v1/generators/PEOPLE", "/v1/generators/people@-1", "/v1/generators/people@" + "9" * 400, "/v1/jobs/../desk",
        "/v1/jobs/..%2f..%2fdesk", "/v1/jobs/" + "0" * 17, "/v1/jobs/0123456789ABCDEF", "/v1/jobs/0123456789abcdef.json",
    ],
)  # fmt: skip
def test_names_and_ids_are_no_paths(serve: Serve, path: str) -> None:
    answer = serve().client.get(path)
    assert answer.status_code in (404, 422) and answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 3_000


def test_where_there_are_no_keys_everybody_may_do_everything(serve: Serve) -> None:
    service = serve()
    assert service.client.get("/v1/me").json() == {"name": None, "generators": ["*"], "admin": True, "left": {}}
    caller = Caller(None)
    caller.must("people")
    caller.must_rule("people")
    caller.must_rule("*")


def test_a_plain_name_is_the_default_alias(file: Path) -> None:
    def may(lists: list[str], name: str) -> bool:
        now = datetime.now(UTC)
        return Caller(Key(id="a" * 12, name="A", hash="0" * 64, generators=tuple(lists), created=now)).may(name)

    assert may(["people:production"], "people") and not may(["people:beta"], "people")
    assert not may(["people:production"], "people@1") and not may(["people@1"], "people")


def test_no_token_is_in_anything_that_is_kept_or_said(serve: Serve, file: Path, tmp_path: Path) -> None:
    token = key(file, admin=True, rows_per_day=1_000)
    service = serve(keys=str(file))
    secret = token.rpartition("_")[2]
    said = [
        service.draw(token=token).text, service.draw("nobody", token=token).text, service.draw(token=f"{token}x").text,
        ask(service, "GET", "/v1/me", token).text, ask(service, "GET", "/metrics", token).text, repr(service.desk.keys),
    ]  # fmt: skip
    service.desk.close()
    said += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(said) >= 9 and not any(secret in text for text in said)
