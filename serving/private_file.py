"""A YAML file that is its owner's alone: read with its lines at hand, written whole, by one at a time."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from synth.errors import UserError

if sys.platform != "win32":
    import fcntl

Place = str | os.PathLike[str]


@dataclass(frozen=True)
class Document:
    """What a file says, every value as its text, and where it says so."""

    content: Any
    root: yaml.Node | None

    def line(self, keys: Sequence[int | str]) -> int:
        """Where the value stands that is found by these keys, or else what should have it, counted from 1."""
        node, line = self.root, 0
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                at = next((pair for pair in node.value if pair[0].value == key), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                at = (node.value[key], node.value[key])
            else:
                at = None
            if at is None:
                break
            line, node = at[0].start_mark.line, at[1]
        return line + 1


class _Fields(yaml.BaseLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        names = [name.value for name, _ in node.value]
        if twice := [name for name, _ in node.value if names.count(name.value) > 1]:  # of which YAML takes the last
            raise yaml.constructor.ConstructorError(problem="a field is given twice", problem_mark=twice[-1].start_mark)
        return found


def read(path: Place) -> Document:
    """What the file says.

    Raises UserError, and quotes nothing of the file, where it is no YAML, and where others than its owner can read or write
    it; FileNotFoundError where there is none.
    """
    try:
        with Path(path).open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # of what is read, not of what the name says later
            content = file.read()
    except FileNotFoundError:
        raise
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}); run as its owner") from e
    if os.name == "posix" and mode & 0o077:
        raise UserError(f"{path}: can be read or written by others (mode {mode:o}); run: chmod 600 {path}")
    try:
        loader = _Fields(content.decode())
        root = loader.get_single_node()
        return Document(None if root is None else loader.construct_document(root), root)
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: is not UTF-8 text; save it as such") from e
    except yaml.MarkedYAMLError as e:  # whose own text quotes the line
        mark = e.problem_mark or e.context_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        story = ", ".join(part for part in (e.context, e.problem) if part)
        quotes = ", and put quotes around '*'" if "alias" in story else ""
        raise UserError(f"{path}{line}: {story}; mend it{quotes}") from None
    except yaml.YAMLError:
        raise UserError(f"{path}: has characters that YAML does not allow; save it as plain text") from None


def write(path: Place, text: str) -> None:
    """Replace the file, whole or not at all. Raises UserError where that cannot be done."""
    place = Path(path).resolve()  # a link stays one
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # at no moment wider
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                _keep_owner(place, descriptor)
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
        _flush(place.parent)
    except OSError as e:
        raise _unwritten(path, e) from e


@contextmanager
def locked(path: Place, held: str | None = None) -> Iterator[None]:
    """One writer at a time, where there is fcntl; the others wait, or are told what ``held`` says, a UserError. The lock is a
    file of its own, which stays, because the file itself is replaced. Raises UserError where it cannot be made."""
    if sys.platform == "win32":
        yield
        return
    place = Path(path).resolve()
    try:
        lock = os.open(place.with_name(f".{place.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if held is None else fcntl.LOCK_NB))
        except OSError:
            os.close(lock)
            raise
    except BlockingIOError as e:
        raise UserError(held) from e
    except OSError as e:
        raise _unwritten(path, e) from e
    with os.fdopen(lock, "rb"):
        yield


def _unwritten(path: Place, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({error.strerror}); choose a folder of yours")


def _keep_owner(place: Path, descriptor: int) -> None:
    """What root writes stays readable to the service whose file it is."""
    if sys.platform != "win32" and place.exists() and (old := place.stat()).st_uid != os.geteuid():
        os.fchown(descriptor, old.st_uid, old.st_gid)


def _flush(folder: Path) -> None:
    """What was taken back must not be there again after a power failure."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
