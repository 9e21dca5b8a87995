"""Connect to Ray: an embedded cluster on this machine, or an existing one."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from cluster.machine import usable_cores
from synth.errors import JobError, UserError

# "0" binds all of Ray's ports to loopback, which by itself it does on Windows and macOS alone.
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

# Ray Train runs the loop in a thread, and a thread's heap returns each step's activations to the system only to fault
# them in again at the next: 37,000 page faults a second, measured, without these. Niceness: a training worker is what
# the machine is for. The preemption watcher: nobody takes a laptop away with notice.
EMBEDDED = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "RAY_worker_niceness": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    LOOPBACK: "0",
}


@contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """The ``ray`` module, initialised; an embedded cluster is shut down at the end.

    Without ``address`` Ray starts on this machine, on loopback, without its dashboard; with it, its cluster's ways and
    token hold. A Ray that this process has already initialised is used as it is.

    Raises UserError where the cluster at ``address`` cannot be joined, JobError where none can be started here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    import ray
    from ray.exceptions import AuthenticationError, RayError

    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"address": address or "local", "logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        # Ray counts the machine's cores, also those that this process was not given (taskset, a batch job's cpuset).
        options |= {"include_dashboard": False, "num_cpus": usable_cores()}
    with _embedded() if address is None else nullcontext():
        try:
            with _patient() if address is None else nullcontext():
                ray.init(**options)
        except AuthenticationError as e:
            raise UserError(
                f"the Ray cluster at {address!r} asks for its token: set RAY_AUTH_TOKEN, or copy the file "
                "~/.ray/auth_token from its head node (artesian doctor says what is found here)"
            ) from e
        except (ConnectionError, ValueError, RuntimeError, RayError) as e:  # ValueError: not the form of an address
            if address is None:
                raise JobError(f"Ray cannot be started on this machine: {e}\nartesian doctor looks for causes") from e
            if "Version mismatch" in str(e):
                raise UserError(f"the cluster at {address!r} has other versions than this machine. {e}") from e
            raise UserError(f"no Ray cluster answers at {address!r}: {e}") from e
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _embedded() -> Iterator[None]:
    """The environment that an embedded Ray starts and works in; what was there before is there again afterwards.

    Ray's ports run whatever is sent to them, so Ray 2.60 turns its token authentication on; we give it a fresh random
    token for the life of the cluster, where it would write a permanent one into the home folder. RAY_AUTH_MODE,
    RAY_AUTH_TOKEN and whatever else is set are respected.
    """
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    settings = dict(EMBEDDED)
    if not os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        settings["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    before = {name: os.environ.get(name) for name in (*settings, "RAY_AUTH_MODE")}  # Ray sets the mode itself
    os.environ.update({name: value for name, value in settings.items() if before[name] is None})
    reach = ray_constants.ENABLE_RAY_CLUSTER  # what Ray made of the variable when it was first imported
    ray_constants.ENABLE_RAY_CLUSTER = os.environ[LOOPBACK] != "0"
    tokens = AuthenticationTokenLoader.instance()
    tokens.reset_cache()
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = reach
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        Config.initialize("")  # reads the mode anew
        tokens.reset_cache()


@contextmanager
def _patient() -> Iterator[None]:
    """Start what is started here, Ray's processes, so that none of them interrupts a thread at work.

    Each wakes up to a hundred times a second; under SCHED_BATCH it then waits for the scheduler's next tick, a few
    milliseconds at most, with the same share of the processor. Children inherit the policy; whoever is to compute
    leaves it with ``impatient``.
    """
    if not hasattr(os, "sched_setscheduler"):  # not on macOS and Windows
        yield
        return
    policy = os.sched_getscheduler(0)
    if policy == os.SCHED_OTHER:
        with suppress(PermissionError):  # a sandbox may forbid it, and nothing but speed depends on it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        if policy == os.SCHED_OTHER:
            impatient()


def result(task: Any, what: str) -> Any:
    """What a task of Ray returned; its own UserError, or JobError, which says ``what`` failed, for any other that ended it."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(task)
    except RayTaskError as e:
        if isinstance(e.cause, UserError):
            raise UserError(str(e.cause)) from e
        raise JobError(f"{what}: {type(e.cause).__name__}: {e.cause}") from e
    except RayError as e:
        raise JobError(f"{what}: {e}") from e


def impatient(*, process: bool = False) -> None:
    """Let this thread, and those that it starts, be scheduled as usual, whatever Ray's processes are; or all threads of this
    ``process``, of one whose answers are waited for."""
    if not hasattr(os, "sched_setscheduler"):
        return
    for thread in [int(path.name) for path in Path("/proc/self/task").iterdir()] if process else [0]:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            if os.sched_getscheduler(thread) == os.SCHED_BATCH:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


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
