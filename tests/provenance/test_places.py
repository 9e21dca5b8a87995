"""A stranger's manifest has nothing read but what lies where the user has pointed."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from synth.data.source import open_source
from synth.provenance import places
from synth.provenance.manifest import DataEntry
from tests.serving.releases import people


class Watched(MemoryFileSystem):
    """A store that knows what it was asked for."""

    protocol = "watched"
    asked: list[str] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("watched://", "memory://")))

    def info(self, path: str, **keys: object) -> dict[str, object]:
        Watched.asked.append(path)
        return dict(super().info(path, **keys))


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The folder that a release lies in, with a table in another one."""
    fsspec.register_implementation("watched", Watched, clobber=True)
    Watched.asked.clear()
    (tmp_path / "releases").mkdir()
    (tmp_path / "secret").mkdir()
    pq.write_table(people(), tmp_path / "secret" / "t.parquet")
    with fsspec.open("memory://secret/t.parquet", "wb") as file:
        pq.write_table(people(), file)
    return tmp_path / "releases"


def entry(location: str, released: Path) -> DataEntry:
    sha256 = open_source(str(released.parent / "secret" / "t.parquet")).fingerprint()
    return DataEntry(location=location, sha256=sha256, rows=600, role="train")


@pytest.mark.parametrize("way", ["watched://secret/t.parquet", "{}/secret/t.parquet", "file://{}/secret/t.parquet",
                                 "../secret/t.parquet"])  # fmt: skip
def test_where_a_manifest_points_is_looked_at_for_a_known_signer_alone(released: Path, way: str) -> None:
    told = entry(way.format(released.parent), released)
    assert places.table(told, [str(released)], known=False) is None and not Watched.asked
    found = places.table(told, [str(released)], known=True)
    assert found is not None and found.fingerprint() == told.sha256


def test_what_is_the_same_is_taken_from_where_the_user_points(released: Path) -> None:
    told = entry("watched://secret/t.parquet", released)
    found = places.table(told, [str(released), str(released.parent / "secret")], known=False)
    assert found is not None and Path(found.location).parent == released.parent / "secret" and not Watched.asked
    pq.write_table(people(500), released / "t.parquet")
    found = places.table(told, [str(released), str(released.parent / "secret")], known=False)
    assert found is not None and Path(found.location).parent == released.parent / "secret"
    assert places.table(told, [str(released)], known=False) is None
    found = places.table(entry("t.parquet", released), [str(released)], known=False)
    assert found is not None and found.rows() == 500, "beside the release and by the path that it says: altered"
