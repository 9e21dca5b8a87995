"""Who is at work on a folder that a release grows in, and what for: two processes never are, nor two recipes."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import psutil

from cluster import storage
from synth.errors import UserError


def take(run: str, claim: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Take ``run`` for this recipe and data, and for this process.

    An unfinished run is only ever continued on request, only its own, and never while another process is at work on it.
    """
    found, place = earlier(run, resume=resume, overwrite=overwrite), storage.without_credentials(run)
    if resume:
        for what in claim:
            if found.get(what) != claim[what]:
                raise UserError(
                    f"{place}: was started with another {what}; repeat its command, or start anew with --overwrite"
                )
    elif storage.exists(run):
        storage.remove_tree(run)
    me = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    marker = (found if resume else {}) | claim | {"process": me}
    storage.write_bytes(storage.join(run, storage.RUN_MARKER), json.dumps(marker).encode())


def earlier(run: str, *, resume: bool, overwrite: bool) -> dict[str, Any]:
    """What the marker of ``run`` says; UserError where it may not be taken, as far as the run alone can tell."""
    marker, place = storage.join(run, storage.RUN_MARKER), storage.without_credentials(run)
    found = _marked(marker) if storage.exists(marker) else None
    if found and (other := _at_work(found.get("process"))):
        raise UserError(f"{place}: {other} is at work on it; wait for it, or choose another --out")
    if resume:
        if found is None:
            raise UserError(f"{place}: there is no run to resume; leave --resume out to start one")
        if not found:
            name = storage.without_credentials(marker)
            raise UserError(f"{name}: is damaged, so the run cannot be resumed; start anew with --overwrite")
    elif storage.exists(run) and not overwrite:
        raise UserError(f"{place}: holds an unfinished run; go on with --resume, or start anew with --overwrite")
    return found or {}


def _marked(marker: str) -> dict[str, Any]:
    """What a marker says; nothing where it is damaged."""
    try:
        return dict(json.loads(storage.read_bytes(marker)))
    except (ValueError, TypeError):  # not JSON, or not a mapping
        return {}


def _at_work(process: Any) -> str | None:
    """The process in a marker, if it is another one of this machine and lives; of other machines nothing is known."""
    if not isinstance(process, dict) or process.get("host") != socket.gethostname():
        return None
    pid = process.get("pid")
    if pid == os.getpid() or not isinstance(pid, int):
        return None
    try:
        alive = psutil.Process(pid).create_time() == process.get("started")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return f"process {pid}" if alive else None
