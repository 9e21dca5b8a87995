"""Is this machine fit to train on? What would go wrong in an hour is looked for in seconds.

Each check is a function that returns what it found and, where that is not well, the remedy.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from cluster.machine import usable_cores, usable_memory

_ROOT = Path(__file__).resolve().parents[1]
_SHOWN = ("ray", "torch", "deepspeed", "pyarrow", "numpy")
_GIB = 1 << 30


@dataclass(frozen=True)
class Check:
    """One finding. ``warn`` means that it works, slower or less safely; ``fail`` that training will not."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str | None = None


def diagnose(*, key_file: Path, folder: Path | None = None) -> list[Check]:
    """Look at this machine: interpreter, packages, device, cores, memory, disks, Ray's authentication, the signing key.

    ``key_file`` is where releases are signed from (``synth.provenance.keys.key_file()``), ``folder`` where output
    would be written, the current one by default. Takes a few seconds, most of them to import torch. Changes nothing.
    """
    folder = folder or Path.cwd()
    checks: list[Callable[[], Check]] = [
        _python,
        _packages,
        _device,
        _cores,
        _memory,
        _shared_memory,
        partial(_disk, "disk for output", folder),
        partial(_disk, "disk for Ray", Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))),
        _ray_authentication,
        partial(_signing_key, key_file),
        _clock,
    ]
    return [check() for check in checks]


def _python() -> Check:
    # An older one than 3.11 does not get here: the package does not install on it.
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}, on {platform.platform()}")


def _packages() -> Check:
    try:
        required = [Requirement(line) for line in metadata.requires("artesian") or []]
    except metadata.PackageNotFoundError:
        return Check("packages", "fail", "artesian is not installed", "run: make install")
    wrong = []
    for requirement in required:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is outside {requirement.specifier}")
    if wrong:
        return Check("packages", "fail", "; ".join(wrong), "run: make install, or pip install -c constraints.txt .")
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in _SHOWN)
    untested = [f"{name} (tested: {tested})" for name, version, tested in _pins() if version != tested]
    if untested:
        return Check(
            "packages", "warn", f"{shown}; not as tested: {', '.join(untested)}", "pip install -c constraints.txt ."
        )
    return Check("packages", "ok", shown)


def _pins() -> Iterator[tuple[str, str, str]]:
    """Installed and tested version of the packages in the checkout's constraints.txt; nothing without a checkout."""
    pins = _ROOT / "constraints.txt"
    for line in pins.read_text().splitlines() if pins.exists() else []:
        name, pinned, tested = line.partition("==")
        if not pinned:
            continue
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform, or a tool of development
        yield name, installed.partition("+")[0], tested  # torch's builds differ in what follows the plus


def _device() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of it does not load
        return Check("torch", "fail", f"torch cannot be imported: {error}", "run: make install")
    cuda = torch.cuda.is_available()
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else ["CPU"]
    speedup = _seconds(torch.float32, cuda) / _seconds(torch.bfloat16, cuda)
    detail = f"{', '.join(names)}; a bf16 matrix product runs {speedup:.2g} times as fast as float32"
    if not cuda and shutil.which("nvidia-smi"):
        return Check("device", "warn", detail, "there is an NVIDIA driver, but this torch is built without CUDA")
    found = torch.cpu.get_capabilities()
    if speedup < 1 and (cuda or found.get("avx512_bf16") or found.get("amx_bf16")):  # elsewhere fp32 is chosen anyway
        return Check("device", "warn", detail, "train with --set training.precision=fp32: bf16 is there, but slow")
    return Check("device", "ok", detail)


def _seconds(dtype: object, cuda: bool) -> float:
    """The fastest of a few matrix products, measured: what a processor claims about bf16 and what it does differ."""
    import torch

    a = torch.ones(512, 512, dtype=dtype, device="cuda" if cuda else "cpu")  # type: ignore[call-overload]
    times = []
    for _ in range(8):
        start = time.perf_counter()
        torch.mm(a, a)
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _cores() -> Check:
    usable = usable_cores()
    threads = os.environ.get("OMP_NUM_THREADS")
    detail = f"{usable} of {os.cpu_count()} usable, OMP_NUM_THREADS={threads or 'unset'}"
    load = psutil.getloadavg()[0]
    if load > usable:
        return Check("cores", "warn", f"{detail}, load {load:.1f}", "other work is running; training shares the cores")
    return Check("cores", "ok", detail)


def _memory() -> Check:
    total, free = usable_memory()
    detail = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free < 2 * _GIB:
        return Check("memory", "warn", detail, "Ray and one worker want 2 GiB: close other programs")
    return Check("memory", "ok", detail)


def _shared_memory() -> Check:
    path = Path("/dev/shm")
    if not path.is_dir():
        return Check("shared memory", "ok", f"no {path} on this system; Ray uses files")
    free = shutil.disk_usage(path).free
    detail = f"{free / _GIB:.1f} GiB free in {path}"
    if free < _GIB:
        return Check("shared memory", "warn", detail, "Ray falls back to slow files: docker run --shm-size=2g")
    return Check("shared memory", "ok", detail)


def _disk(name: str, folder: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        return Check(name, "fail", f"{folder} cannot be written: {error.strerror}", "choose another folder")
    usage = shutil.disk_usage(folder)
    detail = f"{usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB free for {folder}"
    if usage.free < _GIB or usage.free < 0.05 * usage.total:  # from 95 % on, Ray refuses to spill objects
        return Check(name, "warn", detail, "free some space: Ray stops spilling to a disk that is 95 % full")
    return Check(name, "ok", detail)


def _ray_authentication() -> Check:
    """Which way of Ray's token authentication holds (ray 2.60, ``_private/authentication``); no token is read or shown.

    An embedded Ray gets a fresh token unless RAY_AUTH_MODE says otherwise (``cluster.session``). Joining a cluster
    takes the cluster's token, from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or Ray's file in the home folder.
    """
    name, mode = "Ray authentication", os.environ.get("RAY_AUTH_MODE", "").lower()
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given).expanduser() if given else Path.home() / ".ray" / "auth_token"
    if mode == "disabled":
        return Check(
            name,
            "warn",
            "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports can run code as you",
            "unset RAY_AUTH_MODE, unless the network keeps everybody else out",
        )
    if mode not in ("", "token"):
        return Check(name, "fail", f"RAY_AUTH_MODE={mode} is not a mode of Ray", "unset it, or set it to token")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Check(name, "ok", "token, the one in RAY_AUTH_TOKEN")
    if path.exists():
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            return Check(name, "warn", f"token, the one in {path}, which others can read", f"chmod 600 {path}")
        return Check(name, "ok", f"token, the one in {path}")
    if given:
        return Check(name, "fail", f"RAY_AUTH_TOKEN_PATH: {path} does not exist", "copy the cluster's token to it")
    return Check(name, "ok", f"token, a fresh one for each embedded Ray; to join a cluster, copy its token to {path}")


def _signing_key(path: Path) -> Check:
    name = "signing key"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Check(name, "ok", f"none yet; the first release makes it at {path}")
    except OSError as error:
        return Check(name, "fail", f"{path}: {error.strerror}", "make it readable by its owner")
    if os.name == "posix" and mode & 0o077:
        return Check(name, "fail", f"{path} can be read by others (mode {mode:o})", f"chmod 600 {path}")
    if not os.access(path, os.R_OK):
        return Check(name, "fail", f"{path} cannot be read", "run as its owner")
    return Check(name, "ok", str(path))


def _clock() -> Check:
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.time() < Path(__file__).stat().st_mtime:
        return Check("clock", "warn", f"{now} is before this program was installed", "set it: manifests carry dates")
    return Check("clock", "ok", now)
