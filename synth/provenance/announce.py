"""Trainings told to a catalogue of data, where the user names one that speaks OpenLineage, as its clients have it:

    OPENLINEAGE_URL        such as https://marquez.example.org:5000; nothing is told where it is not set
    OPENLINEAGE_ENDPOINT   the path in it [default: api/v1/lineage]
    OPENLINEAGE_API_KEY    sent as a bearer token, and shown nowhere
    OPENLINEAGE_DISABLED   true: nothing is told

What is told is what the manifest says, which a release is published with. A catalogue that cannot be reached, or answers
however slowly, costs TIMEOUT_S seconds and leaves a note: a release does not depend on it. A key goes over https:// or stays
on this machine.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from synth.provenance.formats.openlineage import events
from synth.provenance.manifest import Manifest

TIMEOUT_S = 5.0  # for all of it
MOST = 1 << 20  # bytes of an event: one of more inputs than that is for nobody to look at


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: a key is for the host that it was given for."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _UntoldError(Exception):
    """Why a catalogue was not told."""


def announce(record: Manifest) -> list[str]:
    """Tell that a release was published; notes for the user where that was not possible, none where nobody is to be told."""
    url = os.environ.get("OPENLINEAGE_URL", "").strip()
    if not url or os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return []
    try:
        address = _address(url)
        ending = _in_background(address, {"Content-Type": "application/json"} | _bearer(address), events(record))
        ending.result(timeout=TIMEOUT_S)
    except _UntoldError as e:
        return [_note(str(e))]
    except TimeoutError as e:
        return [_note(_reason(e))]
    except KeyboardInterrupt:  # there is nothing left to stop: the release is published
        return [_note("it was stopped")]
    return []


def _note(why: str) -> str:
    return f"the training was not told to OPENLINEAGE_URL: {why}; the release is complete without it"


def _in_background(address: str, headers: dict[str, str], told: Sequence[Mapping[str, Any]]) -> Future[None]:
    """Tell in a thread that nobody has to wait for: a socket's limit is of each step, and an answer can have any number."""
    future: Future[None] = Future()

    def work() -> None:
        try:
            _tell(address, headers, told)
            future.set_result(None)
        except BaseException as e:  # noqa: BLE001 (it is raised where the result is asked for)
            future.set_exception(e)

    threading.Thread(target=work, daemon=True, name="announce").start()
    return future


def _tell(address: str, headers: dict[str, str], told: Sequence[Mapping[str, Any]]) -> None:
    # What stays here needs no proxy, which would see the key.
    direct = [urllib.request.ProxyHandler({})] if _is_here(address) else []
    opener = urllib.request.build_opener(_Straight, *direct)
    for event in told:
        body = json.dumps(event).encode()
        if len(body) > MOST:
            raise _UntoldError(f"its event has {len(body):,} bytes, and at most {MOST:,} are sent")
        request = urllib.request.Request(address, body, headers, method="POST")
        try:
            opener.open(request, timeout=TIMEOUT_S).close()  # an answer's body is not read, however long it is
        except urllib.error.HTTPError as e:
            e.close()
            raise _UntoldError(f"it answered with status {e.code}") from e
        except urllib.error.URLError as e:
            raise _UntoldError(_reason(e.reason)) from e
        except (OSError, HTTPException, ValueError) as e:  # lost in an answer, no HTTP at all, no name of a host
            raise _UntoldError(_reason(e)) from e


def _address(url: str) -> str:
    """Where events go. What is wrong with an address is said without it: there may be a password in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as e:
        raise _UntoldError("it is no address; write http://HOST:PORT or https://HOST") from e
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not _plain(url):
        raise _UntoldError("it is no address; write http://HOST:PORT or https://HOST")
    if "@" in parts.netloc:
        raise _UntoldError("it holds a name or a password; give the key as OPENLINEAGE_API_KEY")
    path = os.environ.get("OPENLINEAGE_ENDPOINT", "api/v1/lineage").strip()
    if not _plain(path) or "?" in path or "#" in path:
        raise _UntoldError("OPENLINEAGE_ENDPOINT is no path; write it as in api/v1/lineage")
    return f"{url.rstrip('/')}/{path.lstrip('/')}"


def _is_here(address: str) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # another name
        return False


def _bearer(address: str) -> dict[str, str]:
    key = os.environ.get("OPENLINEAGE_API_KEY", "").strip()
    if not key:
        return {}
    if not _plain(key):  # else the library would say so, and quote it
        raise _UntoldError("OPENLINEAGE_API_KEY holds signs that no key has; copy it again")
    if urlsplit(address).scheme != "https" and not _is_here(address):
        raise _UntoldError("over http:// all could read OPENLINEAGE_API_KEY; give an address with https://")
    return {"Authorization": f"Bearer {key}"}


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _reason(error: object) -> str:
    """What went wrong in a line, without what the other side has sent."""
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    said = error.strerror if isinstance(error, OSError) else None
    return said or "the connection broke, or what answers there is no catalogue"
