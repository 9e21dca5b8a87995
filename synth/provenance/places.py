"""Where ancestors are looked for: beside what comes from them, and in the folders that the user names.

A manifest names places, too, and a stranger's is no reason to read any of them: an address tells whoever holds it that somebody
has looked, and a path may be of anything on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyarrow import fs as pafs

from cluster import storage
from synth.data.source import Source, open_source
from synth.errors import ReleaseError, UserError
from synth.provenance import manifest
from synth.provenance.manifest import DataEntry

MANIFEST = "manifest.json"
MOST = 1_000  # folders beside each other that are searched for a release


def around(location: str) -> str:
    """The folder that something lies in."""
    if not storage.is_remote(location):
        return str(Path(location).resolve().parent)
    place, mark, query = location.partition("?")
    return f"{place.rstrip('/').rpartition('/')[0]}{mark}{query}"


def find(id: str, folders: Sequence[str]) -> str | None:
    """The folder of the release with this id, among ``folders`` and those that they hold; None where there is none."""
    for folder in dict.fromkeys(folders):
        for place in [folder, *_folders(folder)]:
            at = storage.join(place, MANIFEST)
            if storage.is_file(at):
                try:
                    if manifest.parse(storage.read_bytes(at)).id == id:
                        return place
                except ReleaseError:  # a damaged stranger's
                    continue
    return None


def _folders(folder: str) -> list[str]:
    filesystem, path = storage.resolve(folder)
    if filesystem.get_file_info(path).type != pafs.FileType.Directory:
        return []
    found = filesystem.get_file_info(pafs.FileSelector(path))
    names = sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)
    return [storage.join(folder, name) for name in names[:MOST] if not name.startswith(".")]


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
        except UserError:
            continue
        if not same or source.fingerprint() == entry.sha256:
            return source
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
