"""A service without keys, and what pages of other sites can have a browser send it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.service import Service, key

Serve = Callable[..., Service]


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.0.0.9:80", "[::1]:8000", "LOCALHOST"])
def test_it_answers_to_the_names_of_this_machine(serve: Serve, host: str) -> None:
    assert serve().client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "10.0.0.1", "[", "", "[::1", "a b"],
)
def test_a_name_that_somebody_has_stand_for_this_machine_is_not_its_own(serve: Serve, host: str) -> None:
    answer = serve().client.get("/v1/generators", headers={"host": host})
    assert (answer.status_code, answer.json()["type"]) == (421, "/problems/other-host")
    assert "people" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"},
        {"origin": "null"}, {"origin": "http://127.0.0.1:9999"}, {"origin": "http://["}, {"origin": "127.0.0.1"},
    ],
)  # fmt: skip
def test_another_site_s_page_has_nothing_drawn_or_changed(serve: Serve, headers: dict[str, str]) -> None:
    service = serve()
    for method, path, body in (
        ("POST", "/v1/generators/people/samples", {"n": 1}),
        ("PUT", "/v1/generators/people/aliases/production", {"shares": {"1": 1}}),
    ):
        answer = service.client.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/other-site"), path
    assert not service.audit and not service.backend.drawn


@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1"}, {"origin": "http://127.0.0.1"}]
)  # fmt: skip
def test_programs_and_its_own_page_draw(serve: Serve, headers: dict[str, str]) -> None:
    assert serve().client.post("/v1/generators/people/samples", json={"n": 1}, headers=headers).status_code == 200


def test_with_keys_no_page_can_know_one_and_the_name_is_the_proxy_s(serve: Serve, tmp_path: Path) -> None:
    token = key(tmp_path / "keys.yaml")
    client = serve(keys=str(tmp_path / "keys.yaml")).client
    headers = {"host": "samples.example", "authorization": f"Bearer {token}"}
    assert client.get("/v1/generators", headers=headers).status_code == 200
