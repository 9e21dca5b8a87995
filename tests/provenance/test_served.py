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
from synth.data.hashing import mix
from synth.data.source import open_source
from synth.errors import UserError
from synth.marking import mark_of
from synth.provenance import keys, recognition, served
from synth.provenance.manifest import DataEntry
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

    @pytest.mark.parametrize("there", [b"{}\n", b"", b'{"format":"artesian-rows/1"}\n'])
    def test_a_damaged_one_is_named_and_bars_no_table(self, release: Release, rows: pa.Table, there: bytes) -> None:
        """Another one is looked up in as before."""
        drawn(release, rows)
        [log] = served.logs()
        bad = log.path.with_name(f"{'0' * 16}-{log.head.key}{served.ENDING}")
        bad.write_bytes(there)
        found = recognise(open_source(rows))
        [note], [known] = found.notes, found.rows
        assert known.release == release.manifest.id
        assert note.startswith(f"{bad}: is no log that this version reads; restore it, or move it away")
        log.path.write_bytes(there)
        with pytest.raises(UserError, match=r"\.rows: is no log that this version reads"):
            Log.of(release)

    def test_nor_does_one_that_cannot_be_read_or_is_gone(self, release: Release, rows: pa.Table) -> None:
        drawn(release, rows)
        [log] = served.logs()
        barred = log.path.with_name(f"{'0' * 16}-{log.head.key}{served.ENDING}")
        barred.mkdir()
        log.path.with_name(f"{'1' * 16}-{log.head.key}{served.ENDING}").symlink_to("nowhere")  # as if removed meanwhile
        found = recognise(open_source(rows))
        [note], [known] = found.notes, found.rows
        assert known.share > 0.5 and note.startswith(f"{barred}: the log of drawn rows cannot be read (Is a directory)")
        log.path.unlink()
        assert len(log.pairs()) == 0

    def test_a_folder_that_cannot_be_written_is_named_before_anything_is_drawn(self, release: Release) -> None:
        log = Log.of(release)
        assert log is not None
        lock = log.path.with_name(f".{log.path.name}.lock")
        lock.unlink()
        lock.mkdir()  # which nobody can open to write, whoever runs this
        with pytest.raises(UserError, match=r"drawn rows cannot be logged there \(Is a directory\)"):
            logged(release, iter(()), 1, None)
        lock.rmdir()
        log.path.mkdir()
        with pytest.raises(UserError, match=r"drawn rows cannot be logged there \(Is a directory\)"):
            logged(release, iter(()), 1, None)

    def test_rows_that_can_no_longer_be_logged_are_not_lost(
        self, release: Release, rows: pa.Table, caplog: pytest.LogCaptureFixture
    ) -> None:
        passing = logged(release, iter(rows.combine_chunks().to_batches(max_chunksize=BLOCK)), 1, None)
        first = next(passing)
        [folder] = served.state_dir().iterdir()
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        folder.write_text("")
        assert pa.Table.from_batches([first, *passing]).equals(rows)
        [told] = caplog.messages
        assert told.startswith("people: drawn rows are not logged, these at least: ")

    def test_what_a_release_has_learnt_is_not_read_again(
        self, release: Release, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor are the watermarks of that release looked for: what both have, the release has from there."""
        source = open_source(rows)
        entry = DataEntry(role="train", location="rows", sha256=source.fingerprint(), rows=len(rows))
        learnt = release.manifest.model_copy(update={"data": [entry]})
        drawn(Release(**{**vars(release), "manifest": learnt}), rows)
        mark_of(release)
        monkeypatch.setattr(type(source), "batches", lambda *_: pytest.fail("it was read"))
        assert recognise(source).rows == recognise(source).marks == ()

    def test_of_a_large_table_a_sample_is_looked_up(
        self, release: Release, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn(release, rows)
        [whole] = recognise(open_source(rows)).rows
        monkeypatch.setattr(recognition, "LOOKED_AT", 1_024)
        found = recognise(open_source(rows, batch_rows=256))
        [known] = found.rows
        assert known.of == 4 * BLOCK and known.share == pytest.approx(whole.share, abs=0.1)
        assert found.notes == ["the table: 1,024 of its 4,096 rows, evenly spread, were looked up"]

    def test_columns_of_another_kind_fit_no_log(self, release: Release, rows: pa.Table) -> None:
        drawn(release, rows)
        names = rows.column_names
        for odd in (pa.array([b"\xff"] * len(rows)), pa.array([{"a": 1}] * len(rows)), pa.array([[1]] * len(rows))):
            assert recognise(open_source(pa.table([odd] * len(names), names))).rows == []

    def test_addresses_say_nothing_without_the_key(self, release: Release, rows: pa.Table) -> None:
        """Undoing the mixing, which anybody can, leaves no run of numbers."""
        drawn(release, rows)
        told = unmixed(served.logs()[0].pairs()[:, 1])
        assert len(np.unique(told >> np.uint64(20))) > len(rows) * 0.9

    def test_its_key_is_of_the_release_and_is_not_shown(self, release: Release) -> None:
        log = Log.of(release)
        assert log is not None and repr(log.prints.key) not in repr(log.prints)
        other = release.manifest.model_copy(update={"id": "0" * 64})
        assert log.prints.key != Log(log.path, log.head.model_copy(update={"release": other.id})).prints.key

    @pytest.mark.parametrize(
        ("figures", "share"),
        [
            ({"exact_copies": {"high": 0.2, "value": 0.1}}, 0.2), ({"exact_copies": {"high": 0.0, "value": 0.1}}, 0.0),
            ({"exact_copies": {"high": None, "value": 0.1}}, 0.1), ({"exact_copies": {"high": 7}}, 0.0),
            ({"exact_copies": {"high": float("nan")}}, 0.0), ({"exact_copies": 0.1}, 0.0), ({"exact_copies": [1]}, 0.0),
            ({"exact_copies": {"high": "1"}}, 0.0), ({"exact_copies": {"high": True}}, 0.0), ([], 0.0), (None, 0.0),
        ],
    )  # fmt: skip
    def test_a_strangers_certificate_may_say_anything(self, release: Release, figures: object, share: float) -> None:
        log = Log.of(Release(**{**vars(release), "certificate": {"figures": figures}}))
        assert log is not None and log.head.copies == share


def unmixed(words: np.ndarray) -> np.ndarray:
    """``hashing.mix`` undone."""
    for number in np.random.default_rng(0).integers(0, 2**64, 8, np.uint64):
        assert undone(mix(np.array([number])))[0] == number
    return undone(words)


def undone(words: np.ndarray) -> np.ndarray:
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        found = words.copy()
        for _ in range(64 // shift):
            found = words ^ (found >> np.uint64(shift))
        words = found * np.uint64(pow(factor, -1, 2**64))
    return words - np.uint64(0x9E3779B97F4A7C15)


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

    def likert(self, seed: int, rows: int, lean: float = 0.0) -> pa.Table:
        """Nine answers of five, which hang together, in the columns of people."""
        draw = np.random.default_rng(seed)
        latent = 0.7 * draw.standard_normal((rows, 1)) + 0.7 * draw.standard_normal((rows, 9)) + lean
        answers = np.digitize(latent, [-1.5, -0.5, 0.5, 1.5])
        return pa.table({
            "age": answers[:, :3] @ [100, 10, 1], "city": [f"x{a}" for a in answers[:, 3:6] @ [100, 10, 1]],
            "pay": answers[:, 6:] @ [10.0, 1.0, 0.1], "member": answers[:, 8] > 9,
        })  # fmt: skip

    @pytest.mark.parametrize("lean", [0.0, 0.1])
    def test_rows_that_were_made_distinct_are_not_known(self, release: Release, lean: float) -> None:
        drawn(release, self.likert(1, 20_000, lean))
        real = self.likert(2, 60_000).to_pandas()
        unique = pa.Table.from_pandas(real.drop_duplicates(), preserve_index=False)
        assert 10_000 < len(unique) < 50_000
        assert recognise(open_source(unique)).rows == []
        assert recognise(open_source(pa.Table.from_pandas(real, preserve_index=False))).rows == []

    def test_nor_is_a_grid(self, release: Release) -> None:
        drawn(release, self.table(1, 20_000, 60))
        grid = np.stack(np.meshgrid(range(60), range(3), range(60), range(2)), -1).reshape(-1, 4)
        cities = np.array(["Rome", "Oslo", "Bonn"])[grid[:, 1]]
        table = pa.table({"age": grid[:, 0] + 18, "city": cities, "pay": grid[:, 2] / 100, "member": grid[:, 3] > 0})
        assert recognise(open_source(table)).rows == []

    def test_drawn_rows_that_were_made_distinct_are_known_where_rows_hardly_repeat(self, release: Release) -> None:
        made = self.table(1, 20_000, 3_000)
        drawn(release, made)
        unique = pa.Table.from_pandas(made.slice(0, 5_000).to_pandas().drop_duplicates(), preserve_index=False)
        [known] = recognise(open_source(unique)).rows
        assert known.share > 0.9
