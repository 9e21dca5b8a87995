"""A stranger's manifest has nothing read but what lies where the user has pointed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from synth import release as releases
from synth.data.source import open_source
from synth.errors import UserError
from synth.provenance import places
from synth.provenance.manifest import DataEntry
from tests.serving.releases import people, publish


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


class Shared(MemoryFileSystem):
    """A store in which somebody else's folders may not be looked into, nor ``shut`` ones listed."""

    protocol = "shared"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("shared://", "memory://")))

    def info(self, path: str, **keys: object) -> dict[str, object]:
        if "/theirs/" in path:
            raise PermissionError("403")
        return dict(super().info(path, **keys))

    def find(self, path: str, *options: Any, **keys: Any) -> Any:
        if path.rstrip("/").endswith("/shut"):
            raise PermissionError("403")
        return super().find(path, *options, **keys)


@pytest.fixture
def shared(released: Path) -> str:
    """The id of a release in a store, with other people's folders beside it."""
    fsspec.register_implementation("shared", Shared, clobber=True)
    memory = fsspec.filesystem("memory")
    publish(released / "g")
    for place in ("/box", "/box/shut"):
        memory.makedirs(f"{place}/theirs", exist_ok=True)
        memory.pipe(f"{place}/theirs/manifest.json", b"{}")
        for file in (released / "g").iterdir():
            memory.pipe(f"{place}/yours/{file.name}", file.read_bytes())
    return releases.load(str(released / "g")).manifest.id


def test_folders_of_others_beside_it_are_passed_over(shared: str) -> None:
    assert places.find(shared, [], "shared://box") == "shared://box/yours"
    assert places.find(shared, ["shared://box"], "shared://box") == "shared://box/yours"
    assert places.find(shared, [], "shared://box/shut") is None


@pytest.mark.parametrize("named", ["shared://box/shut", "shared://box/theirs"])
def test_folders_that_were_named_must_be_read(shared: str, named: str) -> None:
    with pytest.raises(UserError, match=rf"{named}.*permi"):
        places.find(shared, [named], "shared://box")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_so_are_those_of_a_shared_disk(released: Path) -> None:
    publish(released / "yours")
    (released / "a" / "inner").mkdir(parents=True)
    (released / "b").symlink_to(released / "a" / "inner")
    (released / "a").chmod(0)
    try:
        id = releases.load(str(released / "yours")).manifest.id
        assert places.find(id, [], str(released)) == str(released / "yours")
        with pytest.raises(UserError, match=f"{released / 'a'}.*permi"):
            places.find(id, [str(released / "a")], str(released))
    finally:
        (released / "a").chmod(0o700)


def test_what_cannot_be_a_release_is_passed_over(released: Path) -> None:
    publish(released / "yours")
    id = releases.load(str(released / "yours")).manifest.id
    (released / os.fsdecode(b"a\xff")).mkdir()
    (released / "huge").mkdir()
    shutil.copy(released / "yours" / "manifest.json", released / "huge" / "manifest.json")
    with (released / "huge" / "manifest.json").open("ab") as file:  # white space may follow JSON
        file.write(b" " * places.MOST_BYTES)
    (released / "deep").mkdir()
    (released / "deep" / "manifest.json").write_text("[" * 60_000)
    assert places.find(id, [], str(released)) == str(released / "yours")
    shutil.rmtree(released / "yours")
    assert places.find(id, [], str(released)) is None


def test_a_broken_copy_does_not_hide_the_whole_one(released: Path) -> None:
    publish(released / "whole")
    id = releases.load(str(released / "whole")).manifest.id
    for name in ("a-copy", "b-copy"):
        shutil.copytree(released / "whole", released / name)
        (released / name / "codec.json").unlink()
    assert places.find(id, [str(released / "a-copy")], str(released)) == str(released / "whole")
    shutil.rmtree(released / "whole")
    assert places.find(id, [], str(released)) == str(released / "a-copy")
