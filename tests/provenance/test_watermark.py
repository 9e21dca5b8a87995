"""Rows that carry a mark are known again whatever became of their file, and no others are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scipy.stats import kstest

from synth import release as releases
from synth.data.hashing import mix
from synth.data.source import open_source
from synth.errors import UserError
from synth.marking import mark_of
from synth.provenance import keys, marks
from synth.provenance.canonical import cells
from synth.provenance.recognition import recognise
from synth.provenance.watermark import COINS, SURE, Detector, Mark, chosen
from synth.release import Release
from synth.sampling import Sampler
from tests.serving.releases import people, publish, publish_images


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, shared_config_dir: None) -> tuple[Release, Mark, pa.Table, bytes]:
    """A release, its mark, marked rows, and the key that makes both."""
    release = releases.load(publish(tmp_path_factory.mktemp("world") / "people"))
    mark = mark_of(release)
    return release, mark, Sampler.from_release(release, mark).table(6 * 1024, seed=3), keys.key_file().read_bytes()


@pytest.fixture
def mark(world: tuple[Release, Mark, pa.Table, bytes]) -> Mark:
    """Known here, too."""
    keys.config_dir().mkdir(parents=True)
    keys.key_file().write_bytes(world[3])
    keys.key_file().chmod(0o600)
    marks.keep(world[1])
    return world[1]


def p_of(table: pa.Table, *looked: Mark) -> float:
    return min((one.p for one in detected(table, *looked)), default=1.0)


def detected(table: pa.Table, *looked: Mark) -> list:  # type: ignore[type-arg]
    detector = Detector(looked)
    for batch in table.combine_chunks().to_batches(max_chunksize=500):
        names = batch.schema.names
        detector.add([{c.name: cells(c, batch.column(c.name)) for c in m.columns if c.name in names} for m in looked])
    return detector.found()


class TestPower:
    def test_a_thousand_rows_are_enough(self, world: tuple[Release, Mark, pa.Table, bytes]) -> None:
        _, mark, rows, _ = world
        for start in range(0, 6_000, 1_000):
            assert p_of(rows.slice(start, 1_000), mark) < 1e-20
        assert p_of(rows.slice(0, 200), mark) < SURE

    def test_it_survives_a_shuffle_a_subset_fewer_columns_and_text(
        self, world: tuple[Release, Mark, pa.Table, bytes], mark: Mark, tmp_path: Path
    ) -> None:
        draw, rows = np.random.default_rng(0), world[2]
        some = rows.take(draw.permutation(len(rows))[:1_000])
        pa.csv.write_csv(some, tmp_path / "rows.csv")
        some.to_pandas().to_csv(tmp_path / "pandas.csv", index=False)
        pq.write_table(some.select(["pay", "city", "age"]), tmp_path / "narrow.parquet")
        for name in ("rows.csv", "pandas.csv", "narrow.parquet"):
            [found] = recognise(open_source(str(tmp_path / name))).sure
            assert found.p < 1e-15 and "heads" in str(found)
        for name in ("city", "member"):
            assert p_of(some.drop_columns([name]), mark) < SURE, name

    def test_half_of_the_rows_are_enough_too(self, world: tuple[Release, Mark, pa.Table, bytes]) -> None:
        release, mark, rows, _ = world
        others = Sampler.from_release(release).table(1_000, seed=9)
        assert p_of(pa.concat_tables([rows.slice(0, 1_000), others]), mark) < SURE


class TestFalseAlarms:
    def test_p_values_of_rows_without_it_are_uniform(self, world: tuple[Release, Mark, pa.Table, bytes]) -> None:
        """Over keys, however often rows and values repeat."""
        release, mark, _, _ = world
        plain = Sampler.from_release(release).table(600, seed=5)
        tables = (plain, pa.concat_tables([plain.slice(0, 150)] * 4), people())
        draw = np.random.default_rng(0)
        for table in tables:
            [batch] = table.combine_chunks().to_batches()
            hashes = {c.name: cells(c, batch.column(c.name)) for c in mark.columns}
            ps = []
            for _ in range(300):
                detector = Detector([mark.model_copy(update={"key": draw.bytes(16).hex()})])
                detector.add([hashes])
                ps.append(detector.found()[0].p)
            assert kstest(ps, "uniform").pvalue > 1e-3 and min(ps) > 1e-5

    def test_many_marks_are_one_question(self, world: tuple[Release, Mark, pa.Table, bytes]) -> None:
        _, mark, rows, _ = world
        others = [mark.model_copy(update={"key": bytes([k] * 16).hex()}) for k in range(9)]
        alone, together = detected(rows.slice(0, 50), mark)[0], detected(rows.slice(0, 50), mark, *others)
        assert together[0].mark == mark and together[0].p == pytest.approx(10 * alone.p)
        assert all(one.p > 1e-3 for one in together[1:])

    def test_a_table_of_other_columns_is_not_looked_at(self, mark: Mark) -> None:
        assert recognise(open_source(pa.table({"age": ["old"] * 10, "town": ["x"] * 10}))).marks == ()
        assert recognise(open_source(pa.table({"age": [1] * 10, "pay": ["much"] * 10, "city": ["x"] * 10}))).sure == []


class TestTokens:
    def test_they_are_of_columns_in_which_rows_differ(self) -> None:
        draw = np.random.default_rng(0)
        many = {name: mix(draw.integers(0, 2**40, 2_000)) for name in "abcd"}
        few = {name: mix(draw.integers(0, 20, 2_000) + 100 * ord(name)) for name in "uvwx"}
        coins = chosen(many | few)
        assert sum(coins.values()) == COINS and all(2 <= coins[(name,)] <= 4 for name in "abcd")
        assert not any(len(token) > 1 and set(token) & set("abcd") for token in coins)
        mixed = chosen({"a": many["a"]} | few)
        assert sum(mixed.values()) == COINS and mixed[("a",)] == COINS // 2 and len(mixed) > 4
        alone = chosen(few)
        assert all(len(token) >= 2 for token in alone) and set("uvwx") == {name for token in alone for name in token}

    def test_a_table_of_few_distinct_rows_has_none(self, world: tuple[Release, Mark, pa.Table, bytes]) -> None:
        release = world[0]
        rows = pa.table({"age": [1] * 500, "city": ["Rome", "Oslo"] * 250, "pay": [1.5] * 500, "member": [True] * 500})
        with pytest.raises(
            UserError, match=r"--watermark: two rows of this release are the same with a chance of 0\.5"
        ):
            Mark.of(release.manifest, release.schema, rows)

    def test_images_have_none(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"--watermark: images carry none"):
            mark_of(releases.load(publish_images(tmp_path / "pets")))


class TestRecords:
    def test_it_is_the_same_again_and_by_the_key_alone(
        self, world: tuple[Release, Mark, pa.Table, bytes], mark: Mark
    ) -> None:
        assert mark_of(world[0]) == mark
        for path in (keys.config_dir() / marks.FOLDER).iterdir():
            path.unlink()
        assert marks.of(mark.release) is None and mark_of(world[0]) == mark and marks.known() == [mark]

    def test_another_key_makes_another_and_the_old_one_stays_known(
        self, world: tuple[Release, Mark, pa.Table, bytes], mark: Mark
    ) -> None:
        keys.key_file().unlink()
        other = mark_of(world[0])
        assert other.id != mark.id and other.key != mark.key and len(marks.known()) == 2
        assert p_of(world[2].slice(0, 1_000), *marks.known()) < SURE

    @pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
    def test_only_its_owner_can_read_it(self, mark: Mark) -> None:
        [path] = (keys.config_dir() / marks.FOLDER).iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        path.chmod(0o644)
        with pytest.raises(UserError, match=r"can be read by others \(mode 644\); run: chmod 600"):
            marks.known()

    def test_a_damaged_one_is_named_and_not_quoted(self, mark: Mark) -> None:
        [path] = (keys.config_dir() / marks.FOLDER).iterdir()
        path.write_text(mark.model_dump_json().replace("artesian-mark/1", "mark/9"))
        with pytest.raises(UserError, match="is no watermark that this version reads") as caught:
            marks.known()
        assert mark.key not in str(caught.value) and mark.key not in repr(mark)

    def test_one_that_cannot_be_read_bars_no_table(
        self, world: tuple[Release, Mark, pa.Table, bytes], mark: Mark
    ) -> None:
        path = keys.config_dir() / marks.FOLDER / "other.json"
        path.write_text("{}")
        path.chmod(0o600)
        found = recognise(open_source(world[2]))
        [note], [sure] = found.notes, found.sure
        assert sure.mark == mark and note.startswith(f"{path}: is no watermark that this version reads")
