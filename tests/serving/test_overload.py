"""More callers than there is room for: some are told when to come again, the others are served, and all of it is counted."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.admission import PER_REPLICA
from synth.sampling import BLOCK, SMALL, TOGETHER
from tests.serving.service import Caller, Service, key

Serve = Callable[..., Service]
SAMPLES = "/v1/generators/people/samples"


@pytest.mark.parametrize(
    ("rows", "at_once", "room"),
    [
        (2 * BLOCK, False, PER_REPLICA),
        (SMALL, False, PER_REPLICA),
        (2 * BLOCK, True, PER_REPLICA),
        (SMALL, True, PER_REPLICA * TOGETHER),
    ],
)
@pytest.mark.parametrize("replicas", [1, 3])
def test_of_callers_at_once_as_many_are_let_in_as_there_is_room_for(
    serve: Serve, tmp_path: Path, rows: int, at_once: bool, room: int, replicas: int
) -> None:
    token = key(tmp_path / "keys.yaml", rows_per_day=10**9, requests_per_minute=10**6)

    async def main() -> tuple[Service, list[Caller]]:
        service = serve(keys=str(tmp_path / "keys.yaml"))
        service.desk.replicas(replicas, replicas)
        for shelf in service.desk.shelves.values():
            shelf.at_once = at_once
        service.backend.at_once = at_once
        service.backend.slow = 0.02
        headers = [(b"authorization", f"Bearer {token}".encode())]
        callers = [
            Caller(service.app, SAMPLES, {"n": rows, "seed": k, "format": "ndjson"}, headers=headers)
            for k in range(room * replicas + 7)
        ]
        await asyncio.gather(*(caller.task for caller in callers))
        return service, callers

    service, callers = asyncio.run(main())
    assert Counter(caller.status for caller in callers) == {200: room * replicas, 503: 7}
    for caller in callers:
        if caller.status == 200:
            assert caller.whole and len(caller.content.splitlines()) == rows
        else:
            assert caller.headers["content-type"] == "application/problem+json"
            assert int(caller.headers["retry-after"]) >= 1
            assert json.loads(caller.content)["type"] == "/problems/busy"
    assert service.desk.keys is not None and service.idle
    [one] = service.desk.keys.current().keys
    left = service.desk.quotas.left(one, service.desk.now())
    assert abs(left["rows"] - (10**9 - room * replicas * rows)) < 10**5  # what comes in meanwhile
    assert len(service.audit) == room * replicas
    assert 'artesian_shed_total{reason="overload"} 7.0' in service.desk.metrics.render()[0].decode()


def test_slow_readers_keep_nobody_out(serve: Serve) -> None:
    async def main() -> None:
        service = serve()
        slow = []
        for k in range(5 * PER_REPLICA):
            slow.append(Caller(service.app, SAMPLES, {"n": 50 * BLOCK, "seed": k, "format": "ndjson"}))
            await slow[-1].sent(1)
            slow[-1].reading.clear()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        drawn = service.backend.drawn
        for k in range(5):
            caller = Caller(service.app, SAMPLES, {"n": 10, "seed": k, "format": "ndjson"})
            await caller.task
            assert caller.status == 200 and len(caller.content.splitlines()) == 10
        assert service.backend.drawn - drawn == 50  # and nothing for those who don't read
        for caller in slow:
            caller.hang_up()
        await asyncio.gather(*(caller.task for caller in slow))
        assert service.idle

    asyncio.run(main())


def test_one_who_reads_as_fast_as_he_can_keeps_nobody_out(serve: Serve) -> None:
    async def main() -> None:
        service = serve()
        service.backend.slow = 0.005
        fast = Caller(service.app, SAMPLES, {"n": 500_000, "format": "ndjson"})
        await fast.sent(1)
        for k in range(5):
            caller = Caller(service.app, SAMPLES, {"n": 10, "seed": k, "format": "ndjson"})
            await caller.task
            assert caller.status == 200
        assert not fast.task.done()
        fast.hang_up()
        await fast.task
        assert service.idle

    asyncio.run(main())


def test_a_service_that_is_stopped_by_its_monitor_says_so(serve: Serve) -> None:
    from serving.monitor.watch import Alarm

    service = serve(policy="stop")
    service.desk.raise_alarm("people@1", Alarm("kinds", 1_000, 20.0))
    for answer in (service.draw(), service.client.post("/v1/jobs", json={"generator": "people", "n": 10})):
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unhealthy")
        assert int(answer.headers["retry-after"]) >= 60
    assert service.draw("people@2").status_code == service.draw("others").status_code == 200
    assert service.client.get("/v1/generators/people").json()["versions"][0]["healthy"] is False


def test_who_has_used_up_his_quota_is_told_when_to_come_again(serve: Serve, tmp_path: Path) -> None:
    token = key(tmp_path / "keys.yaml", rows_per_day=8_640, requests_per_minute=3)
    service = serve(keys=str(tmp_path / "keys.yaml"))
    assert service.draw(token=token, n=8_600).status_code == 200
    answer = service.draw(token=token, n=50)
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/quota")
    assert 80 <= int(answer.headers["retry-after"]) <= 101
    assert service.draw(token=token, n=10_000).status_code == 429
    statuses = [service.draw(token=token, n=1).status_code for _ in range(3)]
    assert statuses == [200, 200, 429] and service.idle
    left = service.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).json()["left"]
    assert left["requests"] == 0 and 30 <= left["rows"] <= 50


def test_who_gets_no_rows_in_time_is_told_so_and_it_is_the_services_fault(serve: Serve) -> None:
    service = serve(limits={"first_s": 0.1})
    service.backend.slow = 5.0
    answer = service.draw()
    assert (answer.status_code, answer.json()["title"]) == (503, "No rows yet")
    assert int(answer.headers["retry-after"]) >= 1 and service.idle
    assert [line["code"] for line in service.audit] == [503]
    told = service.desk.metrics.render()[0].decode()
    assert 'artesian_shed_total{reason="late"} 1.0' in told
    assert 'artesian_requests_total{code="503",release="people@1"} 1.0' in told
