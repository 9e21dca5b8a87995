"""A log of the rows that were drawn here, as fingerprints that say nothing about a row to whoever lacks this user's key.

Rows lose their origin where somebody copies them into another file, and come back as somebody's real data. The log knows them
again: of each row that ``artesian sample`` or a service of this user draws, 64 bits of a keyed hash, and as many of the
address (seed, request, number) at which it was drawn. A release's log is a file, which does not grow beyond MOST rows: it then
keeps those alone whose fingerprint is below a threshold, which is halved as often as need be (see ``kept``).

A row that came up at two addresses is one that the generator draws often, and says nothing where it is met; how many there
are of those tells how many rows of a table would be found in the log by chance alone (Good 1953).

ARTESIAN_ROW_LOG=off keeps no log, ARTESIAN_STATE_DIR moves it.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from platformdirs import user_state_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth.data.hashing import hash_text, mix
from synth.data.schema import Column
from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.canonical import cells, columns_of, combined
from synth.provenance.kept import MOST, below, distinct
from synth.provenance.manifest import Sha256
from synth.provenance.siphash import siphash

if TYPE_CHECKING:
    from synth.release import Release

if sys.platform != "win32":
    import fcntl

FOLDER, ENDING = "rows", ".rows"
PURPOSE = "fingerprints of rows"
RECORD = 16  # bytes
HELD = 1 << 16  # fingerprints that wait to be written, at most


def state_dir() -> Path:
    """The user's folder for what Artesian remembers; ``ARTESIAN_STATE_DIR`` overrides it."""
    override = os.environ.get("ARTESIAN_STATE_DIR")
    return Path(override).expanduser() if override else user_state_path("artesian")


def is_on() -> bool:
    """Whether drawn rows are logged. UserError for a word that is neither on nor off."""
    said = os.environ.get("ARTESIAN_ROW_LOG", "on").strip().lower()
    if said not in ("on", "off"):
        raise UserError(f"ARTESIAN_ROW_LOG={said}: say on or off")
    return said == "on"


class Head(BaseModel):
    """What a log is of: rows of a release, known by these ``columns``; ``learnt`` are the hashes of the tables that it has
    learnt from, and ``copies`` the share of its rows that may equal one of those. ``key`` tells whose prints these are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["artesian-rows/1"] = "artesian-rows/1"
    release: Sha256
    name: str
    key: str
    columns: list[Column]
    learnt: list[Sha256]
    copies: Annotated[float, Field(ge=0, le=1)]
    level: int = Field(default=0, ge=0, le=63)


@dataclass(frozen=True)
class Prints:
    """Makes the fingerprints of rows, those below the threshold of a ``level``; for the processes that draw."""

    columns: Sequence[Column]
    key: bytes
    level: int = 0

    def __call__(self, rows: pa.RecordBatch, seed: int, request: str | None, first: int) -> NDArray[np.uint64]:
        """(kept, 2) uint64: of rows drawn for a seed and what was asked, ``request``, the first of which has this number."""
        hashes = [cells(column, rows.column(column.name)) for column in self.columns]
        prints = siphash(self.key, combined(hashes))
        return below(np.stack([prints, addresses(len(prints), seed, request, first)], 1), self.level)


def addresses(rows: int, seed: int, request: str | None, first: int) -> NDArray[np.uint64]:
    numbers = np.arange(first, first + rows, dtype=np.uint64)
    return mix(numbers + np.uint64(hash_text(f"{seed}/{request or ''}")))


class Log:
    """The log of a release at a ``path``, which several processes may add to at once."""

    def __init__(self, path: Path, head: Head) -> None:
        self.path, self.head = path, head

    @classmethod
    def of(cls, release: Release) -> Self | None:
        """A release's, whether there is anything in it yet or not; None where there is to be none, and for images. UserError
        where it cannot be written."""
        columns = columns_of(release.schema)
        if not is_on() or not columns or release.schema.image is not None:
            return None
        secret = keys.derived(keys.signing_key(), PURPOSE)
        figures = {} if release.certificate is None else release.certificate.get("figures", {})
        copies = figures.get("exact_copies") or {}
        head = Head(
            release=release.manifest.id, name=release.manifest.name, key=_id(secret), columns=columns,
            learnt=[entry.sha256 for entry in release.manifest.data], copies=copies.get("high") or copies.get("value") or 0.0,
        )  # fmt: skip
        path = state_dir() / FOLDER / f"{head.release[:16]}-{head.key}{ENDING}"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(path, _read(path)[0] if path.exists() else head)
        except OSError as e:
            raise _unwritten(path, e) from e

    @property
    def prints(self) -> Prints:
        """What makes fingerprints for it."""
        return Prints(self.head.columns, keys.derived(keys.signing_key(), PURPOSE), self.head.level)

    def add(self, pairs: NDArray[np.uint64]) -> None:
        """Have the rows of these fingerprints known here. UserError where the file cannot be written."""
        try:
            with _locked(self.path):
                self._add(pairs)
        except OSError as e:
            raise _unwritten(self.path, e) from e

    def _add(self, pairs: NDArray[np.uint64]) -> None:
        if not self.path.exists():
            self._replace(pairs)
            return
        head, start, size = _head(self.path)
        self.head, pairs, there = head, below(pairs, head.level), (size - start) // RECORD
        if there + len(pairs) > MOST:
            self._replace(np.concatenate([_read(self.path)[1], pairs]))
            return
        with self.path.open("r+b") as file:
            file.seek(start + there * RECORD)  # over what somebody was cut in writing
            file.write(pairs.astype("<u8").tobytes())
            file.truncate()

    def _replace(self, pairs: NDArray[np.uint64]) -> None:
        level, pairs = self.head.level, distinct(pairs)
        while len(pairs) > MOST * 3 // 4:  # and with it, room for more
            level += 1
            pairs = below(pairs, level)
        self.head = self.head.model_copy(update={"level": level})
        partial = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(self.head.model_dump_json().encode() + b"\n")
                file.write(pairs.astype("<u8").tobytes())
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)

    def pairs(self) -> NDArray[np.uint64]:
        """All that it holds, distinct and sorted."""
        return distinct(_read(self.path)[1])


def logged(
    release: Release, batches: Iterator[pa.RecordBatch], seed: int, request: str | None, first: int = 0
) -> Iterator[pa.RecordBatch]:
    """The same batches, which were drawn from a release for a seed and what was asked, logged on their way: some blocks at
    once, and the rest when this ends. UserError, before anything is drawn, where that cannot be."""
    log = Log.of(release)
    return batches if log is None else _logged(log, batches, seed, request, first)


def _logged(
    log: Log, batches: Iterator[pa.RecordBatch], seed: int, request: str | None, first: int
) -> Iterator[pa.RecordBatch]:
    prints, held = log.prints, [np.empty((0, 2), np.uint64)]
    try:
        for batch in batches:
            held.append(prints(batch, seed, request, first))
            first += batch.num_rows
            if sum(map(len, held)) >= HELD:
                log.add(np.concatenate(held))
                held = held[:1]
            yield batch
    finally:
        log.add(np.concatenate(held))


def logs() -> list[Log]:
    """All of this user's key. UserError for one that is damaged."""
    own = keys.key()
    if own is None:
        return []
    secret = keys.derived(own, PURPOSE)
    paths = sorted((state_dir() / FOLDER).glob(f"*-{_id(secret)}{ENDING}"))
    return [Log(path, _head(path)[0]) for path in paths]


def _id(secret: bytes) -> str:
    """Of the key of fingerprints, from which nothing of it can be told."""
    return f"{int(siphash(secret, np.zeros(1, np.uint64))[0]):016x}"


def _head(path: Path) -> tuple[Head, int, int]:
    """The head of a log, where its records begin, and the file's size."""
    with path.open("rb") as file:
        line = file.readline()
        size = os.fstat(file.fileno()).st_size
    return _parsed(path, line), len(line), size


def _parsed(path: Path, line: bytes) -> Head:
    try:
        return Head.model_validate_json(line)
    except ValidationError as e:
        raise UserError(f"{path}: is no log that this version reads; restore it, or move it away") from e


def _read(path: Path) -> tuple[Head, NDArray[np.uint64]]:
    line, _, content = path.read_bytes().partition(b"\n")
    whole = len(content) // RECORD * RECORD
    pairs = np.frombuffer(content[:whole], "<u8").astype(np.uint64).reshape(-1, 2)
    return _parsed(path, line), pairs


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, where there is fcntl. The lock is a file of its own, as the log's is replaced."""
    if sys.platform == "win32":
        yield
        return
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(lock, "rb"):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unwritten(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: drawn rows cannot be logged there ({error.strerror}); set ARTESIAN_STATE_DIR to a folder of yours, or "
        "ARTESIAN_ROW_LOG=off"
    )
