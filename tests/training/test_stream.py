"""Stored rows by step: each once an epoch, mixed from all over the table, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synth.errors import UserError
from synth.generators.layout import Cell, Encoded, Layout
from synth.training import stored, stream
from synth.training.feed import Share
from synth.training.stored import Reader, Stored, Writer
from synth.training.stream import LANES, Stream

CPU = torch.device("cpu")
BYTES = 2 + 2 * 4  # of a row below


def layout(states: int = 300) -> Layout:
    return Layout(cells=(Cell(shares=(1 / states,) * states),), values=2)


def store(place: Path, rows: int, piece: int = 10_000, states: int = 300) -> Stored:
    """Row r holds cell r mod 300 and the values (r, -r); keys are 3 r."""
    parts: dict[str, int] = {}
    for first in range(0, rows, piece):
        number = np.arange(first, min(first + piece, rows))
        writer = Writer(str(place), layout(states), first)
        for batch in np.array_split(number, 3):
            values = np.stack([batch, -batch], 1).astype(np.float64)
            writer.add(Encoded((batch % states)[:, None].astype(np.int32), values), (3 * batch).astype(np.uint64))
        parts |= writer.finish()
    return Stored(location=str(place), parts=parts, layout=layout(states))


def rows_of(batch: Encoded) -> torch.Tensor:
    row = batch.values[:, 0].long()
    assert (batch.values[:, 1] == -row).all() and (batch.cells[:, 0] == row % 300).all()
    assert batch.cells.dtype == torch.long and batch.values.dtype == torch.float32
    return row


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LANES", 6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 90), batch=st.integers(1, 40), run=st.integers(1, 20), part=st.sampled_from([1, 200, 10**6]))
def test_every_row_is_seen_once_an_epoch(
    tmp_path_factory: pytest.TempPathFactory, small: None, rows: int, batch: int, run: int, part: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "PART", part)
        table = store(tmp_path_factory.mktemp("rows"), rows, piece=25)
    assert table.rows == rows
    feed = Stream(table, Share(3, batch, 1, 0, 1, CPU), window=run * 6 * BYTES)
    epoch = rows - rows % min(6, rows)
    steps = -(-3 * epoch // batch)
    seen = torch.cat([rows_of(feed(s, slice(0, batch))) for s in range(steps)])[: 3 * epoch].view(3, epoch)
    rested = set[int]()
    for one in seen:
        assert len(set(one.tolist())) == epoch
        rested |= set(range(rows)) - set(one.tolist())
    assert len(rested) <= 3 * (rows - epoch)


@pytest.mark.parametrize(("batch", "accumulate"), [(12, 1), (12, 2), (13, 1), (20, 2)])
def test_workers_share_what_one_worker_sees_and_read_no_more(
    tmp_path: Path, small: None, batch: int, accumulate: int
) -> None:
    table = store(tmp_path, 100, piece=40)
    micros = [slice(i, i + batch // accumulate) for i in range(0, batch, batch // accumulate)]

    def feed(rank: int, world: int) -> Stream:
        return Stream(table, Share(3, batch, accumulate, rank, world, CPU), window=4 * 6 * BYTES)

    whole = feed(0, 1)
    workers = {world: [feed(rank, world) for rank in range(world)] for world in (2, 3, 4)}
    for step in (0, 1, 7, 30):
        for micro in micros:
            expected = rows_of(whole(step, micro))
            for world, ranks in workers.items():
                for rank, mine in enumerate(ranks):
                    assert torch.equal(rows_of(mine(step, micro)), expected[rank::world])
                    divides = batch // accumulate % world == 6 % world == 0
                    assert len(mine.read) == (6 // world if divides else 6)


def test_a_step_is_found_without_the_steps_before_it(tmp_path: Path, small: None) -> None:
    table = store(tmp_path, 100)
    walked, fresh = (Stream(table, Share(3, 12, 1, 0, 1, CPU), window=4 * 6 * BYTES) for _ in range(2))
    for step in range(30):
        last = rows_of(walked(step, slice(0, 12)))
    assert torch.equal(rows_of(fresh(29, slice(0, 12))), last)
    assert torch.equal(rows_of(fresh(2, slice(0, 12))), rows_of(walked(2, slice(0, 12))))  # back, after a divergence
    other = Stream(table, Share(4, 12, 1, 0, 1, CPU), window=4 * 6 * BYTES)
    assert not torch.equal(rows_of(other(29, slice(0, 12))), last)


def test_a_batch_mixes_rows_of_the_whole_table_whatever_its_order(tmp_path: Path) -> None:
    rows = 200_000
    feed = Stream(store(tmp_path, rows), Share(0, 1000, 1, 0, 1, CPU), window=50 * LANES * BYTES)
    previous = None
    for step in (0, 57, 150, 230):  # the last one is in the second epoch
        drawn = rows_of(feed(step, slice(0, 1000)))
        tenths = torch.histc(drawn.float(), 10, 0, rows)
        assert (tenths - 100).abs().max() <= 18  # 77 of each tenth, and the others by lot
        gaps = drawn.sort().values.diff()
        assert gaps.float().std() > 60  # in a run of its own no row follows the one before it at a fixed distance
        assert previous is None or not torch.equal(drawn, previous)
        previous = drawn


def test_memory_is_two_windows_whatever_the_rows(tmp_path: Path) -> None:
    feed = Stream(store(tmp_path, 40_000), Share(0, 100, 1, 0, 1, CPU), window=5 * LANES * BYTES)
    for step in range(300):
        feed(step, slice(0, 100))
    held = [window.result() for window in feed._windows.values()]
    assert len(held) == 2
    assert sum(part.nbytes for rows in held for part in rows) == 2 * 5 * LANES * BYTES


def test_the_reader_finds_any_run_of_rows_and_starts_over_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "PART", 100)
    table = store(tmp_path, 95, piece=40)
    assert len(table.parts) > 3 and sum(table.parts.values()) == 95
    reader = Reader(table)
    for start, count in ((0, 95), (90, 10), (0, 1), (38, 4), (94, 200)):
        found = reader.read(start, count)
        assert found["values"][:, 0].tolist() == [(start + i) % 95 for i in range(count)]
    assert np.concatenate(list(table.keys())).tolist() == [3 * i for i in range(95)]
    name = next(iter(table.parts))
    whole = np.load(tmp_path / name)  # what anybody can read
    assert whole["cells"].dtype == np.int16 and len(whole) == table.parts[name]


@pytest.mark.parametrize(("states", "kind"), [(1, np.int8), (128, np.int8), (129, np.int16), (40_000, np.int32)])
def test_cells_are_stored_in_the_narrowest_integers(tmp_path: Path, states: int, kind: type) -> None:
    table = store(tmp_path, 50, states=states)
    found = Reader(table).read(0, 50)["cells"]
    assert found.dtype == kind and found[:, 0].tolist() == [r % states for r in range(50)]


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:-5]), Path.unlink])
def test_a_part_that_is_gone_or_torn_is_an_error_of_the_step(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    table = store(tmp_path, 100)
    damage(tmp_path / next(iter(table.parts)))
    feed = Stream(table, Share(0, 20, 1, 0, 1, CPU))
    with pytest.raises(OSError, match="000000000000000"):
        feed(0, slice(0, 20))


def test_a_place_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        store(tmp_path / "file" / "rows", 10)
