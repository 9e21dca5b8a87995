"""What was sent is looked at in its turn, once; who asks is told what is known, and the end saves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from serving import watcher as watcher_module
from serving.stream import Drawn, Piece
from serving.watcher import Watcher
from synth import release as releases
from synth.sampling import BLOCK, SMALL, Sampler

Make = Callable[..., Watcher]


@pytest.fixture(scope="module")
def sampler(steady_sampler: Sampler) -> Sampler:
    return steady_sampler


@pytest.fixture
def make(steady: Path, others: Path, tmp_path: Path) -> Make:
    """A watcher of ``people@1`` and ``others@1``, and of what else there is to be."""
    ids = {place: releases.load(str(place)).manifest.id for place in (steady, others)}

    def make(folder: Path = tmp_path / "state", any_signer: bool = True, **more: tuple[str, str]) -> Watcher:
        known = {"people@1": (ids[steady], str(steady)), "others@1": (ids[others], str(others))}
        return Watcher(
            known | {name.replace("_", "@"): told for name, told in more.items()}, str(folder), any_signer=any_signer
        )

    return make


def sent(sampler: Sampler, first: int, rows: int = BLOCK, seed: int = 7) -> tuple[Piece, Drawn]:
    batch = pa.Table.from_batches(sampler.batches(rows, seed=seed, first=first)).combine_chunks().to_batches()[0]
    return Piece(seed, first, rows, ""), Drawn(batch, 1.0, None)


def blocks(sampler: Sampler, count: int, seed: int = 7) -> Iterator[tuple[Piece, Drawn]]:
    return (sent(sampler, k * BLOCK, seed=seed) for k in range(count))


def run(watcher: Watcher, test: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return await test()

    return asyncio.run(main())


def test_what_was_sent_is_looked_at_and_an_alarm_is_told_until_it_is_heard(make: Make, sampler: Sampler) -> None:
    watcher = make()

    async def test() -> None:
        for piece, drawn in blocks(sampler, 6):
            await watcher.see("people@1", piece, drawn)
            await watcher.see("others@1", piece, drawn)  # whose rows these are not
        reports, alarms = await watcher.report()
        assert {name: report.rows for name, report in reports.items()} == {"people@1": 6 * BLOCK, "others@1": 6 * BLOCK}
        assert alarms and {version for version, _ in alarms.values()} == {"others@1"}
        assert all(alarm.changes for _, alarm in alarms.values())
        assert (await watcher.report())[1] == alarms
        first = next(iter(alarms))
        assert (await watcher.report({first}))[1].keys() == alarms.keys() - {first}
        assert (await watcher.report(alarms.keys()))[1] == {}

    run(watcher, test)


def test_rows_that_are_asked_for_again_say_nothing_new(make: Make, sampler: Sampler) -> None:
    watcher = make()

    async def test() -> None:
        for _ in range(5):
            for piece, drawn in blocks(sampler, 2):
                await watcher.see("people@1", piece, drawn)
            await watcher.see("people@1", *sent(sampler, SMALL, 2 * SMALL))
        reports, alarms = await watcher.report()
        assert reports["people@1"].rows == 2 * BLOCK and alarms == {}

    run(watcher, test)


def test_what_comes_too_fast_is_passed_over_and_counted(
    make: Make, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "WAITING", 2)
    watcher = make()

    async def test() -> None:
        await asyncio.gather(*(watcher.see("people@1", *one) for one in blocks(sampler, 5)))
        report = (await watcher.report())[0]["people@1"]
        assert (report.rows, report.skipped) == (2 * BLOCK, 3 * BLOCK) and watcher.waiting == 0
        await watcher.see("people@1", *sent(sampler, 9 * BLOCK))
        assert (await watcher.report())[0]["people@1"].rows == 3 * BLOCK

    run(watcher, test)


def test_a_version_is_watched_anew(make: Make, sampler: Sampler) -> None:
    watcher = make()

    async def test() -> None:
        await watcher.see("people@1", *sent(sampler, 0))
        before = (await watcher.report())[0]["people@1"].log_e_value
        await watcher.anew("people@1")
        after = (await watcher.report())[0]["people@1"].log_e_value
        assert after == float("-inf") < before
        await watcher.anew("others@1")  # of which nothing was sent

    run(watcher, test)
    [again, other] = sorted(path.name for path in watcher.folder.glob("monitor-*"))
    assert again != other


def test_at_its_end_it_saves_what_it_knows(make: Make, sampler: Sampler) -> None:
    watcher = make()
    run(watcher, lambda: watcher.see("people@1", *sent(sampler, 0)))
    before = run(watcher, watcher.report)[0]["people@1"]
    watcher.__del__()  # as Serve calls it
    again = make()
    monitor = again._monitor("people@1")
    assert monitor is not None and monitor.report().log_e_value == before.log_e_value and monitor.seen == BLOCK


def test_it_saves_now_and_then(make: Make, sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = make()
    run(watcher, lambda: watcher.see("people@1", *sent(sampler, 0)))
    assert list(watcher.folder.glob("monitor-*")) == []
    monkeypatch.setattr(watcher_module, "SAVE_S", 0.0)
    run(watcher, lambda: watcher.see("people@1", *sent(sampler, BLOCK)))
    assert len(list(watcher.folder.glob("monitor-*"))) == 1


def test_what_cannot_be_watched_is_said_and_stops_nothing(
    make: Make, sampler: Sampler, steady: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = make(gone_1=("0" * 64, str(steady.parent / "nowhere")), changed_1=("1" * 64, str(steady)))

    async def test() -> None:
        for name in ("gone@1", "changed@1", "people@1", "gone@1"):
            await watcher.see(name, *sent(sampler, 0))
        await watcher.see("gone@1", *sent(sampler, BLOCK))
        await watcher.anew("gone@1")
        assert (await watcher.report())[0].keys() == {"people@1"}

    run(watcher, test)
    assert caplog.text.count("gone@1: is not watched") == 1 and "changed@1: is not watched" in caplog.text


def test_versions_of_one_release_are_watched_as_one(make: Make, sampler: Sampler, others: Path) -> None:
    id = releases.load(str(others)).manifest.id
    watcher = make(others_2=(id, str(others)))

    async def test() -> None:
        for piece, drawn in blocks(sampler, 6):
            await watcher.see("others@1", piece, drawn)
            await watcher.see("others@2", piece, drawn)  # the same rows
        reports, alarms = await watcher.report()
        assert reports["others@1"] == reports["others@2"] and reports["others@1"].rows == 6 * BLOCK
        assert {version for version, _ in alarms.values()} == {"others@1", "others@2"}

    run(watcher, test)


def test_rows_that_were_looked_at_before_a_restart_say_nothing_after_it(make: Make, sampler: Sampler) -> None:
    watcher = make()
    run(watcher, lambda: watcher.see("people@1", *sent(sampler, 0)))
    watcher.__del__()
    again = make()
    run(again, lambda: again.see("people@1", *sent(sampler, 0)))
    run(again, lambda: again.see("people@1", *sent(sampler, BLOCK)))
    assert run(again, again.report)[0]["people@1"].rows == 2 * BLOCK


def test_rows_to_compare_with_are_taken_from_those_who_are_trusted_alone(
    make: Make, sampler: Sampler, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = make(any_signer=False)  # each test has another key of its own
    run(watcher, lambda: watcher.see("people@1", *sent(sampler, 0)))
    assert run(watcher, watcher.report)[0] == {} and "is signed by an unknown key" in caplog.text
