"""A monitor knows a healthy release from another one, spends no more than it may, and goes on after a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from serving.monitor.monitor import Monitor
from serving.monitor.supply import FREE, SHARE
from serving.monitor.watch import Alarm
from synth import release as releases
from synth.sampling import BLOCK, Sampler

Make = Callable[..., Monitor]
ASKED = {"": None, '{"where":"age>=40"}': {"where": "age>=40"}, '{"balance":"city"}': {"balance": "city"}}


@pytest.fixture(scope="module")
def sampler(steady_sampler: Sampler) -> Sampler:
    return steady_sampler


@pytest.fixture
def make(steady: Path, sampler: Sampler, tmp_path: Path) -> Make:
    release = releases.load(str(steady))

    def make(folder: Path = tmp_path) -> Monitor:
        return Monitor(sampler, release.manifest.id, folder, release.reference)

    return make


@pytest.fixture(scope="module")
def other(others: Path) -> Sampler:
    return Sampler.from_release(releases.load(str(others)))


def stream(sampler: Sampler, rows: int, *, seed: int = 7, text: str = "") -> Iterator[pa.RecordBatch]:
    words = ASKED[text]
    request = None if words is None else sampler.ask(**words)  # type: ignore[arg-type]
    return sampler.batches(rows, seed=seed, request=request)


def watched(
    monitor: Monitor, batches: Iterator[pa.RecordBatch], text: str = "", sampling_s: float = 10.0
) -> list[Alarm]:
    found = [monitor.see(batch, text, sampling_s) for batch in batches]
    return [alarm for alarm in found if alarm is not None]


@pytest.mark.parametrize(("text", "blocks"), zip(ASKED, (12, 3, 3), strict=True))
def test_a_healthy_stream_raises_nothing(make: Make, sampler: Sampler, text: str, blocks: int) -> None:
    monitor = make()
    assert watched(monitor, stream(sampler, blocks * BLOCK, text=text), text) == []
    report = monitor.report()
    assert (report.rows, report.skipped) == (blocks * BLOCK, 0)
    assert -5 < report.log_e_value < np.log(report.threshold)
    assert bool(report.trends) == (not text)
    assert all(0.7 < trend.ratio < 1.4 for trend in report.trends.values())


@pytest.mark.parametrize("text", ["", '{"balance":"city"}'])
def test_another_release_s_rows_raise_an_alarm(make: Make, other: Sampler, text: str) -> None:
    monitor, batches = make(), stream(other, 6 * BLOCK, text=text)
    alarm = next(found for batch in batches if (found := monitor.see(batch, text, 10.0)) is not None)
    assert alarm.rows <= 6 * BLOCK and (text or alarm.changes)


def test_an_alarm_begins_the_watch_anew(make: Make, sampler: Sampler, other: Sampler) -> None:
    monitor = make()
    batches = stream(other, 12 * BLOCK)
    while monitor.see(next(batches), "", 10.0) is None:
        pass
    assert monitor.watch.rows < 2 * BLOCK
    monitor.reset()
    assert monitor.report().log_e_value == -np.inf
    assert watched(monitor, stream(sampler, 8 * BLOCK)) == []


def test_a_restart_goes_on_from_what_was_known(make: Make, sampler: Sampler) -> None:
    first, last = make(), make()
    assert watched(first, stream(sampler, BLOCK)) == []
    first.save()
    again = make()
    assert (again.seed, again.seen, again.supply.position) == (first.seed, BLOCK, first.supply.position)
    assert (again.budget.earned, again.budget.spent) == (first.budget.earned, first.budget.spent)
    assert again.report().log_e_value == first.report().log_e_value > last.report().log_e_value
    for name, array in first.watch.state().items():
        assert np.array_equal(array, again.watch.state()[name]), name
    assert last.seed != first.seed


@pytest.mark.parametrize("damage", ["cut", "other", "old", "none"])
def test_a_state_that_cannot_be_read_is_named_and_the_watch_goes_on(
    make: Make, sampler: Sampler, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    import safetensors.numpy

    monitor = make()
    watched(monitor, stream(sampler, BLOCK))
    monitor.save()
    content = monitor.path.read_bytes()
    if damage == "cut":
        monitor.path.write_bytes(content[: len(content) // 2])
    elif damage == "other":
        monitor.path.write_bytes(b"nothing of the kind")
    elif damage == "old":
        arrays = safetensors.numpy.load(content)
        arrays["recent"] = arrays["recent"][:-1]
        monitor.path.write_bytes(safetensors.numpy.save(arrays, metadata={"seed": "3"}))
    else:
        monitor.path.write_bytes(safetensors.numpy.save(safetensors.numpy.load(content)))  # without a seed
    again = make()
    assert again.seen == 0 and str(monitor.path) in caplog.text and "watched anew" in caplog.text
    assert watched(again, stream(sampler, BLOCK)) == [] and again.seen == BLOCK
    again.save()
    assert make().seen == BLOCK


def test_time_is_bounded_over_a_long_stream(make: Make, sampler: Sampler) -> None:
    monitor, sampling_s, seen = make(), 0.1, 0
    batches = list(stream(sampler, 4 * BLOCK))
    watched(monitor, (batches[k % 4] for k in range(FREE // BLOCK)), sampling_s=0.0)
    began, earned = time.thread_time(), monitor.budget.earned
    free = monitor.budget.spent
    for k in range(200):
        monitor.see(batches[k % 4], "", sampling_s)
        if k % 20 == 0:
            monitor.report()
        seen += 1
    took = time.thread_time() - began
    most = SHARE * sampling_s * seen
    assert monitor.budget.earned - earned == pytest.approx(most)
    assert (
        took < most + 0.3
    )  # one look may begin with nothing left but a little, and what is skipped costs next to nothing
    assert monitor.skipped > 100 * BLOCK and monitor.seen + monitor.skipped == (200 + FREE // BLOCK) * BLOCK
    assert free < 2.0


def test_to_ask_what_is_known_costs_nothing_while_nothing_is_sent(make: Make, sampler: Sampler) -> None:
    monitor = make()
    watched(monitor, stream(sampler, BLOCK))
    first = monitor.report()
    spent = monitor.budget.spent
    for _ in range(1_000):
        assert monitor.report().trends is first.trends
    assert monitor.budget.spent == spent and first.trends


def test_without_rows_as_they_were_certified_it_draws_its_own(sampler: Sampler, tmp_path: Path, steady: Path) -> None:
    reference = releases.load(str(steady)).reference
    assert reference is not None
    for few in (None, reference.slice(0, 100)):
        monitor = Monitor(sampler, "0" * 64, tmp_path, few)
        assert len(monitor.view.reference) == 8 * BLOCK
        assert watched(monitor, stream(sampler, 2 * BLOCK)) == []
