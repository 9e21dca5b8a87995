"""Connect to Ray: an embedded cluster on this machine, or an existing one."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from synth.errors import UserError


@contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """The ``ray`` module, initialised; an embedded cluster is shut down at the end.

    Without ``address`` Ray starts on this machine, on loopback, without its dashboard. Its ports run whatever is sent to
    them, so a fresh random token guards them for the life of the process: Ray 2.60 would otherwise write a permanent one
    into the home folder. Set RAY_AUTH_MODE yourself to decide otherwise; with ``address`` nothing is changed.
    A Ray that this process has already initialised is used as it is.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    if address is None and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"address": address or "local", "logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        options |= {"include_dashboard": False}
    try:
        ray.init(**options)
    except ConnectionError as e:
        raise UserError(f"no Ray cluster answers at {address!r}: {e}") from e
    try:
        yield ray
    finally:
        ray.shutdown()
