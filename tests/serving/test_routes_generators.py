"""What is served is shown as far as a key reaches, and changed by those who may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.monitor.monitor import Report
from serving.monitor.trends import Trend
from serving.monitor.watch import Alarm, Change
from tests.serving.service import Service, key

Serve = Callable[..., Service]


def get(service: Service, path: str, token: str | None = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = service.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(service: Service, token: str | None = None) -> dict[str, tuple[list[int], list[str]]]:
    found = get(service, "/v1/generators", token)["generators"]
    return {g["name"]: ([v["version"] for v in g["versions"]], list(g["aliases"])) for g in found}


def test_all_is_shown_to_who_may_draw_all(serve: Serve) -> None:
    service = serve()
    assert shown(service) == {"people": ([1, 2], ["production"]), "others": ([1], ["production"])}
    [people, _] = get(service, "/v1/generators")["generators"]
    first, shelf = people["versions"][0], service.desk.shelves["people@1"]
    assert first == {
        "version": 1, "release": shelf.manifest.id, "signer": shelf.signer, "created": shelf.manifest.created.isoformat(),
        "depth": 1, "real_fraction": 1.0, "qualities": ["best"], "healthy": True, "alarm": None, "trends": {},
    }  # fmt: skip
    assert people["aliases"] == {"production": {"1": 1.0}}


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (["*"], {"people": ([1, 2], ["production", "trial"]), "others": ([1], ["production"])}),
        (["people"], {"people": ([1, 2], ["production", "trial"])}),
        (["people@2"], {"people": ([2], [])}),
        (["people:production"], {"people": ([1], ["production"])}),
        (["people:trial", "others@1"], {"people": ([1, 2], ["trial"]), "others": ([1], [])}),
        (["nobody"], {}),
    ],
)
def test_a_key_is_shown_what_it_reaches_and_no_more(
    serve: Serve, tmp_path: Path, lists: list[str], expected: dict[str, Any]
) -> None:
    token = key(tmp_path / "keys.yaml", generators=lists)
    service = serve(keys=str(tmp_path / "keys.yaml"))
    service.desk.assign(None, "people", "trial", {1: 1, 2: 1})
    assert shown(service, token) == expected
    for full in [name for name in lists if name.startswith("people")]:
        found = get(service, f"/v1/generators/{full}", token)
        assert ([v["version"] for v in found["versions"]], list(found["aliases"])) == expected["people"]


def test_the_details_of_a_version_are_its_own(serve: Serve) -> None:
    service = serve()
    for name, number in (("people", 1), ("people:production", 1), ("people@2", 2)):
        found, shelf = get(service, f"/v1/generators/{name}"), service.desk.shelves[f"people@{number}"]
        assert (found["version"], found["lineage"]["id"]) == (number, shelf.manifest.id)
        assert [c["name"] for c in found["schema"]["columns"]] == ["age", "city", "pay", "member"]
        assert found["certificate"] is None and found["lineage"]["parents"] == []


def test_a_version_is_promoted_tried_out_and_rolled_back(serve: Serve) -> None:
    service, place = serve(), "/v1/generators/people/aliases/production"

    def served() -> set[str]:
        return {service.draw(n=1, seed=seed).headers["artesian-release"] for seed in range(8)}

    one, two = (service.desk.shelves[f"people@{k}"].manifest.id for k in (1, 2))
    assert served() == {one}
    assert service.client.put(place, json={"shares": {"1": 3, "2": 1}}).json() == {
        "alias": "people:production", "shares": {"1": 0.75, "2": 0.25},
    }  # fmt: skip
    assert served() == {one, two}
    assert service.client.put(place, json={"shares": {"2": 1}}).status_code == 200
    assert served() == {two}
    assert service.client.post(f"{place}/rollback").json()["shares"] == {"1": 0.75, "2": 0.25}
    assert service.client.post(f"{place}/rollback").json()["shares"] == {"1": 1.0}
    answer = service.client.post(f"{place}/rollback")
    assert answer.status_code == 404 and "nothing to go back to" in answer.json()["detail"]
    events = [line["event"] for line in service.audit if line["event"] != "sample"]
    assert events == ["assign", "assign", "roll back", "roll back"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"shares": {"9": 1}}, "there is no version 9; there are 1, 2"), ({"shares": {"1": 0}}, "one of them above 0"),
        ({"shares": {"1": -1, "2": 2}}, "must be 0 or more"), ({"shares": {}}, "at least 1 item"),
        ({"shares": {"01": 1}}, "pattern"), ({"shares": {"new": 1}}, "pattern"), ({"shares": {"1": "1"}}, "valid number"),
        ({"shares": {"1": True}}, "valid number"), ({"share": {"1": 1}}, "Field required"), ({"shares": 1}, "dictionary"),
        ({"shares": {str(k): 1 for k in range(1, 102)}}, "at most 100"),
    ],
    ids=str,
)  # fmt: skip
def test_shares_that_cannot_be_change_nothing(serve: Serve, body: Any, detail: str) -> None:
    service = serve()
    answer = service.client.put("/v1/generators/people/aliases/production", json=body)
    assert answer.status_code == 422 and detail in answer.json()["detail"], answer.json()
    assert service.desk.catalogue.aliases["people"] == {"production": {1: 1.0}} and not service.audit


@pytest.mark.parametrize(
    ("name", "alias", "status"), [("nobody", "a", 404), ("people@1", "a", 422), ("people", "A", 422)]
)
def test_aliases_of_nothing_and_of_versions_are_refused(serve: Serve, name: str, alias: str, status: int) -> None:
    answer = serve().client.put(f"/v1/generators/{name}/aliases/{alias}", json={"shares": {"1": 1}})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_an_alarm_is_shown_and_acknowledged(serve: Serve) -> None:
    service = serve()
    service.draw(n=5)
    service.desk.watched("people@1", Report(5, 0, 0.1, 1.0, {"coverage": Trend(0.5, 1.0, 0.1)}))
    service.desk.raise_alarm("people@1", Alarm("kinds", 4_000, 20.0, [Change("city = Oslo", 0.0, 0.3)]))
    [version, _] = get(service, "/v1/generators/people")["versions"]
    assert not version["healthy"] and version["alarm"]["changes"] == [
        "city = Oslo: 0.00% of the rows, certified 30.00%"
    ]
    assert version["trends"]["coverage"] == {"value": 0.5, "baseline": 1.0, "deviation": 0.1, "ratio": 0.5}
    answer = service.client.post("/v1/generators/people@1/acknowledge")
    assert answer.status_code == 200 and answer.json()["healthy"] and answer.json()["alarm"] is None
    assert service.backend.watched == []  # the monitor begins anew
    assert [line["event"] for line in service.audit][-2:] == ["alarm", "acknowledge"]
    assert service.client.post("/v1/generators/people/acknowledge").status_code == 404


def test_under_the_policy_to_fall_back_the_details_are_of_what_is_served(serve: Serve) -> None:
    service = serve(policy="fallback")
    service.desk.assign(None, "people", "production", {2: 1})
    service.desk.raise_alarm("people@2", Alarm("kinds", 4_000, 20.0))
    assert get(service, "/v1/generators/people")["version"] == 1
    assert service.draw().headers["artesian-release"] == service.desk.shelves["people@1"].manifest.id
    assert service.draw("people@2").status_code == 503
