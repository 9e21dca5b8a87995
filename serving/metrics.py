"""What a service tells Prometheus of itself: traffic, latency, load and, by release, whether its rows are still diverse.

Callers tell events and never touch a metric, so that no label can hold what is not bounded: a release that is not served is
``other``, and keys, addresses and conditions are no labels at all. The rules in ``alerts.yml`` and the pictures in
``dashboard.json`` are written against these names.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from serving.monitor.trends import MEANING, Trend
from serving.monitor.watch import WEIGHTS

OTHER = "other"  # the label of what was asked of a release that is not served
FIRST_SEEN = (200, 500)  # status codes that are there from the start: Prometheus takes no rise from what was absent
LARGEST = 700.0  # a logarithm whose exponential still is a float

Shed = Literal["overload", "late", "unhealthy", "connections"]
Quota = Literal["rows", "requests"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)  # a request may be for millions
FIRST_ROW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_ROWS = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536)

Labelled = TypeVar("Labelled", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one service, in a registry of its own; may be told from several threads.

    ``version`` and ``ray`` are those of Artesian and of Ray.
    """

    def __init__(self, version: str, ray: str) -> None:
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()  # so that a series which was just dropped is not made again by a late event
        self._releases: set[str] = set()
        self._of_releases: list[Counter | Gauge | Histogram] = []

        self._samples = self._counter("samples", "rows sent")
        self._requests = self._counter("requests", "requests done, by HTTP status", "code")
        self._refusals = self._counter("refused_requests", "requests that were not let in, by HTTP status", "code")
        self._seconds = self._histogram(
            "request_duration_seconds", "from a request's arrival to its last byte", SECONDS
        )
        self._first_row = self._histogram("first_row_seconds", "from a request's arrival to its first row", FIRST_ROW)
        self._batch = self._histogram("batch_rows", "rows of a piece that a sampler drew", BATCH_ROWS)
        self._sampling = self._counter("sampling_seconds", "time spent in the sampler")

        self._ratio = self._gauge("diversity_ratio", "a figure over its baseline; about 1 while all is well", "figure")
        self._value = self._gauge("diversity_value", "a figure of the last served rows", "figure")
        self._baseline = self._gauge("diversity_baseline", "the figure of as many certified rows", "figure")
        self._e_value = self._gauge("alarm_e_value", "evidence that rows are not the certified ones")
        self._threshold = self._gauge("alarm_threshold", "the evidence at which the alarm is raised")
        self._alarms = self._counter("alarms", "alarms, by the detector that was surest", "detector")
        self._healthy = self._gauge("healthy", "0 from an alarm until the release is well again")
        self._watched = self._counter("monitor_rows", "rows that the monitor looked at")
        self._skipped = self._counter("monitor_skipped_rows", "rows that the monitor had no time for")
        self._watching = self._counter("monitor_seconds", "time spent in the monitor")

        mine = self._registry
        self._queued = Gauge("artesian_queued_rows", "rows of admitted requests that are not yet sent", registry=mine)
        replicas = Gauge("artesian_replicas", "sampler replicas, by state", ["state"], registry=mine)
        self._running, self._target = replicas.labels("running"), replicas.labels("target")
        shed = Counter("artesian_shed", "requests turned away, by reason", ["reason"], registry=mine)
        self._shed = {reason: shed.labels(reason) for reason in get_args(Shed)}
        refused = Counter("artesian_quota_refused", "requests beyond a key's quota", ["kind"], registry=mine)
        self._refused = {kind: refused.labels(kind) for kind in get_args(Quota)}
        self._stale = Gauge(
            "artesian_keys_stale", "1 while the keys file cannot be read and earlier keys hold", registry=mine
        )
        Info("artesian_build", "versions of what runs", registry=mine).info({"version": version, "ray": ray})

    def add_release(self, release: str) -> None:
        """Serve ``release`` (``name@version``), healthy until told otherwise; nothing happens where it is served already.

        Its counters are there at once, at 0, so that the first error and the first alarm are seen as a rise.
        """
        assert "@" in release, release
        with self._lock:
            if release in self._releases:
                return
            self._releases.add(release)
            for metric in (self._samples, self._sampling, self._watched, self._skipped, self._watching):
                metric.labels(release)
            for histogram in (self._seconds, self._first_row, self._batch):
                histogram.labels(release)
            for code in FIRST_SEEN:
                self._requests.labels(release, code)
            for detector in WEIGHTS:
                self._alarms.labels(release, detector)
            self._healthy.labels(release).set(1)

    def drop_release(self, release: str) -> None:
        """It is served no more, and its series vanish."""
        with self._lock:
            self._releases.discard(release)
            for metric in self._of_releases:
                metric.remove_by_labels({"release": release})

    def rows_sent(self, release: str, rows: int) -> None:
        self._of(self._samples, release).inc(rows)

    def request_done(self, release: str, code: int, seconds: float) -> None:
        """A request was answered with this HTTP status, or turned away, so long after it came."""
        assert 100 <= code <= 599, code
        self._of(self._requests, release, code).inc()
        self._of(self._seconds, release).observe(seconds)

    def request_refused(self, release: str, code: int) -> None:
        """A request was told no before anything was done for it. It is none of those whose errors and durations count."""
        assert 400 <= code <= 599, code
        self._of(self._refusals, release, code).inc()

    def first_row_sent(self, release: str, seconds: float) -> None:
        """So long after the request came."""
        self._of(self._first_row, release).observe(seconds)

    def batch_sampled(self, release: str, rows: int, seconds: float) -> None:
        """One call of the sampler."""
        self._of(self._batch, release).observe(rows)
        self._of(self._sampling, release).inc(seconds)

    def request_shed(self, reason: Shed) -> None:
        self._shed[reason].inc()

    def quota_refused(self, kind: Quota) -> None:
        self._refused[kind].inc()

    def keys_stale(self, stale: bool) -> None:
        """Whether keys hold that are not those of the file, which cannot be read."""
        self._stale.set(stale)

    def queue_changed(self, rows: int) -> None:
        """To so many admitted rows that are not yet sent."""
        self._queued.set(rows)

    def replicas_changed(self, running: int, target: int) -> None:
        self._running.set(running)
        self._target.set(target)

    def rows_watched(self, release: str, rows: int, seconds: float) -> None:
        """By the monitor, which took so long."""
        self._of(self._watched, release).inc(rows)
        self._of(self._watching, release).inc(seconds)

    def rows_skipped(self, release: str, rows: int) -> None:
        """By the monitor, which had no time for them."""
        self._of(self._skipped, release).inc(rows)

    def alarm_raised(self, release: str, detector: str) -> None:
        """``detector`` was the surest (``serving.monitor.watch.WEIGHTS``). The release is unhealthy from now on."""
        assert detector in WEIGHTS, detector
        self._of(self._alarms, release, detector).inc()
        self.health_changed(release, False)

    # What is said of a release that is no longer served is late, and is let go: it is the state of nothing.

    def health_changed(self, release: str, healthy: bool) -> None:
        """As after a restart into an earlier alarm, or when the release is certified anew."""
        with self._lock:
            if release in self._releases:
                self._healthy.labels(release).set(healthy)

    def evidence_changed(self, release: str, log_value: float, threshold: float) -> None:
        """ln of the average e-value, −∞ for none, and the e-value at which the alarm is raised."""
        with self._lock:
            if release in self._releases:
                self._e_value.labels(release).set(math.exp(min(log_value, LARGEST)))
                self._threshold.labels(release).set(threshold)

    def diversity_measured(self, release: str, trends: Mapping[str, Trend]) -> None:
        """The figures of ``serving.monitor.trends.MEANING``; those that are missing keep their last value."""
        assert trends.keys() <= MEANING.keys(), trends.keys()
        with self._lock:
            if release in self._releases:
                for figure, trend in trends.items():
                    self._ratio.labels(release, figure).set(trend.ratio)
                    self._value.labels(release, figure).set(trend.value)
                    self._baseline.labels(release, figure).set(trend.baseline)

    def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """All of it, and its content type: OpenMetrics 1.0 where ``accept``, a request's header, names it before plain text,
        Prometheus's text format 0.0.4 otherwise."""
        for part in (accept or "").lower().split(","):
            media = part.split(";")[0].strip()
            if media == "application/openmetrics-text":
                return openmetrics.generate_latest(_Current(self._registry)), openmetrics.CONTENT_TYPE_LATEST
            if media == "text/plain":
                break
        return generate_latest(_Current(self._registry)), CONTENT_TYPE_PLAIN_0_0_4

    def _of(self, metric: Labelled, release: str, *labels: object) -> Labelled:
        """The series of an event, which is another's where the release is not served."""
        with self._lock:
            return metric.labels(release if release in self._releases else OTHER, *labels)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return self._kept(Counter(f"artesian_{name}", meaning, ["release", *labels], registry=self._registry))

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return self._kept(Gauge(f"artesian_{name}", meaning, ["release", *labels], registry=self._registry))

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        return self._kept(Histogram(f"artesian_{name}", meaning, ["release"], buckets=buckets, registry=self._registry))

    def _kept(self, metric: Labelled) -> Labelled:
        """To be cleared of a release that is dropped."""
        self._of_releases.append(metric)
        return metric


class _Current(Collector):
    """A registry without the time at which each series began, which Prometheus would store as a series of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
