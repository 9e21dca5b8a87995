"""What a path or a URI means: which file system holds it, and how to name it without the secrets it may carry."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, unquote_plus, urlencode

from pyarrow import fs as pafs
from pyarrow.lib import ArrowInvalid, ArrowNotImplementedError

from synth.errors import UserError

Location = str | os.PathLike[str]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):(?://|:.*://)")  # two letters at least: "C:\x" is a path
_NATIVE = {"file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"}  # what Arrow speaks without Python's help

# Credentials hide before the host (also unescaped, with slashes, as people paste secret keys) and in the query, where
# only what is known to be harmless is kept: a token can have any name.
_USERINFO = re.compile(r"^(?:[^/?#]*@|[^/@]*:(?!\d+(?:[/?#]|$)).*@)", re.DOTALL)
_CONTAINER = re.compile(r"^[A-Za-z0-9$-]+@")  # abfss://container@account: the part before @ is a place, not a person
_HARMLESS = {"region", "scheme", "endpoint_override", "versionid"}
_CONNECTION = re.compile(r"^\s*\w[\w ]*=|;")
_NAME = r"(?i)([\w.-]*(?:pass|pwd|secret|token|key|sig|credential)[\w.-]*\s*=\s*)"
_SECRET = re.compile(_NAME + r"('[^']*'|[^\s]+)")  # as in libpq: host=… password='…'
_SECRET_LISTED = re.compile(_NAME + r"({[^}]*}|[^;]+)")  # as in ODBC: UID=…;PWD={…}
_URI = re.compile(r"[A-Za-z][\w+.:-]*://\S+")


def without_credentials(location: Location) -> str:
    """``location`` with user names, passwords, keys and tokens taken out, for messages and manifests.

    Query parameters are dropped unless known to be harmless; in connection strings (``host=…;pwd=…``) the values of
    secret-sounding names become ``***``. A plain path comes back as it is.
    """
    return "::".join(map(_strip, os.fspath(location).split("::")))  # fsspec chains: zip://a.csv::https://u:p@host/z


def _strip(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _mask(uri)
    if not (scheme.startswith(("abfs", "wasb")) and _CONTAINER.match(rest)):
        rest = _USERINFO.sub("", rest)
    place, _, query = rest.partition("#")[0].partition("?")
    kept = [(name, value) for name, value in parse_qsl(query) if name.lower() in _HARMLESS]
    return f"{scheme}://{_mask(place)}" + (f"?{urlencode(kept)}" if kept else "")


def _mask(text: str) -> str:
    if not _CONNECTION.search(text):
        return text
    return (_SECRET_LISTED if ";" in text else _SECRET).sub(r"\1***", text)


def carries_credentials(location: Location) -> bool:
    """Whether ``location`` holds what ``without_credentials`` takes out."""
    return unquote_plus(without_credentials(location)) != unquote_plus(os.fspath(location))


def scrub(text: str) -> str:
    """``text`` with the credentials taken out of every URI in it."""
    return _URI.sub(lambda uri: without_credentials(uri[0]), text)


def is_remote(location: Location) -> bool:
    """Whether ``location`` is anything but a local path or ``file://``."""
    scheme = _SCHEME.match(os.fspath(location))
    return scheme is not None and scheme[1].lower() != "file"


def resolve(location: Location) -> tuple[pafs.FileSystem, str]:
    """The file system that holds ``location`` and the path in it: a local path, ``file://``, what Arrow speaks
    natively (``s3://``, ``gs://``, ``abfss://``, ``hdfs://``), or any protocol of fsspec (``memory://``, ``sftp://``).

    Raises UserError for a URI that nothing here can read.
    """
    uri = os.fspath(location)
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    try:
        if scheme[1].lower() in _NATIVE:
            filesystem, path = pafs.FileSystem.from_uri(uri)
        else:
            import fsspec

            remote, path = fsspec.core.url_to_fs(uri)
            filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(remote))
    except ImportError as error:  # fsspec names the package that it needs
        raise UserError(f"{without_credentials(uri)}: {error}") from error
    except (ArrowInvalid, ArrowNotImplementedError, ValueError):
        # Without the library's own words: they repeat the URI, password and all.
        raise UserError(
            f"{without_credentials(uri)}: not an address that can be read or written; use a path, file://, s3://, "
            "gs://, abfss:// or another protocol of fsspec, and percent-encode special characters in keys"
        ) from None
    return filesystem, path.rstrip("/") or path


def join(location: Location, name: str) -> str:
    """The place ``name`` inside the folder ``location``; a query (``?region=…``) stays at the end."""
    return append(location, f"/{name}")


def append(location: Location, suffix: str) -> str:
    """``location`` with ``suffix`` added to its path; a query (``?region=…``) stays at the end."""
    uri = os.fspath(location)
    place, mark, query = uri.partition("?") if is_remote(uri) else (uri, "", "")
    return f"{place.rstrip('/')}{suffix}{mark}{query}"
