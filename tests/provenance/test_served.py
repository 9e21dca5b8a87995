"""Drawn rows are logged in bounded space, by several processes at once, and known again; others are not."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synth import release as releases
from synth.data.source import open_source
from synth.errors import UserError
from synth.provenance import keys, served
from synth.provenance.recognition import recognise
from synth.provenance.served import Log, logged
from synth.release import Release
from synth.sampling import BLOCK, Sampler
from tests.serving.releases import people, publish, publish_images


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, shared_config_dir: None) -> Release:
    return releases.load(publish(tmp_path_factory.mktemp("world") / "people"))


@pytest.fixture(scope="module")
def rows(release: Release) -> pa.Table:
    return Sampler.from_release(release).table(4 * BLOCK, seed=1)


def drawn(release: Release, rows: pa.Table, seed: int = 1) -> pa.Table:
    """The rows, which pass by the log."""
    batches = rows.combine_chunks().to_batches(max_chunksize=BLOCK)
    return pa.Table.from_batches(logged(release, iter(batches), seed, None))


def pairs(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), np.uint64)


def adding(log: Log, seed: int) -> None:
    for k in range(20):
        log.add(pairs(500, 100 * seed + k))


class TestLog:
    def test_rows_pass_and_are_known_from_then_on(self, release: Release, rows: pa.Table) -> None:
        assert drawn(release, rows).equals(rows)
        [known] = recognise(open_source(rows)).rows
        assert known.of == len(rows) and known.share > 0.5 and known.release == release.manifest.id
        assert "rows were drawn from 'people'" in str(known)
        assert recognise(open_source(people())).rows == []

    def test_what_is_drawn_again_is_logged_once(self, release: Release, rows: pa.Table) -> None:
        drawn(release, rows)
        [log] = served.logs()
        before = log.pairs()
        drawn(release, rows)
        assert len(before) == len(rows) and np.array_equal(log.pairs(), before)
        drawn(release, rows, seed=2)  # as if they had come up at other places: none of them says anything now
        assert recognise(open_source(rows)).rows == []

    def test_a_reader_who_stops_has_had_rows_that_are_logged(self, release: Release, rows: pa.Table) -> None:
        passing = logged(release, iter(rows.combine_chunks().to_batches(max_chunksize=BLOCK)), 1, None)
        next(passing)
        passing.close()  # type: ignore[attr-defined]
        assert len(served.logs()[0].pairs()) == BLOCK

    def test_it_is_bounded_and_its_sample_still_tells_the_share(
        self, release: Release, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn(release, rows)
        [whole] = recognise(open_source(rows)).rows
        monkeypatch.setattr(served, "MOST", 1_000)
        drawn(release, Sampler.from_release(release).table(2 * BLOCK, seed=7), seed=7)
        [log] = served.logs()
        assert log.head.level in (3, 4) and len(log.pairs()) <= 750
        [known] = recognise(open_source(rows)).rows
        assert known.share == pytest.approx(whole.share, abs=0.2)
        drawn(release, rows, seed=1)
        assert log.path.stat().st_size < 20_000

    def test_several_add_to_it_at_once(self, release: Release) -> None:
        log = Log.of(release)
        assert log is not None
        with ThreadPoolExecutor(
            3
        ) as pool:  # each opens the lock anew, so that it holds off the others as it does processes
            list(pool.map(adding, [Log(log.path, log.head) for _ in range(3)], range(3)))
        wanted = np.concatenate([pairs(500, 100 * seed + k) for seed in range(3) for k in range(20)])
        assert len(log.pairs()) == 30_000 and set(log.pairs()[:, 0].tolist()) == set(wanted[:, 0].tolist())

    def test_what_was_cut_in_writing_is_written_over(self, release: Release) -> None:
        log = Log.of(release)
        assert log is not None
        log.add(pairs(3, 0))
        with log.path.open("ab") as file:
            file.write(b"half of")
        assert len(log.pairs()) == 3
        log.add(pairs(2, 1))
        assert len(log.pairs()) == 5

    @pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
    def test_it_says_nothing_to_others(self, release: Release, rows: pa.Table) -> None:
        drawn(release, rows)
        [log] = served.logs()
        assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
        keys.key_file().unlink()
        assert served.logs() == [] and recognise(open_source(rows)).rows == ()
        drawn(release, rows)  # with another key
        [other] = served.logs()
        assert other.path != log.path and not np.isin(other.pairs()[:, 0], log.pairs()[:, 0]).any()

    def test_it_can_be_off(self, release: Release, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARTESIAN_ROW_LOG", "off")
        assert drawn(release, rows).equals(rows) and served.logs() == [] and not served.state_dir().exists()
        monkeypatch.setenv("ARTESIAN_ROW_LOG", "no")
        with pytest.raises(UserError, match="ARTESIAN_ROW_LOG=no: say on or off"):
            drawn(release, rows)

    def test_images_have_none(self, tmp_path: Path) -> None:
        assert Log.of(releases.load(publish_images(tmp_path / "pets"))) is None

    def test_a_place_that_cannot_be_written_is_named_before_anything_is_drawn(
        self, release: Release, rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("ARTESIAN_STATE_DIR", str(tmp_path / "file"))
        with pytest.raises(
            UserError, match=r"drawn rows cannot be logged there .*ARTESIAN_STATE_DIR .*ARTESIAN_ROW_LOG=off"
        ):
            logged(release, iter(()), 1, None)

    def test_a_damaged_one_is_named(self, release: Release, rows: pa.Table) -> None:
        drawn(release, rows)
        [log] = served.logs()
        log.path.write_bytes(b"{}\n")
        with pytest.raises(UserError, match=r"\.rows: is no log that this version reads"):
            recognise(open_source(rows))


class TestChance:
    def table(self, seed: int, rows: int, values: int) -> pa.Table:
        """In which rows repeat, or hardly do, in the columns of people."""
        draw = np.random.default_rng(seed)
        return pa.table({
            "age": draw.integers(18, 18 + values, rows), "city": draw.choice(["Rome", "Oslo", "Bonn"], rows),
            "pay": np.round(draw.integers(0, values, rows) / 100, 2), "member": draw.random(rows) < 0.3,
        })  # fmt: skip

    @pytest.mark.parametrize(("size", "values"), [(300, 4), (300, 30), (5_000, 30), (5_000, 300)])
    def test_rows_that_are_alike_by_chance_are_not_known(self, release: Release, size: int, values: int) -> None:
        drawn(release, self.table(1, 20_000, values))
        assert recognise(open_source(self.table(2, size, values))).rows == []

    @pytest.mark.parametrize(("size", "values"), [(2_000, 300), (5_000, 300)])
    def test_those_that_were_drawn_are(self, release: Release, size: int, values: int) -> None:
        made = self.table(1, 20_000, values)
        drawn(release, made)
        mixed = pa.concat_tables([self.table(2, size, values), made.slice(70, size // 19)])
        [known] = recognise(open_source(mixed)).rows
        assert known.rows == pytest.approx(size // 19, rel=0.4) and known.of == len(mixed)

    def test_copies_of_what_a_release_has_learnt_are_no_news(self, release: Release) -> None:
        real = self.table(3, 5_000, 3_000)
        log = Log.of(release)
        assert log is not None
        figures = {"figures": {"exact_copies": {"value": 0.02, "high": 0.025}}}
        copied = pa.concat_tables([self.table(4, 9_800, 3_000), real.slice(0, 200)])
        copying = Release(**{**vars(release), "certificate": figures})
        drawn(copying, copied)
        assert recognise(open_source(real)).rows == []
