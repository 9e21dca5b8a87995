"""Rows of several callers are drawn together and come out as each alone would get them; what fails, fails for who caused it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest

from serving import replica as replica_module
from serving.replica import Loaded, Replica, Task, drawn
from serving.stream import Drawn, Piece, pieces
from synth import release as releases
from synth.data.source import open_source
from synth.errors import ReleaseError, UserError
from synth.marking import mark_of
from synth.provenance import keys, served
from synth.provenance.recognition import recognise
from synth.provenance.watermark import Mark
from synth.sampling import BLOCK, SMALL, TOGETHER, Sampler

PLACES: dict[str, str] = {}
OVER_40 = '{"where":"age>=40"}'


class Alone(Replica):
    """Without Serve, which holds the releases that were asked for last; all else is as it is there."""

    def __init__(self, marks: Mapping[str, Mark] = MappingProxyType({})) -> None:
        super().__init__(PLACES, marks)
        self.models: dict[str, asyncio.Task[Loaded]] = {}

    async def loaded(self, model: str) -> Loaded:  # type: ignore[override]
        if model not in self.models:
            self.models[model] = asyncio.create_task(Replica.loaded.__wrapped__(self, model))  # type: ignore[attr-defined]
        return await self.models[model]


@pytest.fixture(scope="module")
def model(people: Path) -> str:
    """The release's id, which replicas know the place of."""
    id = releases.load(str(people)).manifest.id
    PLACES[id] = str(people)
    return id


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[Piece]]:
    """The pieces of each call of the sampler."""
    calls = list[list[Piece]]()

    def noted(tasks: list[Task]) -> list[Drawn]:
        calls.append([task.piece for task in tasks])
        return drawn(tasks)

    monkeypatch.setattr(replica_module, "drawn", noted)
    return calls


def run(test: Callable[[Alone], Awaitable[Any]], marks: Mapping[str, Mark] = MappingProxyType({})) -> Any:
    async def main() -> Any:
        replica = Alone(marks)
        try:
            return await test(replica)
        finally:
            replica.work.shutdown()
            replica.logging.shutdown()

    return asyncio.run(main())


def expected(sampler: Sampler, piece: Piece) -> pa.RecordBatch:
    request = sampler.ask(**piece.words) if piece.text else None
    found = sampler.batches(piece.rows, seed=piece.seed, first=piece.first, request=request)
    return pa.Table.from_batches(found, sampler.arrow(request)).combine_chunks().to_batches()[0]


def test_pieces_of_many_callers_are_those_that_each_would_get_alone(
    model: str, sampler: Sampler, batches: list[list[Piece]]
) -> None:
    wanted = [Piece(seed, first, rows, "") for seed, first, rows in (
        (0, 0, 10), (1, 5, SMALL - 5), (2, 0, BLOCK), (3, 3 * BLOCK + 100, 300), (0, 0, 10), (4, 2**40 * BLOCK, 1),
        (5, 1_023, 1), (6, SMALL, SMALL), (7, 130, 700), (8, 0, 1),
    )]  # fmt: skip
    wanted += [Piece(9, 0, 50, OVER_40), Piece(9, 0, 50, '{"balance":"city"}'), Piece(9, 0, 50, '{"where":[]}')]

    async def test(replica: Alone) -> list[Drawn]:
        return list(await asyncio.gather(*(replica.draw(model, piece) for piece in wanted)))

    found = run(test)
    for piece, rows in zip(wanted, found, strict=True):
        assert rows.batch.equals(expected(sampler, piece)), piece
        assert rows.seconds > 0 and (rows.key is None) == (piece.text in ("", '{"where":[]}'))
    assert len(batches) < len(wanted) and sum(map(len, batches)) == len(wanted)
    assert max(sum(len(piece.blocks) for piece in batch) for batch in batches) == TOGETHER
    assert all(len(batch) == 1 for batch in batches if batch[0].text)


def test_the_time_is_shared_by_the_rows(model: str) -> None:
    async def test(replica: Alone) -> list[Drawn]:
        await replica.loaded(model)
        return list(
            await asyncio.gather(*(replica.draw(model, Piece(k, 0, rows, "")) for k, rows in enumerate((30, 10))))
        )

    first, second = run(test)
    assert first.seconds == pytest.approx(3 * second.seconds)


def test_what_is_asked_is_understood_once(model: str) -> None:
    async def test(replica: Alone) -> Any:
        for first in range(0, 4 * BLOCK, BLOCK):
            await replica.draw(model, Piece(0, first, 5, OVER_40))
        return (await replica.loaded(model)).ask.cache_info()

    assert run(test)[:2] == (3, 1)


@pytest.mark.parametrize("text", ['{"where":"agee>3"}', '{"where":"age>900"}', '{"boost":2}'])
def test_what_cannot_be_asked_fails_for_who_asked(model: str, sampler: Sampler, text: str) -> None:
    async def test(replica: Alone) -> list[Any]:
        asked = [Piece(0, 0, 10, ""), Piece(0, 0, 10, text), Piece(1, 0, 10, ""), Piece(0, 0, 10, OVER_40)]
        return list(await asyncio.gather(*(replica.draw(model, p) for p in asked), return_exceptions=True))

    plain, wrong, other, right = run(test)
    assert isinstance(wrong, UserError)
    assert (
        plain.batch.equals(expected(sampler, Piece(0, 0, 10, "")))
        and other.batch.num_rows == right.batch.num_rows == 10
    )


@pytest.mark.parametrize(
    "error", [UserError("breaks a constraint"), ValueError("odd"), KeyError("k"), MemoryError(), OSError()]
)
def test_an_error_reaches_only_him_whose_rows_caused_it(
    model: str, sampler: Sampler, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(tasks: list[Task]) -> list[Drawn]:
        if any(task.piece.seed == 13 for task in tasks):
            raise error
        return drawn(tasks)

    monkeypatch.setattr(replica_module, "drawn", fails)

    async def test(replica: Alone) -> list[Any]:
        await replica.loaded(model)
        calls = [replica.draw(model, Piece(seed, 0, 10, "")) for seed in (11, 12, 13, 14, 15)]
        found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
        assert (await replica.draw(model, Piece(16, 0, 10, ""))).batch.num_rows == 10  # and it draws on
        return list(found)

    found = run(test)
    assert found[2] is error
    for seed, rows in ((11, found[0]), (12, found[1]), (14, found[3]), (15, found[4])):
        assert rows.batch.equals(expected(sampler, Piece(seed, 0, 10, "")))


def test_nothing_is_drawn_for_callers_who_are_gone(model: str, batches: list[list[Piece]]) -> None:
    async def test(replica: Alone) -> None:
        await replica.loaded(model)
        calls = [asyncio.create_task(replica.draw(model, Piece(seed, 0, BLOCK, ""))) for seed in range(6)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for call in calls[1:5]:
            call.cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in found] == [False, True, True, True, True, False]

    run(test)
    assert [piece.seed for batch in batches for piece in batch] in ([0, 5], [0, 1, 5])  # one may be at work already


def test_a_caller_who_leaves_while_his_rows_are_drawn_hurts_nobody(model: str, sampler: Sampler) -> None:
    async def test(replica: Alone) -> list[Any]:
        await replica.loaded(model)
        calls = [asyncio.create_task(replica.draw(model, Piece(seed, 0, 10, ""))) for seed in range(4)]
        while not replica.waiting and (replica.drawing is None or replica.drawing.done()):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        calls[1].cancel()
        return list(await asyncio.gather(*calls, return_exceptions=True))

    found = run(test)
    for seed in (0, 2, 3):
        assert found[seed].batch.equals(expected(sampler, Piece(seed, 0, 10, "")))


def test_another_release_at_its_place_is_not_drawn_from(people: Path, others: Path) -> None:
    id = releases.load(str(others)).manifest.id

    async def test(replica: Alone) -> None:
        with pytest.raises(ReleaseError, match="is another release than when the service began; start it anew"):
            await replica.draw(id, Piece(0, 0, 10, ""))

    run(test)  # of which it knows no place
    PLACES[id] = str(people)
    run(test)


def test_pieces_put_together_are_the_table(model: str, sampler: Sampler) -> None:
    async def test(replica: Alone) -> list[Drawn]:
        wanted = pieces(7, 100, 3_000, "", whole=False)
        return list(await asyncio.gather(*(replica.draw(model, piece) for piece in wanted)))

    found = pa.Table.from_batches([rows.batch for rows in run(test)]).combine_chunks()
    assert found.equals(
        pa.Table.from_batches(sampler.batches(3_000, seed=7, first=100)).cast(found.schema).combine_chunks()
    )


def test_rows_are_logged_where_the_user_has_a_key(model: str) -> None:
    async def test(replica: Alone) -> list[Drawn]:
        wanted = [Piece(1, 0, BLOCK, ""), Piece(2, 5, 300, ""), Piece(1, 0, 50, OVER_40)]
        return list(await asyncio.gather(*(replica.draw(model, piece) for piece in wanted)))

    run(test)
    assert served.logs() == []  # the release is another's, and nothing was ever signed here
    keys.signing_key()
    found = run(test)
    [log] = served.logs()
    assert len(log.pairs()) == BLOCK + 300 + 50
    [known] = recognise(open_source(pa.Table.from_batches([found[0].batch, found[1].batch]))).rows
    assert known.release == model and known.share > 0.5
    run(test)
    assert len(log.pairs()) == BLOCK + 300 + 50  # the same rows


def test_rows_that_cannot_be_logged_are_drawn_all_the_same(
    model: str, sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keys.signing_key()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARTESIAN_STATE_DIR", str(tmp_path / "file"))
    found = run(lambda replica: replica.draw(model, Piece(1, 0, 10, "")))
    assert found.batch.equals(expected(sampler, Piece(1, 0, 10, "")))
    assert "drawn rows are not logged" in caplog.text


def test_an_error_of_the_log_that_nobody_foresaw_is_told_once(
    model: str, sampler: Sampler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("odd")

    keys.signing_key()
    monkeypatch.setattr(served.Prints, "__call__", fails)

    async def test(replica: Alone) -> list[Drawn]:
        return [await replica.draw(model, Piece(seed, 0, 10, "")) for seed in range(40)]  # and none waits for room

    assert run(test)[39].batch.equals(expected(sampler, Piece(39, 0, 10, "")))
    [told] = [record for record in caplog.records if "drawn rows are not logged" in record.message]
    assert told.exc_info is not None and "people" in told.message


def test_a_strangers_certificate_bars_no_rows(people: Path, tmp_path: Path) -> None:
    found = Loaded(str(people), releases.load(str(people)).manifest.id)
    found._facts = replace(found._facts, certificate={"figures": {"exact_copies": {"high": 7}}})
    keys.signing_key()
    assert found.log is not None and found.log.head.copies == 0


def test_a_mark_is_on_the_rows_of_its_release(model: str, people: Path) -> None:
    release = releases.load(str(people))
    mark = mark_of(release)
    marked = Sampler.from_release(release, mark)
    wanted = [Piece(1, 0, 100, ""), Piece(2, SMALL, 100, ""), Piece(1, 0, 50, OVER_40)]

    async def test(replica: Alone) -> list[Drawn]:
        return list(await asyncio.gather(*(replica.draw(model, piece) for piece in wanted)))

    for piece, rows in zip(wanted, run(test, {model: mark}), strict=True):
        assert rows.batch.equals(expected(marked, piece))
