"""A log of the rows that were drawn here, as fingerprints that say nothing about a row to whoever lacks this user's key.

Rows lose their origin where somebody copies them into another file, and come back as somebody's real data. The log knows them
again: of each row that the user draws, by the command, in Python or by a service, 64 bits of a keyed hash, and as many of
another of the address (seed, request, number) at which it was drawn. A release's log is a file, which does not grow beyond
MOST rows: it then keeps those alone whose fingerprint is below a threshold, which is halved as often as need be (see ``kept``).

Not logged is what a service's replicas draw on nodes that have no key of the user's, as those of a cluster: only its jobs are,
in the log of the node that hands them out.

A row that came up at two addresses is one that the generator draws often, and says nothing where it is met; how many there
are of those tells how many rows of a table would be found in the log by chance alone (Good 1953).

ARTESIAN_ROW_LOG=off keeps no log, ARTESIAN_STATE_DIR moves it.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

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

logger = logging.getLogger(__name__)


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
    learnt from, and ``copies`` the share of its rows that may equal one of those. ``key`` tells whose log it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["artesian-rows/2"] = "artesian-rows/2"
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
    key: bytes = field(repr=False)
    level: int = 0

    def __call__(self, rows: pa.RecordBatch, seed: int, request: str | None, first: int) -> NDArray[np.uint64]:
        """(kept, 2) uint64: of rows drawn for a seed and what was asked, ``request``, the first of which has this number."""
        hashes = [cells(column, rows.column(column.name)) for column in self.columns]
        prints = siphash(self.key, combined(hashes))
        numbers = np.arange(first, first + len(prints), dtype=np.uint64)
        # Keyed, too: anybody could undo the mixing alone, and tell the seed and the row.
        asked = hash_text(f"{seed}/{'' if request is None else request}")
        addresses = siphash(self.key, mix(numbers + np.uint64(asked)))
        return below(np.stack([prints, addresses], 1), self.level)


class Log:
    """The log of a release at a ``path``, which several processes may add to at once."""

    def __init__(self, path: Path, head: Head) -> None:
        self.path, self.head = path, head
        self._told = False  # that rows are missing from it

    @classmethod
    def of(cls, release: Release) -> Self | None:
        """A release's, whether there is anything in it yet or not; None where there is to be none, and for images. UserError
        where it cannot be written."""
        if not _wanted(release):
            return None
        record = release.manifest
        head = Head(
            release=record.id, name=record.name, key=_id(keys.derived(keys.signing_key(), PURPOSE)),
            columns=columns_of(release.schema), learnt=[entry.sha256 for entry in record.data],
            copies=_copies(release.certificate),
        )  # fmt: skip
        log = cls(state_dir() / FOLDER / f"{head.release[:16]}-{head.key}{ENDING}", head)
        log._open()
        return log

    @classmethod
    def where_possible(cls, release: Release) -> Self | None:
        """As ``of``, for rows that are drawn in any case: where they cannot be logged, or nobody has a key yet, that is a
        warning, and None."""
        try:
            if _wanted(release) and keys.key() is None:
                raise UserError(f"there is no signing key at {keys.key_file()}")
            return cls.of(release)
        except UserError as e:
            logger.warning("%s: drawn rows are not logged: %s", release.manifest.name, e)
            return None

    @property
    def prints(self) -> Prints:
        """What makes fingerprints for it, by a key that is good for this release alone: other nodes get it."""
        key = keys.derived(keys.signing_key(), f"{PURPOSE} {self.head.release}")
        return Prints(self.head.columns, key, self.head.level)

    def add(self, pairs: NDArray[np.uint64]) -> None:
        """Have the rows of these fingerprints known here. UserError where the file cannot be written."""
        try:
            with _locked(self.path):
                self._add(pairs)
        except OSError as e:
            raise _unwritten(self.path, e) from e

    def add_if_possible(self, pairs: NDArray[np.uint64]) -> None:
        """As ``add``, for rows that somebody has waited for: where it fails, that is a warning, the first time."""
        try:
            self.add(pairs)
        except UserError as e:
            if not self._told:
                logger.warning("%s: drawn rows are not logged, these at least: %s", self.head.name, e)
            self._told = True

    def _open(self) -> None:
        """Find out now whether it can be written, and not when rows are drawn."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.path), tempfile.TemporaryFile(dir=self.path.parent):
                if self.path.exists():
                    with self.path.open("r+b") as file:
                        self.head = _parsed(self.path, file.readline())
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
            file.write(packed(pairs))
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
                file.write(packed(pairs))
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the name, and nothing in it
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)

    def pairs(self) -> NDArray[np.uint64]:
        """All that it holds, distinct and sorted; nothing where it is gone. UserError where it cannot be read."""
        try:
            return distinct(_read(self.path)[1])
        except FileNotFoundError:
            return np.empty((0, 2), np.uint64)


LogOf = Callable[["Release"], Log | None]
"""``Log.of`` or ``Log.where_possible``."""


def logged(
    release: Release, batches: Iterator[pa.RecordBatch], seed: int, request: str | None, first: int = 0,
    log_of: LogOf = Log.of,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """The same batches, which were drawn from a release for a seed and what was asked, logged on their way: some blocks at
    once, and the rest when this ends. With ``Log.of``, UserError before anything is drawn where that cannot be; where it can no
    longer be later on, that is a warning."""
    log = log_of(release)
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
                log.add_if_possible(np.concatenate(held))
                held = held[:1]
            yield batch
    finally:
        log.add_if_possible(np.concatenate(held))


def logs(told: Callable[[str], None] = logger.warning) -> list[Log]:
    """All of this user's key; of each that is damaged or cannot be read, it is ``told`` why."""
    own = keys.key()
    if own is None:
        return []
    found, secret = list[Log](), keys.derived(own, PURPOSE)
    for path in sorted((state_dir() / FOLDER).glob(f"*-{_id(secret)}{ENDING}")):
        try:
            found.append(Log(path, _head(path)[0]))
        except FileNotFoundError:  # it was removed since
            continue
        except UserError as e:
            told(f"{e}. Nothing was looked up in it")
    return found


def packed(pairs: NDArray[np.uint64]) -> bytes:
    return pairs.astype("<u8").tobytes()


def unpacked(content: bytes) -> NDArray[np.uint64]:
    """The whole records of it."""
    whole = len(content) // RECORD * RECORD
    return np.frombuffer(content[:whole], "<u8").astype(np.uint64).reshape(-1, 2)


def _wanted(release: Release) -> bool:
    return is_on() and release.schema.image is None and bool(columns_of(release.schema))


def _copies(certificate: Any) -> float:
    """The largest share of copies of real rows that a certificate, which may be a stranger's, admits; 0 where it says none."""
    for name in ("figures", "exact_copies"):
        certificate = certificate.get(name) if isinstance(certificate, dict) else None
    for name in ("high", "value"):
        share = certificate.get(name) if isinstance(certificate, dict) else None
        if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1:
            return float(share)
    return 0.0


def _id(secret: bytes) -> str:
    """Of the key of fingerprints, from which nothing of it can be told."""
    return f"{int(siphash(secret, np.zeros(1, np.uint64))[0]):016x}"


def _head(path: Path) -> tuple[Head, int, int]:
    """The head of a log, where its records begin, and the file's size."""
    with _reading(path), path.open("rb") as file:
        line = file.readline()
        size = os.fstat(file.fileno()).st_size
    return _parsed(path, line), len(line), size


def _parsed(path: Path, line: bytes) -> Head:
    try:
        return Head.model_validate_json(line)
    except ValidationError as e:
        raise UserError(f"{path}: is no log that this version reads; restore it, or move it away") from e


def _read(path: Path) -> tuple[Head, NDArray[np.uint64]]:
    with _reading(path):
        line, _, content = path.read_bytes().partition(b"\n")
    return _parsed(path, line), unpacked(content)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """UserError for a log that cannot be read, but for one that is gone."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as e:
        raise UserError(
            f"{path}: the log of drawn rows cannot be read ({e.strerror}); have it belong to you, or move it away"
        ) from e


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
