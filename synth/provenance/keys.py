"""The key that signs releases, and whose signatures are known here.

A release says who made it and that nothing in it was changed since. For that, the first release made on a machine
creates an Ed25519 key (RFC 8032) under the user's configuration folder, readable by its owner alone. The secret never
leaves that file; its public half travels in every release's ``manifest.sig``, so that anyone can check that the files
are the ones that were signed. *Whose* key it was, mathematics cannot say: the fingerprint must come from the signer by
another way (a web page, a phone call). Write it into the file ``trusted_keys`` beside the key, one line each,

    ed25519:0123456789abcdef0123456789abcdef  Ana of the data team

and ``artesian verify`` will name her. One's own key is always trusted. To sign as the same person on several machines,
copy ``signing.key``; to lose it means only that later releases carry another fingerprint. ``ARTESIAN_CONFIG_DIR`` moves
the folder, for a service account or a mounted secret.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from platformdirs import user_config_path

from synth.errors import UserError

_FINGERPRINT = re.compile(r"ed25519:[0-9a-f]{32}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Signer:
    """Whose key made a signature, as far as this machine knows."""

    kind: Literal["own", "trusted", "unknown"]
    fingerprint: str
    name: str | None = None

    def __str__(self) -> str:
        if self.kind == "own":
            return f"your own key ({self.fingerprint})"
        if self.kind == "trusted":
            return f"{self.name} ({self.fingerprint})"
        return f"an unknown key, {self.fingerprint}; if you know whose it is, add it with a name to {trust_file()}"


def config_dir() -> Path:
    """The user's configuration folder for Artesian; ``ARTESIAN_CONFIG_DIR`` overrides it."""
    override = os.environ.get("ARTESIAN_CONFIG_DIR")
    return Path(override).expanduser() if override else user_config_path("artesian")


def key_file() -> Path:
    """Where the signing key is, or will be once something is signed."""
    return config_dir() / "signing.key"


def trust_file() -> Path:
    """The list of known keys: a fingerprint and a name on each line; ``#`` starts a comment."""
    return config_dir() / "trusted_keys"


def signing_key() -> Ed25519PrivateKey:
    """This user's key; made now if there is none yet.

    Raises UserError if the file can be read by others, is not an Ed25519 key, or cannot be made.
    """
    return _load() or _create()


def ready() -> str | None:
    """Make sure that there is a usable key, before work that will be signed; a note for the user if it was made now.

    Raises UserError as ``signing_key`` does.
    """
    if _load() is not None:
        return None
    name = fingerprint(_create().public_key().public_bytes_raw())
    return f"releases made here are signed with a new key, {name}, kept at {key_file()}: copy it to sign elsewhere"


def sign(data: bytes) -> tuple[bytes, bytes]:
    """Sign ``data`` with this user's key: the signature (64 bytes) and the public key (32 bytes)."""
    key = signing_key()
    return key.sign(data), key.public_key().public_bytes_raw()


def key() -> Ed25519PrivateKey | None:
    """This user's key, None where there is none yet. UserError as ``signing_key`` raises it."""
    return _load()


def derived(own: Ed25519PrivateKey, purpose: str) -> bytes:
    """16 secret bytes for a ``purpose``, the same wherever the key is; who has some of them can tell nothing of others."""
    return hashlib.blake2b(purpose.encode(), key=own.private_bytes_raw(), digest_size=16).digest()


def verify(data: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether ``signature`` over ``data`` was made with the secret half of ``public_key`` (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):  # ValueError: not 32 bytes
        return False
    return True


def fingerprint(public_key: bytes) -> str:
    """A short name of a public key: 128 bits of its SHA-256, which nobody can match with another key."""
    return f"ed25519:{hashlib.sha256(public_key).hexdigest()[:32]}"


def signer(public_key: bytes) -> Signer:
    """Whose key this is: one's own, one named in the trust list, or an unknown one. Makes no key."""
    print_ = fingerprint(public_key)
    own = _load()
    if own is not None and own.public_key().public_bytes_raw() == public_key:
        return Signer("own", print_)
    name = trusted_keys().get(print_)
    return Signer("trusted", print_, name) if name else Signer("unknown", print_)


def trusted_keys() -> dict[str, str]:
    """The names of known keys by fingerprint. Raises UserError, with the line, for one that cannot be read."""
    try:
        lines = trust_file().read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnicodeDecodeError as error:
        raise UserError(f"{trust_file()}: is not UTF-8 text; save it as such") from error
    except OSError as error:
        raise UserError(f"{trust_file()}: cannot be read ({error.strerror}); run as its owner") from error
    names = {}
    for number, line in enumerate(lines, start=1):
        entry, _, name = line.partition("#")[0].strip().partition(" ")
        if not entry:
            continue
        if not _FINGERPRINT.fullmatch(entry) or not name.strip():
            raise UserError(f"{trust_file()}, line {number}: expected a fingerprint and a name, as in 'ed25519:… Ana'")
        names[entry] = name.strip()
    return names


def read_private(path: Path, what: str) -> bytes | None:
    """A secret as its owner keeps it, None where there is none. UserError where it cannot be read, or by others, too."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # of what is read, not of what the name says later
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path}: the {what} cannot be read ({error.strerror}); run as its owner") from error
    if os.name == "posix" and mode & 0o077:
        raise UserError(f"{path}: the {what} can be read by others (mode {mode:o}); run: chmod 600 {path}")
    return content


def keep_private(path: Path, content: bytes, what: str) -> None:
    """Write a secret that its owner alone can read, unless there is one by now. UserError where it cannot be written."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:  # a file, where the folder should be
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path.parent) from error
        # Born with its final mode, so at no moment wider; linked, not renamed, so that of two processes that sign for
        # the first time together the later one finds the key of the earlier instead of replacing it.
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                os.fsync(file.fileno())
            os.link(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except FileExistsError:
        pass
    except OSError as error:
        raise UserError(
            f"{path}: the {what} cannot be made ({error.strerror}); set ARTESIAN_CONFIG_DIR to a folder of yours"
        ) from error


def _load() -> Ed25519PrivateKey | None:
    path = key_file()
    content = read_private(path, "signing key")
    if content is None:
        return None
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted. The content stays unquoted.
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: not an unencrypted Ed25519 key in PEM; restore it, or move it away to have one made")
    return key


def _create() -> Ed25519PrivateKey:
    path = key_file()
    made = Ed25519PrivateKey.generate()
    content = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keep_private(path, content, "signing key")
    key = _load()
    assert key is not None
    logger.info("the signing key is %s (%s)", path, fingerprint(key.public_key().public_bytes_raw()))
    return key
