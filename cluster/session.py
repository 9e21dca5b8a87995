"""Connect to Ray: an embedded cluster on this machine, or an existing one."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from synth.errors import UserError

# Ray Train runs the loop in a thread, and a thread's heap returns each step's activations to the system only to fault
# them in again at the next: 37,000 page faults a second, measured, without these. Niceness: a training worker is what
# the machine is for.
WORKERS = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "RAY_worker_niceness": "0",
}


@contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """The ``ray`` module, initialised; an embedded cluster is shut down at the end.

    Without ``address`` Ray starts on this machine, on loopback, without its dashboard. Its ports run whatever is sent to
    them, so Ray 2.60 turns its token authentication on then; we give it a fresh random token for the life of the
    process, where it would write a permanent one into the home folder. RAY_AUTH_MODE and RAY_AUTH_TOKEN, if set, are
    respected, and with ``address`` nothing is changed. A Ray that this process has already initialised is used as it is.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    if address is None and not os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray

    if ray.is_initialized():
        yield ray
        return
    if address is None:
        os.environ.update({name: value for name, value in WORKERS.items() if name not in os.environ})
    options: dict[str, Any] = {"address": address or "local", "logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        options |= {"include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError) as e:  # ValueError: not the form of an address
        raise UserError(f"no Ray cluster answers at {address!r}: {e}") from e
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def terminable() -> Iterator[None]:
    """Take SIGTERM (``docker stop``, Slurm, Kubernetes) as Ctrl-C, so that work is saved before the end.

    To be entered after ``connected``, for Ray sets a handler of its own, which ends the process at once. Outside the
    main thread, where Python delivers no signals, it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
