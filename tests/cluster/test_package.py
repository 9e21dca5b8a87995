"""What a job takes along: the code, and nothing of what lies beside it."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from cluster import package
from synth.errors import UserError


def tree(folder: Path) -> Path:
    for name in (
        "artesian.py", "synth/data/demo/adult.parquet", "synth/data/codec.py", "recipe.yaml",
        "table.parquet", "table.csv.gz", "demo-release/weights", "x.run/step", ".git/HEAD", ".venv/bin/python",
        "synth/__pycache__/x.pyc", ".mypy_cache/x", "mine/secret",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".gitignore").write_text("mine/\n")
    return folder


def test_a_working_tree_is_packed_without_data_releases_and_what_git_ignores(tmp_path: Path) -> None:
    with ZipFile(package.pack(tree(tmp_path / "tree"), tmp_path)) as packed:
        assert {name for name in packed.namelist() if not name.endswith("/")} == {
            ".gitignore", "artesian.py", "recipe.yaml", "synth/data/codec.py", "synth/data/demo/adult.parquet",
        }  # fmt: skip


def test_this_working_tree_is_one_and_small(tmp_path: Path) -> None:
    source = package.checkout()
    assert source is not None
    archive = package.pack(source, tmp_path)
    assert archive.stat().st_size < 10 << 20
    with ZipFile(archive) as packed:
        assert {"artesian.py", "cluster/jobs.py", "synth/data/demo/adult.parquet"} <= set(packed.namelist())


def test_what_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree(tmp_path / "tree") / "video.bin").write_bytes(bytes(2 << 20))
    monkeypatch.setattr(package, "DASHBOARD_CLIENT_MAX_SIZE", 1 << 20)
    with pytest.raises(
        UserError, match=r"tree: is 2.0 MiB .* less than 1; .*\.rayignore; the largest: video.bin \(2.0 M"
    ):
        package.pack(tmp_path / "tree", tmp_path)


def test_what_is_no_artesian_is_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "x.whl").write_text("no wheel")
    for name, message in (("other", r"other: holds no artesian\.py"), ("x.whl", r"x\.whl: is no wheel; build one")):
        (tmp_path / f"to-{name}").mkdir()
        with pytest.raises(UserError, match=message):
            package.pack(tmp_path / name, tmp_path / f"to-{name}")
