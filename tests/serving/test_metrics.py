"""What Prometheus is told: bounded labels, one series a release, and none of what is gone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from serving.metrics import Metrics
from serving.monitor.trends import MEANING, Trend
from serving.monitor.watch import WEIGHTS

OPENMETRICS = "application/openmetrics-text"
PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"

Series = tuple[str, frozenset[tuple[str, str]]]

EVENTS: dict[str, Callable[[Metrics, str], None]] = {
    "rows_sent": lambda m, release: m.rows_sent(release, 7),
    "request_done": lambda m, release: m.request_done(release, 206, 0.3),
    "first_row_sent": lambda m, release: m.first_row_sent(release, 0.02),
    "batch_sampled": lambda m, release: m.batch_sampled(release, 300, 0.5),
    "rows_watched": lambda m, release: m.rows_watched(release, 5, 0.1),
    "rows_skipped": lambda m, release: m.rows_skipped(release, 2),
    "alarm_raised": lambda m, release: m.alarm_raised(release, "kinds"),
    "health_changed": lambda m, release: m.health_changed(release, False),
    "evidence_changed": lambda m, release: m.evidence_changed(release, 2.0, 1e5),
    "diversity_measured": lambda m, release: m.diversity_measured(release, dict.fromkeys(MEANING, Trend(3, 4, 1))),
}
STATES = ["health_changed", "evidence_changed", "diversity_measured"]


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics("1.2.3", "2.60.0")
    metrics.add_release("adult@1")
    return metrics


def samples(metrics: Metrics, accept: str | None = None) -> dict[Series, float]:
    """Every series and its value, as prometheus_client's own parsers read them; each only once."""
    body, kind = metrics.render(accept)
    parse = openmetrics if kind.startswith(OPENMETRICS) else parser
    found = [s for f in parse.text_string_to_metric_families(body.decode()) for s in f.samples]
    series = {(s.name, frozenset(s.labels.items())): float(s.value) for s in found}
    assert len(series) == len(found)
    return series


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((f"artesian_{name}", frozenset(labels.items())))


def test_counters_count(metrics: Metrics) -> None:
    metrics.rows_sent("adult@1", 10)
    metrics.rows_sent("adult@1", 0)
    metrics.rows_sent("adult@1", 5)
    assert value(metrics, "samples_total", release="adult@1") == 15
    for code, seconds in ((200, 0.2), (200, 40), (503, 0.001)):
        metrics.request_done("adult@1", code, seconds)
    assert value(metrics, "requests_total", release="adult@1", code="200") == 2
    assert value(metrics, "requests_total", release="adult@1", code="503") == 1
    assert value(metrics, "request_duration_seconds_count", release="adult@1") == 3
    assert value(metrics, "request_duration_seconds_sum", release="adult@1") == pytest.approx(40.201)
    assert value(metrics, "request_duration_seconds_bucket", release="adult@1", le="0.25") == 2
    metrics.first_row_sent("adult@1", 0.03)
    assert value(metrics, "first_row_seconds_bucket", release="adult@1", le="0.05") == 1
    metrics.batch_sampled("adult@1", 256, 1.5)
    assert value(metrics, "batch_rows_bucket", release="adult@1", le="256.0") == 1
    assert value(metrics, "sampling_seconds_total", release="adult@1") == 1.5
    metrics.rows_watched("adult@1", 32, 0.25)
    metrics.rows_skipped("adult@1", 64)
    assert value(metrics, "monitor_rows_total", release="adult@1") == 32
    assert value(metrics, "monitor_seconds_total", release="adult@1") == 0.25
    assert value(metrics, "monitor_skipped_rows_total", release="adult@1") == 64


def test_the_service_s_own_state(metrics: Metrics) -> None:
    metrics.queue_changed(1_000)
    metrics.queue_changed(0)
    metrics.replicas_changed(running=2, target=3)
    metrics.request_shed("overload")
    metrics.quota_refused("rows")
    assert value(metrics, "queued_rows") == 0
    assert value(metrics, "replicas", state="running") == 2
    assert value(metrics, "replicas", state="target") == 3
    assert value(metrics, "shed_total", reason="overload") == 1
    assert value(metrics, "shed_total", reason="unhealthy") == value(metrics, "shed_total", reason="connections") == 0
    assert value(metrics, "quota_refused_total", kind="rows") == 1
    assert value(metrics, "build_info", version="1.2.3", ray="2.60.0") == 1


def test_an_alarm_makes_a_release_unhealthy_until_it_is_well_again(metrics: Metrics) -> None:
    metrics.evidence_changed("adult@1", float("-inf"), 1e5)
    assert value(metrics, "alarm_e_value", release="adult@1") == 0
    metrics.evidence_changed("adult@1", 5_000.0, 1e5)  # further than a float goes
    assert value(metrics, "alarm_threshold", release="adult@1") == 1e5
    assert 1e300 < (value(metrics, "alarm_e_value", release="adult@1") or 0) < float("inf")
    metrics.alarm_raised("adult@1", "kinds")
    assert value(metrics, "healthy", release="adult@1") == 0
    assert value(metrics, "alarms_total", release="adult@1", detector="kinds") == 1
    metrics.add_release("adult@1")  # served already: nothing is forgotten
    assert value(metrics, "healthy", release="adult@1") == 0
    metrics.health_changed("adult@1", True)
    assert value(metrics, "healthy", release="adult@1") == 1


def test_diversity_beside_its_baseline(metrics: Metrics) -> None:
    metrics.diversity_measured("adult@1", {"coverage": Trend(0.6, 0.8, 0.01), "extremes": Trend(0.1, 0.0, 0.0)})
    metrics.diversity_measured("adult@1", {})  # too few rows as yet: what was is kept
    of = {"release": "adult@1", "figure": "coverage"}
    assert value(metrics, "diversity_ratio", **of) == pytest.approx(0.75)
    assert value(metrics, "diversity_value", **of) == 0.6
    assert value(metrics, "diversity_baseline", **of) == 0.8
    assert value(metrics, "diversity_ratio", release="adult@1", figure="extremes") == 1


def test_what_rises_is_there_before_it_rises(metrics: Metrics) -> None:
    assert value(metrics, "requests_total", release="adult@1", code="500") == 0
    for detector in WEIGHTS:
        assert value(metrics, "alarms_total", release="adult@1", detector=detector) == 0
    assert value(metrics, "healthy", release="adult@1") == 1


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_not_served_is_other(metrics: Metrics, event: str) -> None:
    """Counted under one label; and of what is not there, nothing is shown as its state."""
    before = samples(metrics)
    for k in range(3):
        EVENTS[event](metrics, f"stranger{k}@9")
    new = {series: v for series, v in samples(metrics).items() if before.get(series) != v}
    assert {dict(labels)["release"] for _, labels in new} == (set() if event in STATES else {"other"})
    assert all(v % 3 == 0 for (name, _), v in new.items() if name.endswith(("_rows_total", "_samples_total", "_count")))


@pytest.mark.parametrize("event", EVENTS)
def test_a_release_that_is_dropped_leaves_no_series(metrics: Metrics, event: str) -> None:
    before = samples(metrics)
    metrics.add_release("adult@2")
    EVENTS[event](metrics, "adult@2")
    assert any(("release", "adult@2") in labels for _, labels in samples(metrics))
    metrics.drop_release("adult@2")
    assert samples(metrics) == before
    EVENTS[event](metrics, "adult@2")  # too late
    assert not any(("release", "adult@2") in labels for _, labels in samples(metrics))
    metrics.add_release("adult@2")  # from the beginning
    assert value(metrics, "healthy", release="adult@2") == 1 and value(metrics, "samples_total", release="adult@2") == 0


def test_each_release_has_the_same_series_and_each_once(metrics: Metrics) -> None:
    releases = ["adult@1", "adult@2", "census@1"]
    for release in releases:
        metrics.add_release(release)
        for event in EVENTS.values():
            event(metrics, release)
    counted = Counter(dict(labels)["release"] for _, labels in samples(metrics) if "release" in dict(labels))
    assert counted.keys() == set(releases) and len(set(counted.values())) == 1


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.text(max_size=20)), max_size=30))
def test_whatever_is_asked_for_labels_are_bounded(events: list[tuple[str, str]]) -> None:
    metrics = Metrics("1", "2")
    metrics.add_release("adult@1")
    for event, release in events:
        EVENTS[event](metrics, release)
    assert {dict(labels).get("release") for _, labels in samples(metrics)} <= {"adult@1", "other", None}


def test_a_name_may_hold_anything(metrics: Metrics) -> None:
    name = 'a"b\\n\n{é}@1'
    metrics.add_release(name)
    assert samples(metrics)["artesian_healthy", frozenset({("release", name)})] == 1
    assert samples(metrics, OPENMETRICS) == samples(metrics)


def test_two_services_in_a_process_don_t_meet(metrics: Metrics) -> None:
    other = Metrics("1.2.3", "2.60.0")
    other.add_release("adult@1")
    other.rows_sent("adult@1", 3)
    assert value(metrics, "samples_total", release="adult@1") == 0


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/plain;version=0.0.4,application/openmetrics-text;q=0.1", "text/plain; version=0.0.4"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0"),
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0"),
        ("Application/OpenMetrics-Text; version=x\r\nfoo: bar", "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_it_is_rendered_as_was_asked(metrics: Metrics, accept: str | None, kind: str) -> None:
    for event in EVENTS.values():
        event(metrics, "adult@1")
    body, found = metrics.render(accept)
    assert found.startswith(kind) and "\n" not in found
    assert body.endswith(b"# EOF\n") == (kind.startswith(OPENMETRICS))
    assert b"_created" not in body
    assert samples(metrics, accept) == samples(metrics)


def test_threads_lose_nothing(metrics: Metrics) -> None:
    def work() -> None:
        for _ in range(500):
            metrics.rows_sent("adult@1", 1)
            metrics.rows_sent("gone@1", 1)

    def churn() -> None:
        for _ in range(200):
            metrics.add_release("gone@1")
            metrics.drop_release("gone@1")

    threads = [threading.Thread(target=t) for t in (work, work, churn)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "samples_total", release="adult@1") == 1_000
    assert not any(("release", "gone@1") in labels for _, labels in samples(metrics))
