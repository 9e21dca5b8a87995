"""What a folder of parts is taken for."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth import parts
from synth import release as releases
from synth.data.schema import Column, Schema
from synth.errors import UserError
from synth.provenance import served
from synth.provenance.kept import distinct
from synth.sampling import Sampler
from tests.serving.releases import publish

RELEASE: Any = SimpleNamespace(manifest=SimpleNamespace(id="ab" * 32), schema=Schema(columns=[]))


def put(folder: Path, k: int, rows: int) -> None:
    pq.write_table(pa.table({"x": range(rows)}), folder / f"part-{k:06}.parquet")


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """25 rows in parts of ten; none is missing, so nothing is drawn."""
    monkeypatch.setattr(parts, "PART", 10)
    for k, rows in enumerate((10, 10, 5)):
        put(tmp_path, k, rows)
    (tmp_path / parts.MARKER).write_text('{"release": "%s", "seed": 1, "rows": 25, "part": 10}' % ("ab" * 32))
    return tmp_path


def test_whole_parts_are_kept(complete: Path) -> None:
    seen: list[int] = []
    assert parts.sample(RELEASE, 25, str(complete), seed=1, progress=seen.append) == 0
    assert seen == [25]
    assert pq.read_table(complete).num_rows == 25  # the marker is no part


@pytest.mark.parametrize("harm", ["torn", "short", "gone"])
def test_a_part_that_is_not_whole_is_missed(complete: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = complete / "part-000001.parquet"
    if harm == "torn":
        file.write_bytes(file.read_bytes()[:-20])
    elif harm == "short":
        put(complete, 1, 9)
    else:
        file.unlink()

    def connected(address: str | None) -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(parts, "connected", connected)
    seen: list[int] = []
    with pytest.raises(ConnectionAbortedError):
        parts.sample(RELEASE, 25, str(complete), seed=1, progress=seen.append)
    assert seen == [15]


def test_parts_of_another_request_are_not_mixed_in(complete: Path) -> None:
    with pytest.raises(UserError, match=r"parts of another request \(seed 1, rows 25\).*--overwrite"):
        parts.sample(RELEASE, 26, str(complete), seed=2)
    assert len(list(complete.iterdir())) == 4


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("x\n1\n")
    with pytest.raises(UserError, match="holds other files"):
        parts.sample(RELEASE, 26, str(tmp_path), seed=2, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["real.csv"]


def test_a_damaged_marker_is_nobodys_request(complete: Path) -> None:
    (complete / parts.MARKER).write_text("{")
    with pytest.raises(UserError, match=r"parts of another request.*--overwrite"):
        parts.sample(RELEASE, 25, str(complete), seed=1)


@pytest.mark.parametrize(("shape", "blocks"), [((8, 8, 1), 256), ((64, 64, 3), 21), ((1024, 1024, 3), 1)])
def test_parts_of_images_are_as_large_as_their_pixels_allow(shape: tuple[int, int, int], blocks: int) -> None:
    image = Column(name="image", kind="image", dtype=f"fixed_size_binary[{math.prod(shape)}]", shape=shape)
    assert parts._part(Schema(columns=[image])) == blocks * parts.BLOCK


def test_rows_of_parts_that_were_drawn_before_a_cut_are_logged_after_it(tmp_path: Path) -> None:
    """Exactly those that whole parts have, and nothing of it stays beside them."""
    release, out = releases.load(publish(tmp_path / "people")), tmp_path / "out"
    log = served.Log.of(release)
    assert log is not None
    beside = f"_part-000000.parquet.{log.head.key}{served.ENDING}"
    parts._claim(
        str(out), {"release": release.manifest.id, "seed": 3, "rows": 1_500, "part": parts.PART}, overwrite=False
    )
    place = str(out / "part-000000.parquet")
    told = (log.prints, str(out / beside))
    assert parts._draw(release, 3, None, 0, 1_500, place, None, False, None, told) == (1_500, [])
    assert (out / beside).exists() and served.logs() == []
    assert parts.sample(release, 1_500, str(out), seed=3) == 0
    assert sorted(path.name for path in out.iterdir()) == [parts.MARKER, "part-000000.parquet"]
    [kept] = served.logs()
    whole = Sampler.from_release(release).table(1_500, seed=3)
    assert np.array_equal(kept.pairs(), distinct(np.concatenate([
        log.prints(batch, 3, None, first) for batch, first in zip(whole.to_batches(), (0, parts.BLOCK), strict=True)
    ])))  # fmt: skip
    (out / beside).write_bytes(b"of other rows")
    parts._claim(str(out), {"release": release.manifest.id}, overwrite=True)
    assert [path.name for path in out.iterdir()] == [parts.MARKER]
