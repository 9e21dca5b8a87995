"""A file that is its owner's alone: how it is read, written and shared among writers."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from serving import private_file
from synth.errors import UserError

posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


def test_what_is_written_is_read(path: Path) -> None:
    private_file.write(path, "a: [1, 'ß']\nb:\n- c: 012\n")
    document = private_file.read(path)
    assert document.content == {"a": ["1", "ß"], "b": [{"c": "012"}]}, "every value as its text"
    assert [document.line(keys) for keys in (["a"], ["a", 1], ["b", 0], ["b", 0, "c"], ["b", 0, "d"], [])] == [
        1, 1, 3, 3, 3, 1,
    ]  # fmt: skip
    assert list(path.parent.iterdir()) == [path]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o601])
def test_a_file_that_others_can_open_is_refused_with_the_remedy(path: Path, mode: int) -> None:
    private_file.write(path, "a: 1")
    path.chmod(mode)
    with pytest.raises(UserError, match=f"mode {mode:o}.*run: chmod 600 {path}"):
        private_file.read(path)


@posix
def test_it_is_born_and_stays_its_owners_alone(path: Path) -> None:
    previous = os.umask(0)  # the widest: the mode must not lean on it
    try:
        with private_file.locked(path):
            private_file.write(path, "a: 1")
    finally:
        os.umask(previous)
    assert {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {
        "file.yaml": 0o600, ".file.yaml.lock": 0o600,
    }  # fmt: skip


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can write another's file")
def test_what_root_writes_stays_its_owners(path: Path) -> None:
    private_file.write(path, "a: 1")
    os.chown(path, 12345, 12346)
    private_file.write(path, "a: 2")
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (12345, 12346, 0o600)


def test_a_link_stays_one(path: Path) -> None:
    link = path.with_name("link.yaml")
    private_file.write(path, "a: 1")
    link.symlink_to(path)
    private_file.write(link, "a: 2")
    assert link.is_symlink() and path.read_text() == "a: 2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "is not UTF-8 text"),
        (b"a: 1\nb: [hunter2", "file.yaml, line 2: .*expected ',' or ']'.*mend it$"),
        (b"a: 1\nb: [*]", r"line 2: while scanning an alias.*put quotes around '\*'"),
        (b"a: 1\n\thunter2: 3", "line 2"),
        (b"hunter2: \x07", "characters that YAML does not allow"),
        (b"a: 1\nb: 2\na: 3", "line 3: a field is given twice"),
        (b"- a: 1\n- {b: 2, b: 3}", "line 2: a field is given twice"),
        (b"? [a]\n: b", "line 1: .*unhashable"),
        (b"a: 1\n---\nb: 2", "line 2: .*another document"),
        (b"a: &x [*x]", "line 1: .*recursive"),
    ],
)
def test_what_is_no_yaml_is_named_and_never_quoted(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UserError, match=said) as caught:
        private_file.read(path)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or "hunter2" not in str(caught.value.__cause__)


@pytest.mark.parametrize("place", ["missing/file.yaml", "plain/file.yaml", ""])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "plain").write_text("")
    path = tmp_path / place
    with pytest.raises(UserError, match=f"{path}: cannot be written"):
        private_file.write(path, "a: 1")
    assert [p.name for p in tmp_path.iterdir()] == ["plain"], "and nothing is left there"
    if place:
        with pytest.raises(UserError, match="cannot be written"), private_file.locked(path):
            pass


def test_a_place_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        private_file.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        private_file.read(tmp_path / "none")


@posix
def test_a_writer_waits_for_another(path: Path) -> None:
    order, waits = [], threading.Event()

    def second() -> None:
        waits.set()
        with private_file.locked(path):
            order.append("second")

    thread = threading.Thread(target=second)
    with private_file.locked(path):
        thread.start()
        waits.wait()
        thread.join(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
