"""What a process may use of its machine: less than the system's own figures say, in a container with limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

ROOT = Path("/")
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # which Ray sets for the driver of a job
# Limit, use, and the part of the use that is files which the kernel drops when it needs to: of control groups v2, v1.
MEMORY = [
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
]


def usable_cores(root: Path = ROOT) -> int:
    """Cores that this process may keep busy: fewer than the machine's in many containers and batch jobs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu", root):
        if (text := _read(group / "cpu.max")) is not None:
            quota, period = text.split()
        else:
            quota, period = _read(group / "cpu.cfs_quota_us") or "-1", _read(group / "cpu.cfs_period_us") or "-1"
        if quota.isdigit():  # neither "max" nor -1
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def usable_threads() -> int:
    """Threads that this process may compute with: as many as OMP_NUM_THREADS says, else one on each usable core.

    What the driver of a Ray Job finds there is not the user's word: Ray says 1 to all that have asked it for no cores.
    """
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) and JOB not in os.environ else usable_cores()


def usable_memory(root: Path = ROOT) -> tuple[int, int]:
    """Bytes that this process and those beside it may have, and those of them that are free."""
    system = psutil.virtual_memory()
    total, free = system.total, system.available
    for group in _groups("memory", root):
        for limit, use, files in MEMORY:
            text = _read(group / limit)
            if text is None or not text.isdigit() or int(text) >= system.total:
                continue
            stat = dict(line.split() for line in (_read(group / "memory.stat") or "").splitlines())
            total = min(total, int(text))
            free = min(free, int(text) - int(_read(group / use) or 0) + int(stat.get(files, 0)))
    return total, max(free, 0)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the control groups that this process is in, from the outermost: each may have its own limit."""
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # v2 has all in one tree
            base = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            base = root / "sys/fs/cgroup" / controller
        else:
            continue
        folder = base
        yield folder
        for part in PurePosixPath(path).parts[1:]:
            folder = folder / part
            if part == ".." or not folder.is_dir():  # the host's name for it, which a container cannot see
                break
            yield folder


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:  # not there, or not ours to read
        return None
