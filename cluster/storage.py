"""Where things are kept: one way to read, write and publish at a local path or at a URI.

Everything that reads or writes a release, a run or a report goes through here, so that ``/data/x``, ``s3://bucket/x``
and ``memory://x`` behave alike, and errors name the place and the remedy but never the credentials in a URI.

A release that is half there is worse than none: ``staged_directory`` publishes a folder whole or not at all.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow import fs as pafs

from cluster.location import Location, append, is_remote, join, resolve, scrub, without_credentials
from synth.errors import UserError

__all__ = [
    "FULL",
    "RUN_MARKER",
    "Location",
    "append",
    "check_free",
    "exists",
    "is_file",
    "is_remote",
    "join",
    "list_files",
    "read_bytes",
    "read_chunks",
    "remove_tree",
    "resolve",
    "staged_directory",
    "without_credentials",
    "write_bytes",
]

# A folder is deleted only if it is a run, in which training writes this marker, or a release and nothing else.
RUN_MARKER = "artesian-run.json"

# Uploaded in this order after everything else: without a signature nothing is a release.
_LAST = ("manifest.json", "manifest.sig")

_CHUNK = 1 << 20
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # EFBIG is what a file-size limit of the process gives


def exists(location: Location) -> bool:
    """Whether there is a file or folder at ``location``."""
    filesystem, path = resolve(location)
    with _translated(location):
        return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)


def is_file(location: Location) -> bool:
    """Whether there is a regular file at ``location``: no folder, pipe or device."""
    filesystem, path = resolve(location)
    with _translated(location):
        return bool(filesystem.get_file_info(path).type == pafs.FileType.File)


def read_chunks(location: Location) -> Iterator[bytes]:
    """The file's bytes in pieces of at most 1 MiB, each read once. Raises UserError where it cannot be read."""
    filesystem, path = resolve(location)
    with _translated(location), filesystem.open_input_stream(path, compression=None) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def read_bytes(location: Location) -> bytes:
    """The whole file. Raises UserError where it cannot be read."""
    return b"".join(read_chunks(location))


def write_bytes(location: Location, data: bytes) -> None:
    """Write a file and the folders above it; a reader sees the old content or the new, never a part.

    Raises UserError for a full disk or a place that may not be written.
    """
    filesystem, path = resolve(location)
    with _translated(location):
        if not is_remote(location):
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = _beside(target, "partial")
            try:
                partial.write_bytes(data)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        else:
            with _sink(filesystem, path) as sink:
                sink.write(data)


def list_files(location: Location) -> dict[str, int]:
    """Every file under the folder ``location``: its path relative to the folder, with ``/``, and its size in bytes.

    Raises UserError where ``location`` is not a folder.
    """
    filesystem, path = resolve(location)
    with _translated(location):
        kind = filesystem.get_file_info(path).type
        if kind == pafs.FileType.NotFound:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if kind != pafs.FileType.Directory:
            raise UserError(f"{without_credentials(location)}: is a file; give the folder that holds it")
        found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    start = len(path.rstrip("/")) + 1
    return {info.path[start:]: info.size for info in sorted(found, key=lambda info: info.path) if info.is_file}


def remove_tree(location: Location) -> None:
    """Delete a release or a run. Raises UserError for any other folder: what Artesian did not make, it keeps."""
    _refuse_strangers(location)
    filesystem, path = resolve(location)
    with _translated(location):
        filesystem.delete_dir(path)


def check_free(out: Location, *, overwrite: bool = False) -> None:
    """Raise UserError where something is at ``out`` and may not be replaced: not asked for, or not ours."""
    if exists(out):
        if not overwrite:
            raise _taken(out)
        _refuse_strangers(out)


@contextmanager
def staged_directory(out: Location, *, overwrite: bool = False) -> Iterator[Path]:
    """A local folder to fill, published at ``out`` when the block ends without an exception.

    Leaving by an error or Ctrl-C removes the staging folder and leaves ``out`` as it was. On a local disk the staging
    folder is beside ``out`` and takes its name by a rename. On an object store, which has none, files are uploaded
    with the manifest and its signature last. With ``overwrite``, what is at ``out`` stays until the new folder is
    complete; a process killed between two steps of the exchange leaves the other one beside ``out``, as
    ``.<name>.replaced-…`` or ``.<name>.partial-…``.

    Raises UserError, before the block starts, where ``out`` exists and ``overwrite`` is not given, or is not ours to
    replace; and where the disk is full or may not be written.
    """
    check_free(out, overwrite=overwrite)
    if is_remote(out):
        with tempfile.TemporaryDirectory(prefix="artesian-") as folder:
            with _full_disk_named(out, Path(folder)):
                yield Path(folder)
            with _translated(out):
                _upload(Path(folder), out, overwrite)
        return
    target = Path(resolve(out)[1]).resolve()  # through links: what they point to is what is replaced
    staging = _beside(target, "partial")
    try:
        with _translated(out):
            staging.mkdir(parents=True)
        with _full_disk_named(out, staging):
            yield staging
            _flush(staging)
        with _translated(out):
            if not target.exists():
                staging.rename(target)
            elif overwrite:
                _exchange(staging, target)
            else:  # made by somebody else while this one was being filled
                raise _taken(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _translated(location: Location) -> Iterator[None]:
    """Turn what a disk or a store refuses into a UserError that names ``location`` and the remedy."""
    name = without_credentials(location)
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file or folder; check the path") from error
    except PermissionError as error:
        raise UserError(f"{name}: permission denied; choose another place or change its permissions") from error
    except NotADirectoryError as error:
        raise UserError(f"{name}: a part of this path is a file, not a folder; choose another place") from error
    except OSError as error:
        if error.errno in FULL:
            raise UserError(f"{name}: no space left to write it; free some or choose another place") from error
        if is_remote(location):  # the store's client has retried by now
            raise UserError(
                f"{name}: {scrub(str(error))}; check the address, the network and the credentials"
            ) from error
        raise UserError(f"{name}: {error.strerror or error}; choose another place") from error


@contextmanager
def _full_disk_named(out: Location, folder: Path) -> Iterator[None]:
    """Turn a full disk under ``folder`` into a UserError with figures; errors about other files pass as they are."""
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(folder)
        if error.errno not in FULL or elsewhere:
            raise
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        free = shutil.disk_usage(folder).free
        raise UserError(
            f"{without_credentials(out)}: no space left to write it: {_size(written)} are written, more is needed, and "
            f"{_size(free)} are free on that disk ({os.strerror(error.errno)}); free some, raise the quota or choose "
            "another place"
        ) from error


def _size(count: int) -> str:
    value, units = float(count), ["bytes", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:.0f} {units[0]}"


def _taken(out: Location) -> UserError:
    return UserError(f"{without_credentials(out)}: exists; choose another place, or replace it with --overwrite")


def _refuse_strangers(location: Location) -> None:
    files = set(list_files(location))
    if not files or RUN_MARKER in files:
        return
    if not files.issuperset(_LAST):
        raise UserError(
            f"{without_credentials(location)}: is neither a release nor a run of Artesian, so it is not replaced or "
            "deleted; choose another place, or remove it yourself"
        )
    try:
        strangers = files.difference(_LAST, json.loads(read_bytes(join(location, _LAST[0])))["files"])
    except (ValueError, TypeError, KeyError):  # no manifest that says what belongs here
        strangers = files.difference(_LAST)
    if strangers:
        raise UserError(
            f"{without_credentials(location)}: holds {', '.join(sorted(strangers)[:3])}, which the release there does "
            "not list, so it is not replaced or deleted; move that away, or choose another place"
        )


def _beside(path: Path, purpose: str) -> Path:
    """A fresh hidden name on the same file system as ``path``, so that a rename can move it into place."""
    return path.with_name(f".{path.name}.{purpose}-{secrets.token_hex(4)}")


def _flush(folder: Path) -> None:
    """Bring the files to the disk before they get their name, which would get there first otherwise."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _exchange(new: Path, target: Path) -> None:
    old = _beside(target, "replaced")
    try:
        target.rename(old)
        new.rename(target)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
    shutil.rmtree(old)


def _upload(folder: Path, out: Location, overwrite: bool) -> None:
    filesystem, path = resolve(out)
    names = _in_order(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    old = _in_order(list_files(out)) if exists(out) else []
    if old and not overwrite:
        raise _taken(out)
    # Straight to its place where that is free; else beside the old one, which stays until the new one is complete.
    parent, base = posixpath.split(path)
    target = posixpath.join(parent, f".{base}.partial-{secrets.token_hex(4)}") if old else path
    complete = False
    try:
        for name in names:
            with (folder / name).open("rb") as source, _sink(filesystem, f"{target}/{name}") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
        complete = True
    finally:
        if not complete:
            _delete(filesystem, target, names)
    if old:
        _delete(filesystem, path, reversed(old))  # its signature first: from here on it is no release
        for name in names:
            _make_parent(filesystem, f"{path}/{name}")
            filesystem.copy_file(f"{target}/{name}", f"{path}/{name}")
        filesystem.delete_dir(target)


def _in_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_LAST.index(name) + 1 if name in _LAST else 0, name))


@contextmanager
def _sink(filesystem: pafs.FileSystem, path: str) -> Iterator[pafs.FileSystem]:
    _make_parent(filesystem, path)
    with filesystem.open_output_stream(path, compression=None) as stream:
        yield stream


def _make_parent(filesystem: pafs.FileSystem, path: str) -> None:
    if filesystem.type_name not in ("s3", "gcs", "abfs"):  # those have no folders, and may forbid to make a bucket
        filesystem.create_dir(posixpath.dirname(path), recursive=True)


def _delete(filesystem: pafs.FileSystem, folder: str, names: Iterable[str]) -> None:
    for name in names:
        if filesystem.get_file_info(f"{folder}/{name}").is_file:
            filesystem.delete_file(f"{folder}/{name}")
