"""Where files lie: a path, folder, glob, list or URI becomes a sorted list of files of one format."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs
from fsspec.implementations.arrow import ArrowFSWrapper

from cluster.location import is_remote, resolve, scrub, without_credentials
from synth.data.schema import nearest
from synth.errors import UserError

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".orc": "orc",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"), "image"),
    **dict.fromkeys((".npy", ".npz"), "arrays"),
}
COMPRESSED = (".gz", ".bz2", ".zst")
BESIDE = ".origin.json"  # of the name of a file that says where the rows of the file beside it come from
MOST_BESIDE = 1 << 16  # bytes of it: more is no origin
BESIDE_IMAGES = ("labels.csv", "metadata.csv")


class Beside(NamedTuple):
    """What the file of this ``name`` says of the one that it lies beside: nothing where there is none, None where whether
    there is one may not be looked up."""

    content: bytes | None
    name: str | None = None


@dataclass(frozen=True)
class Files:
    """Files of one format on one file system, in the order in which they are read."""

    paths: tuple[str, ...]
    format: str
    filesystem: pa.fs.FileSystem
    prefix: str = ""
    folder: str | None = None
    notes: tuple[str, ...] = ()

    def name(self, path: str) -> str:
        """The path as messages and releases show it: with its scheme, without credentials."""
        # fsspec's paths on the web are whole URIs.
        return without_credentials(path if "://" in path else self.prefix + path)

    def open(self, path: str, *, decompress: bool = True) -> pa.NativeFile:
        return self.filesystem.open_input_stream(path, compression="detect" if decompress else None)

    def beside(self) -> list[tuple[str, Beside]]:
        """What the file beside each of these says, after the name of this one. Of images there is one for each folder that has
        one, and one for all the others."""
        if self.format == "image":
            return list(self._beside_folders().items())
        return [(self.name(path), self._first(_named(path))) for path in self.paths]

    def _beside_folders(self) -> dict[str, Beside]:
        """By the folder that speaks for images: that in which they lie or the nearest above, up to the one in which all do and
        that which holds it, as this may be the folder of a class."""
        folders = sorted({posixpath.dirname(path) for path in self.paths})
        root = self.folder or posixpath.commonpath(folders)
        known, found = dict[str, Beside](), dict[str, Beside]()
        for folder in folders:
            speaks, place = root, folder
            said = Beside(b"")
            while True:
                if place not in known:
                    known[place] = self._first([place])
                if known[place].content:
                    speaks, said = place, known[place]
                    break
                said = said if known[place].content is not None else known[place]
                above = posixpath.dirname(place)
                if len(place) < len(root) or not above.strip("/"):
                    break
                place = above
            found[self.name(speaks)] = said
        return found

    def _first(self, names: Sequence[str]) -> Beside:
        """What the first says that there is, of the files beside these ``names``."""
        nothing = Beside(b"")
        for place in (f"{name.rstrip('/')}{BESIDE}" for name in names):
            with reading(self.name(place)):
                try:
                    if self.filesystem.get_file_info(place).type == pyarrow.fs.FileType.File:
                        with self.filesystem.open_input_stream(place, compression=None) as stream:
                            return Beside(bytes(stream.read(MOST_BESIDE)), self.name(place))
                except OSError as error:
                    if not _denied(error):
                        raise
                    nothing = Beside(None)
        return nothing

    def place(self, counts: Sequence[int], row: int) -> str:
        """``FILE, row R`` for the zero-based ``row`` of all files together, given each file's rows; R counts from 1.
        An image is a file."""
        if self.format == "image":
            return self.name(self.paths[row])
        for path, count in zip(self.paths, counts, strict=True):
            if row < count:
                return f"{self.name(path)}, row {row + 1}"
            row -= count
        raise IndexError(row)


def _named(path: str) -> list[str]:
    """A file and, of one that was compressed since it was written, what it was before."""
    return [path, *(path.removesuffix(ending) for ending in COMPRESSED if path.lower().endswith(ending))]


def _denied(error: OSError) -> bool:
    """Whether a look-up was refused, as it is for a file that is not there where one may read files and not list them."""
    return isinstance(error, PermissionError) or any(
        word in str(error) for word in ("ACCESS_DENIED", "HTTP status 403")
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what reading ``name`` raises into a UserError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{name}: there is no such file.") from error
    except PermissionError as error:
        raise UserError(
            f"{name}: reading it is not permitted. Give yourself read access or name another file."
        ) from error
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = scrub(str(error).strip().splitlines()[0].rstrip("."))
        raise UserError(
            f"{name}: cannot be read ({reason}). It may be truncated or damaged: write it again."
        ) from error


def texts(said: Beside) -> dict[bytes, bytes]:
    """What a file beside another says. UserError where that is no JSON object of texts."""
    if not said.content:
        return {}
    try:
        found = json.loads(said.content)
        return {key.encode(): text.encode() for key, text in found.items()}
    except (
        ValueError,
        AttributeError,
        RecursionError,
    ) as e:  # no JSON, no object, no texts, or too deep for any of them
        raise UserError(f"{said.name}: says nothing that can be understood; restore it, or draw the rows again") from e


def find(location: str | Path | Sequence[str | Path]) -> Files:
    """The files of ``location``: a file, a folder (searched to the bottom), a glob, or a list of these.

    Folders and globs are sorted by path; a list keeps its order. In folders, names that start with ``.`` or ``_`` are
    bookkeeping and left out, as everywhere in the Arrow world; files of unknown format are left out and noted.

    Raises UserError for what is missing (with the nearest name that exists), empty, of unknown or of mixed format.
    """
    if isinstance(location, str | Path):
        return _find_one(str(location))
    if not location:
        raise UserError("no file given: the list of files is empty.")
    found = [_find_one(str(one)) for one in location]
    for other in found[1:]:
        if (other.format, other.prefix) != (found[0].format, found[0].prefix):
            raise UserError(
                f"{other.name(other.paths[0])} and {found[0].name(found[0].paths[0])} differ in format or storage: "
                "give files of one kind."
            )
    return Files(
        tuple(path for files in found for path in files.paths),
        found[0].format,
        found[0].filesystem,
        found[0].prefix,
        notes=tuple(note for files in found for note in files.notes),
    )


def _find_one(location: str) -> Files:
    storage, filesystem, path = _storage(location)
    prefix = f"{location.partition('://')[0]}://" if is_remote(location) else ""
    location = without_credentials(location)
    with reading(location):
        if storage.isdir(path):
            storage.ls(path)  # raises for a folder that may not be read, which the search takes for an empty one
            paths = sorted(storage.find(path))
            folder = path.rstrip("/")
            visible = [p for p in paths if not (_hidden(p[len(folder) :]) or p.endswith(BESIDE))]
            known = [p for p in visible if _format(p) is not None]
            skipped = [PurePosixPath(p).name for p in visible if _format(p) is None]
        else:
            folder, skipped = None, []
            found = [path] if storage.isfile(path) else sorted(p for p in storage.glob(path) if storage.isfile(p))
            known = [p for p in found if p == path or not p.endswith(BESIDE)]
    if not known:
        raise UserError(_nothing(storage, path, location, folder, skipped))
    if folder is not None and any(_format(p) == "image" for p in known):
        # A table that tells of the images is no table of its own.
        known = [p for p in known if p not in (f"{folder}/{name}" for name in BESIDE_IMAGES)]
    formats = {_format(p): p for p in reversed(known)}
    if None in formats:
        odd = without_credentials(formats[None])
        raise UserError(f"{odd}: unknown format. Known endings: {', '.join(FORMATS)} (text also .gz).")
    if len(formats) > 1:
        raise UserError(
            f"{location} mixes formats ({' and '.join(map(without_credentials, sorted(formats.values())))}): "
            "name one kind with a glob such as '*.parquet'."
        )
    notes = (f"{location}: left out files of unknown format: {', '.join(skipped)}",) if skipped else ()
    files = Files(tuple(known), _format(known[0]) or "", filesystem, prefix, folder, notes)
    for one in known if files.format != "image" else ():  # an empty image is one that cannot be read
        with reading(files.name(one)):
            if storage.size(one) == 0:
                raise UserError(f"{files.name(one)}: the file is empty (0 bytes). Write it again or leave it out.")
    return files


def _storage(location: str) -> tuple[Any, pa.fs.FileSystem, str]:
    """The file system of a location as fsspec and as Arrow know it, and the path in it."""
    try:
        filesystem, path = resolve(location)
    except OSError as error:
        name, reason = without_credentials(location), scrub(str(error))
        raise UserError(f"{name}: this storage cannot be reached ({reason}).") from error
    if isinstance(filesystem, pa.fs.PyFileSystem):  # Arrow's view of one of fsspec's
        return filesystem.handler.fs, filesystem, path
    return ArrowFSWrapper(filesystem), filesystem, path


def _hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative.split("/") if part)


def _format(path: str) -> str | None:
    suffixes = [s.lower() for s in PurePosixPath(path).suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSED:
        found = FORMATS.get(suffixes[-2])
        return found if found in ("csv", "ndjson") else None
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _nothing(storage: Any, path: str, location: str, folder: str | None, skipped: list[str]) -> str:
    if folder is not None:
        what = f"holds no table (only {', '.join(skipped[:3])})" if skipped else "is empty"
        return f"{location}: the folder {what}. Known endings: {', '.join(FORMATS)}."
    parent, _, name = path.rpartition("/")
    if any(sign in name for sign in "*?["):
        return f"{location}: the pattern matches no file."
    try:
        siblings = [PurePosixPath(p).name for p in storage.ls(parent or "/", detail=False)]
    except (OSError, NotImplementedError):
        siblings = []
    return f"{location}: there is no such file or folder.{nearest(name, siblings)}"
