"""A keys file is changed by several at a time, and read again when it has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.key_file import KeyFile, edit
from serving.keys import Keys, Refused
from synth.errors import UserError
from tests.serving.test_keys import ID, KEYS, NOW, TOKEN, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def test_a_file_that_is_not_there_is_named_with_the_remedy(path: Path) -> None:
    with pytest.raises(UserError, match=f"{path}: there is no such keys file; make it with artesian keys add"):
        Keys.load(path)
    with pytest.raises(UserError, match="no such keys file"):
        edit(path, lambda keys: (keys, None))
    assert edit(path, lambda keys: (KEYS, "made"), create=True) == "made"
    assert edit(path, lambda keys: (keys.revoke(ID, now=NOW), len(keys.keys)), create=True) == 1
    assert Keys.load(path).find(ID).revoked == NOW


def test_a_change_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    KEYS.save(path)
    with pytest.raises(UserError):
        edit(path, lambda keys: (keys.revoke("a" * 12, now=NOW), None))
    assert Keys.load(path) == KEYS


def test_of_writers_at_the_same_time_none_loses_a_key(path: Path) -> None:
    code = """if True:
        import sys
        from datetime import UTC, datetime
        from serving.key_file import edit
        for k in range(15):
            edit(sys.argv[1], lambda keys: keys.add(name=f"{sys.argv[2]} {k}", generators=["*"], now=datetime.now(UTC)),
                 create=True)
    """
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("first", "second")]
    assert [writer.wait() for writer in writers] == [0, 0]
    names = [key.name for key in Keys.load(path).keys]
    assert sorted(names) == sorted(f"{name} {k}" for name in ("first", "second") for k in range(15))
    assert {p.name for p in path.parent.iterdir()} <= {"keys.yaml", ".keys.yaml.lock"}


# The file of a service that runs.


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_file_is_read_again_when_it_has_changed(path: Path, clock: Clock) -> None:
    KEYS.save(path)
    file = KeyFile(path, clock)
    assert file.current().check(TOKEN, NOW)
    KEYS.revoke(ID, now=NOW).save(path)
    clock.now = 0.999
    assert file.current().check(TOKEN, NOW), "it is not looked at more often than once a second"
    clock.now = 1.0
    with pytest.raises(Refused, match="revoked"):
        file.current().check(TOKEN, NOW)
    held = file.current()
    clock.now = 3.0
    assert file.current() is held, "what has not changed is not read"


def test_a_broken_file_locks_nobody_out(path: Path, clock: Clock) -> None:
    KEYS.save(path)
    file = KeyFile(path, clock)
    assert file.problem is None
    for broken in ("", "keys:\n- {id: 3", f"keys:\n- id: {ID}"):
        write(path, broken)
        clock.now += 1
        assert file.current().check(TOKEN, NOW)
        assert file.problem is not None and str(path) in file.problem and "were read before" in file.problem
    path.unlink()
    clock.now += 1
    assert file.current() == KEYS and "no such keys file" in str(file.problem)
    KEYS.revoke(ID, now=NOW).save(path)
    clock.now += 1
    assert file.current() == KEYS.revoke(ID, now=NOW) and file.problem is None


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_mode_is_seen_both_ways(path: Path, clock: Clock) -> None:
    KEYS.save(path)
    file = KeyFile(path, clock)
    path.chmod(0o644)
    clock.now += 1
    assert file.current() == KEYS and "chmod 600" in str(file.problem)
    path.chmod(0o600)
    clock.now += 1
    assert file.current() == KEYS and file.problem is None


def test_a_file_that_is_wrong_from_the_start_is_refused(path: Path) -> None:
    with pytest.raises(UserError, match="no such keys file"):
        KeyFile(path)
    write(path, "keys: 3")
    with pytest.raises(UserError, match="line 1"):
        KeyFile(path)
