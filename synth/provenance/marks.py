"""The watermarks that this user's releases were given, each a file of its own, which only its owner can read.

They lie in the folder ``watermarks`` beside the signing key: copy both to know the rows again on another machine.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.watermark import Mark, secret_of

FOLDER = "watermarks"


def keep(mark: Mark) -> None:
    """Have it known here from now on, before any row carries it. UserError where it cannot be kept."""
    path = _place(mark)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(mark.model_dump_json().encode())
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as e:
        raise UserError(
            f"{path}: the watermark cannot be kept ({e.strerror}), and nobody could find it again; set ARTESIAN_CONFIG_DIR to "
            "a folder of yours"
        ) from e


def of(release: str) -> Mark | None:
    """The mark of the release with this id, if one is known here that this user's key makes."""
    own = keys.key()
    if own is None:
        return None
    secret = secret_of(release, own).hex()
    return next((mark for mark in known() if mark.release == release and mark.key == secret), None)


def known(told: Callable[[str], None] | None = None) -> list[Mark]:
    """All that are kept here. UserError for a file that cannot be read, that others can read, or that is none; where there is
    somebody to be ``told`` of it, it is passed over instead."""
    found = list[Mark]()
    for path in sorted((keys.config_dir() / FOLDER).glob("*.json")):
        try:
            found.append(_read(path))
        except UserError as e:
            if told is None:
                raise
            told(f"{e}. It was not looked for")
    return found


def _place(mark: Mark) -> Path:
    return keys.config_dir() / FOLDER / f"{mark.release[:16]}-{mark.id}.json"


def _read(path: Path) -> Mark:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as e:
        raise UserError(f"{path}: the watermark cannot be read ({e.strerror}); run as its owner") from e
    if os.name == "posix" and mode & 0o077:
        raise UserError(f"{path}: the watermark can be read by others (mode {mode:o}); run: chmod 600 {path}")
    try:
        return Mark.model_validate_json(content)
    except ValidationError:  # whose text quotes the key
        raise UserError(f"{path}: is no watermark that this version reads; restore it, or move it away") from None
