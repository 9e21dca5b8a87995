"""Nothing that is let in is lost count of; what must survive a restart does; an alarm has the consequences that were chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.admission import Admission, OverloadError
from serving.catalogue import UnknownError
from serving.desk import SAVE_S, STATE, Desk, UnhealthyError
from serving.grant import Grant
from serving.keys import Key, Keys
from serving.monitor.monitor import Report
from serving.monitor.trends import Trend
from serving.monitor.watch import Alarm, Change
from serving.quota import Exceeded
from serving.settings import Settings
from synth.errors import UserError

NOW = 1_800_000_000.0
ALARM = Alarm("kinds", 4_000, 20.0, [Change("city = Oslo", 0.0, 0.3)])
Open = Callable[..., Desk]


def a_key(**limits: Any) -> Key:
    keys, _ = Keys(keys=()).add(name="Ana", generators=["*"], now=datetime.fromtimestamp(NOW, UTC), **limits)
    return keys.keys[0]


def file_of(path: Path, *keys: Key) -> str:
    Keys(keys=keys).save(path)
    return str(path)


@pytest.fixture
def desk(people: Path, others: Path, tmp_path: Path) -> Open:
    """``desk(**settings)``: of ``people`` in three versions; all in one test have the same state."""

    def desk(
        *, clock: Callable[[], float] = lambda: 0.0, now: Callable[[], float] = lambda: NOW, **settings: Any
    ) -> Desk:
        versions = {1: str(people), 2: str(others), 3: str(people)}
        told = {"generators": {"people": {"versions": versions}}, "state": str(tmp_path / "state"), "any_signer": True}
        return Desk(Settings.check(told | settings, where="the test"), clock=clock, now=now)

    return desk


@pytest.fixture(scope="module")
def lasting(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    told = {"generators": {"people": {"versions": {1: str(people)}}}, "state": str(tmp_path_factory.mktemp("state"))}
    return Desk(Settings.check(told | {"any_signer": True}, where="the test"), now=lambda: NOW, clock=lambda: 0.0)


GRANT = st.tuples(st.just("grant"), st.integers(1, 3_000))
SENT = st.tuples(st.just("sent"), st.floats(0, 1))
DONE = st.tuples(st.just("done"), st.sampled_from([200, 408, 422, 499, 500]))


@given(st.lists(st.one_of(GRANT, SENT, DONE), max_size=40), st.randoms(use_true_random=False))
def test_whatever_becomes_of_answers_nothing_is_lost_count_of(
    lasting: Desk, steps: list[tuple[str, Any]], random: Any
) -> None:
    lasting.admission = Admission()
    limit, spent, granted = 10_000, 0, 0
    key, open = a_key(rows_per_day=limit, requests_per_minute=20), list[Grant]()
    for step, value in steps:
        if step == "grant":
            lasting.admission.turns = float(random.choice([0, 0, 0, 5]))  # now and then there is no room
            try:
                open.append(lasting.grant(key, "people", 0, 0, value))
                granted += 1
            except (OverloadError, Exceeded):
                pass
        elif open:
            one = random.choice(open)
            if step == "sent":
                rows = int(value * (one.rows - one.sent))
                lasting.sent(one, rows)
                spent += rows
            else:
                lasting.done(one, value)
                open.remove(one)
        assert lasting.admission.queued_rows == sum(one.rows - one.sent for one in open)
    for one in open:
        lasting.done(one, 499)
    lasting.admission.turns = 0.0
    assert lasting.admission.queued_rows == 0
    assert lasting.quotas.left(key, NOW) == {"requests": 20 - granted, "rows": limit - spent}


def test_what_was_sent_is_written_down_enough_to_draw_it_again(desk: Open, people: Path) -> None:
    made, key = desk(), a_key()
    grant = made.grant(key, "people@1", 7, 100, 50, {"asked": {"where": "age>30"}, "format": "csv"})
    made.sent(grant, 20)
    begun = json.loads(made.audit.path.read_text())  # before a row leaves: the service may be killed then
    made.done(grant, 499)
    line = json.loads(made.audit.path.read_text().splitlines()[1])
    told = {
        "answer": grant.id, "key": key.id, "release": made.shelves["people@1"].manifest.id, "version": "people@1", "seed": 7,
        "first": 100, "rows": 50, "asked": {"where": "age>30"}, "format": "csv",
    }  # fmt: skip
    assert begun.pop("at") and begun == {"event": "grant", **told}
    assert line.pop("at") and line == {"event": "sample", **told, "sent": 20, "code": 499}


def test_what_cannot_be_written_down_is_not_let_in_and_costs_nothing(
    desk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, key = desk(), a_key(rows_per_day=100)

    def full(facts: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(made.audit, "write", full)
    for _ in range(5):
        with pytest.raises(OSError, match="No space"):
            made.grant(key, "people@1", 7, 0, 50)
    assert made.quotas.left(key, NOW)["rows"] == 100
    assert (made.under_way, made.admission.queued_rows, made.admission.turns) == (0, 0, 0)


def test_an_unknown_name_costs_nothing(desk: Open) -> None:
    made, key = desk(), a_key(rows_per_day=100, requests_per_minute=1)
    with pytest.raises(UnknownError):
        made.grant(key, "nobody", 0, 0, 10)
    assert made.quotas.left(key, NOW) == {"requests": 1, "rows": 100} and made.admission.queued_rows == 0


def test_on_an_alarm_the_policy_to_warn_serves_on(desk: Open) -> None:
    made = desk(policy="warn")
    made.raise_alarm("people@3", ALARM)
    shelf = made.grant(None, "people", 0, 0, 10).shelf
    assert str(shelf.version) == "people@3" and not shelf.healthy
    assert shelf.alarm == {
        "at": NOW, "detector": "kinds", "rows": 4_000,
        "changes": ["city = Oslo: 0.00% of the rows, certified 30.00%"],
    }  # fmt: skip
    first, lines = dict(shelf.alarm), len(made.audit.path.read_text().splitlines())
    made.raise_alarm("people@3", Alarm("alike", 64, 15.0))
    made.raise_alarm("people@9", ALARM)  # of a watcher that knows a version which is no longer served
    assert shelf.alarm == first and len(made.audit.path.read_text().splitlines()) == lines


def test_on_an_alarm_the_policy_to_stop_stops_this_version_alone(desk: Open) -> None:
    made, key = desk(policy="stop"), a_key(requests_per_minute=2)
    made.raise_alarm("people@3", ALARM)
    for wanted in ("people", "people:production", "people@3"):
        with pytest.raises(UnhealthyError, match="people@3: its samples are no longer what was certified"):
            made.grant(key, wanted, 0, 0, 10)
    assert made.grant(key, "people@2", 0, 0, 10).shelf.healthy
    made.acknowledge(None, "people@3")
    assert made.grant(key, "people", 0, 0, 10).shelf.healthy
    assert made.find("people", 0).healthy


def test_on_an_alarm_the_policy_to_fall_back_serves_the_last_sound_version(desk: Open) -> None:
    made = desk(policy="fallback")

    def served(wanted: str = "people") -> str:
        return str(made.grant(None, wanted, 0, 0, 10).shelf.version)

    made.raise_alarm("people@3", ALARM)
    assert served() == "people@2"
    made.raise_alarm("people@2", ALARM)  # on which the other had fallen back
    assert served() == "people@1"
    for pinned in ("people@3", "people@2"):  # who names a version gets that one or none
        with pytest.raises(UnhealthyError):
            served(pinned)
    made.acknowledge(None, "people@2")
    assert served() == "people@2"
    made.raise_alarm("people@2", ALARM)
    made.raise_alarm("people@1", ALARM)
    with pytest.raises(UnhealthyError):  # there is nothing to fall back on
        served()
    made.acknowledge(None, "people@3")
    assert served() == "people@3"


def test_only_a_version_is_acknowledged(desk: Open) -> None:
    made = desk()
    for wanted in ("people", "people:production", "people@9"):
        with pytest.raises(UnknownError, match="name a version; there are people@1, people@2, people@3"):
            made.acknowledge(None, wanted)


def test_aliases_alarms_and_quotas_survive_a_restart(desk: Open, tmp_path: Path) -> None:
    key = a_key(rows_per_day=100, requests_per_minute=10)
    made = desk(keys=file_of(tmp_path / "keys.yaml", key))
    made.assign(key, "people", "production", {1: 1})
    made.raise_alarm("people@1", ALARM)
    grant = made.grant(key, "people", 0, 0, 60)
    made.sent(grant, 60)
    made.done(grant, 200)
    made.close()
    again = desk(keys=str(tmp_path / "keys.yaml"))
    assert again.find("people", 0) is again.shelves["people@1"] and not again.shelves["people@1"].healthy
    assert again.quotas.left(key, NOW) == {"requests": 9, "rows": 40}
    assert again.roll_back(key, "people", "production") == {3: 1.0}
    assert [line.get("event") for line in map(json.loads, again.audit.path.read_text().splitlines())] == [
        "assign", "alarm", "grant", "sample", "roll back",
    ]  # fmt: skip


def test_a_crash_gives_back_little_of_what_was_spent(desk: Open) -> None:
    time = [0.0]
    key, made = a_key(rows_per_day=100), desk(clock=lambda: time[0])
    for _ in range(3):
        grant = made.grant(key, "people", 0, 0, 10)
        made.sent(grant, 10)
        made.done(grant, 200)
        time[0] += 0.6 * SAVE_S
    assert desk().quotas.left(key, NOW) == {"rows": 70}


def test_an_alarm_of_another_release_is_forgotten(desk: Open, others: Path) -> None:
    made = desk()
    made.raise_alarm("people@1", ALARM)
    made.raise_alarm("people@2", ALARM)
    made.close()
    again = desk(generators={"people": {"versions": {1: str(others), 2: str(others)}}})
    assert again.shelves["people@1"].healthy and not again.shelves["people@2"].healthy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"catalogue": 1}',
        '{"catalogue": {"assigned": {}, "past": {}}, "quotas": {"a": 1}}',
        "\xff",
    ],
)
def test_a_damaged_state_is_named_with_a_remedy(desk: Open, tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / STATE).write_bytes(text.encode("latin-1"))
    with pytest.raises(
        UserError, match=f"{STATE}: is no state of a service .*; restore it from a copy, or move it away"
    ):
        desk()


def test_what_the_monitor_knows_reaches_the_metrics_once(desk: Open) -> None:
    made = desk()

    def metric(name: str) -> float:
        lines = made.metrics.render()[0].decode().splitlines()
        [line] = [line for line in lines if line.startswith(f"artesian_{name}{{") and 'release="people@1"' in line]
        return float(line.rpartition(" ")[2])

    trends = {"coverage": Trend(0.9, 1.0, 0.1)}
    for rows, skipped in ((1_000, 0), (3_000, 500), (100, 0)):  # the last of a watcher that began anew
        made.watched("people@1", Report(rows, skipped, rows / 1e3, 1.0, trends))
    assert metric("monitor_rows_total") == 2_000 and metric("monitor_skipped_rows_total") == 500
    assert metric("diversity_ratio") == 0.9 and metric("healthy") == 1
    made.raise_alarm("people@1", ALARM)
    assert metric("healthy") == 0


def test_a_job_s_rows_are_charged_and_written_down(desk: Open) -> None:
    made, key = desk(), a_key(rows_per_day=100)
    shelf = made.sound("people@2", 3)
    made.charge(key, shelf, 3, 90, {"where": "age>30"})
    with pytest.raises(Exceeded):
        made.charge(key, shelf, 3, 20, {})
    [line] = [json.loads(line) for line in made.audit.path.read_text().splitlines()]
    assert (line["event"], line["key"], line["version"], line["seed"], line["rows"]) == (
        "job",
        key.id,
        "people@2",
        3,
        90,
    )
