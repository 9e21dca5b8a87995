"""Where ancestors are looked for: beside what comes from them, and in the folders that the user names.

A manifest names places, too, and a stranger's is no reason to read any of them: an address tells whoever holds it that somebody
has looked, and a path may be of anything on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyarrow import fs as pafs

from cluster import storage
from synth import release as releases
from synth.data.location import reading
from synth.data.source import Source, open_source
from synth.errors import ReleaseError, UserError
from synth.provenance import manifest
from synth.provenance.manifest import DataEntry

MANIFEST = "manifest.json"
MOST = 1_000  # folders beside each other that are searched for a release
MOST_BYTES = 16 << 20  # of a manifest: more was written by nothing here


def around(location: str) -> str:
    """The folder that something lies in."""
    if not storage.is_remote(location):
        return str(Path(location).resolve().parent)
    place, mark, query = location.partition("?")
    return f"{place.rstrip('/').rpartition('/')[0]}{mark}{query}"


def find(id: str, named: Sequence[str], near: str) -> str | None:
    """The folder of the release with this id, among those that the user has ``named``, the one that is ``near``, and what they
    hold; None where there is none. A whole one goes before a broken one.

    UserError for what was named and cannot be read; other people's things beside it are passed over.
    """
    broken = None
    for place, sure in _candidates(named, near):
        try:
            if _id(place) != id:
                continue
            whole = releases.verify(place).whole
        except UserError:
            if sure:
                raise
            continue
        if whole:
            return place
        broken = place if broken is None else broken
    return broken


def _candidates(named: Sequence[str], near: str) -> Iterator[tuple[str, bool]]:
    """The folders that may be a release, and whether the user has named them."""
    for folder in dict.fromkeys(named):
        yield folder, True
        yield from ((storage.join(folder, name), False) for name in _folders(folder))
    if near in named:
        return
    yield near, False
    try:
        names = _folders(near)
    except UserError:
        return
    yield from ((storage.join(near, name), False) for name in names)


def _id(place: str) -> str | None:
    """The id that the manifest at a place tells; None where there is none, or one that nobody here has written."""
    at = storage.join(place, MANIFEST)
    filesystem, path = storage.resolve(at)
    with reading(storage.without_credentials(at)):
        found = filesystem.get_file_info(path)
    if found.type != pafs.FileType.File or found.size is None or found.size > MOST_BYTES:
        return None
    try:
        return manifest.parse(storage.read_bytes(at)).id
    except ReleaseError:  # a damaged stranger's
        return None


def _folders(folder: str) -> list[str]:
    """The names of the folders in it. UserError where it cannot be read."""
    filesystem, path = storage.resolve(folder)
    with reading(storage.without_credentials(folder)):
        if filesystem.get_file_info(path).type != pafs.FileType.Directory:
            return []
        if isinstance(filesystem, pafs.LocalFileSystem):
            # Arrow's own listing fails as a whole for a name that is no text, and for a link to where nobody may look.
            with os.scandir(path) as there:
                found = [one.name for one in there if _is_text(one.name) and _is_folder(one)]
        else:
            infos = filesystem.get_file_info(pafs.FileSelector(path))
            found = [info.base_name for info in infos if info.type == pafs.FileType.Directory]
    return sorted(name for name in found if not name.startswith("."))[:MOST]


def _is_folder(one: os.DirEntry[str]) -> bool:
    try:
        return one.is_dir()
    except OSError:  # a link to where nobody may look
        return False


def _is_text(name: str) -> bool:
    return name.encode("utf-8", "replace") == os.fsencode(name)


def table(entry: DataEntry, folders: Sequence[str], *, known: bool) -> Source | None:
    """The table of a release that lies in the first of ``folders``, and whose signer is ``known`` or not; None where it is not
    to be found.

    One that was given by a relative path lies beside the release or, if it is the same, in this folder, where another may have
    its name. Where it was given otherwise, that place is looked at for a known signer alone. By its name, what is the same is
    taken from any of the folders.
    """
    for place, same in _places(entry.location, folders, known=known).items():
        try:
            source = open_source(place)
            if not same or source.fingerprint() == entry.sha256:
                return source
        except UserError:
            continue
    return None


def _places(location: str, folders: Sequence[str], *, known: bool) -> dict[str, bool]:
    """The places of a table, and whether only the same one will do there."""
    places, whole = dict[str, bool](), "://" in location or Path(location).is_absolute()
    if known or not (whole or location.startswith("~") or ".." in location):
        places = {location: False} if whole else {storage.join(folders[0], location): False, location: True}
    name = location.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return places | {
        place: True for place in (storage.join(folder, name) for folder in folders) if name and place not in places
    }
