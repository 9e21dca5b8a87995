"""Are the nodes of a cluster fit to train on together? Each is asked, by a task that runs on it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from importlib import metadata
from typing import Any

from cluster import storage
from cluster.doctor import Check
from synth.errors import UserError

SHOWN = ("ray", "torch", "deepspeed", "pyarrow", "artesian")
FREE = 5 << 30  # bytes for a node's object store to spill to, its logs and the checkpoints on their way out
SKEW_S = 5.0  # signatures and storage credentials bear with more; logs of several nodes do not
PATIENCE_S = 60.0


def diagnose_cluster(ray: Any, out: str | None = None) -> list[Check]:
    """Ask every node of the cluster that ``ray`` is connected to for its versions, clock, GPUs, disk and, with ``out``,
    whether it can write, read and delete under that URI. Changes nothing else."""
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    here = _look(None)
    ask = ray.remote(num_cpus=0, max_retries=0)(_look)
    on_each = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    # Side by side, since a silent node takes all of the patience. The first question starts a process, the second, to
    # those who answered, has the clock read.
    answers = [ask.options(scheduling_strategy=on_it).remote(None) for on_it in on_each]
    awake, _ = ray.wait(answers, num_returns=len(answers), timeout=PATIENCE_S)
    asked = time.time()
    arrived: dict[Any, float] = {}
    waiting = []
    for index, (on_it, answer) in enumerate(zip(on_each, answers, strict=True)):
        if answer in awake:
            answers[index] = ask.options(scheduling_strategy=on_it).remote(out)
            waiting.append(answers[index])
    while waiting and (left := asked + PATIENCE_S - time.time()) > 0:
        came, waiting = ray.wait(waiting, timeout=left)
        arrived |= dict.fromkeys(came, time.time())
    checks = []
    for node, answer in zip(nodes, answers, strict=True):
        name = f"node {node['NodeManagerAddress']} ({node['NodeID'][:6]})"
        try:
            if answer not in arrived:
                raise GetTimeoutError(f"nothing within {PATIENCE_S:.0f} s")
            found = ray.get(answer)
        except RayError as e:
            said = (str(e).strip().splitlines() or [type(e).__name__])[-1]
            checks.append(
                Check(name, "fail", f"does not answer: {said}", "see its logs, or take it out of the cluster")
            )
            continue
        checks += _judge(name, found, here, (asked + arrived[answer]) / 2, arrived[answer] - asked)
    total = ", ".join(f"{ray.cluster_resources().get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
    return [Check("cluster", "ok", f"{len(nodes)} node(s), {total}"), *checks]


def _look(out: str | None) -> dict[str, Any]:
    """What a node says of itself; runs there."""
    import torch

    versions = {}
    for package in SHOWN:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    found = {
        "time": time.time(),
        "versions": versions,
        "free": shutil.disk_usage(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())).free,
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else None,
        "refused": None,
    }
    if out is not None:
        try:
            _try_storage(out)
        except (UserError, OSError) as e:
            found["refused"] = str(e)
    return found


def _try_storage(out: str) -> None:
    probe = storage.join(out, f".artesian-probe-{uuid.uuid4().hex}")
    storage.write_bytes(probe, b"artesian")
    if storage.read_bytes(probe) != b"artesian":
        raise OSError(f"{storage.without_credentials(out)}: gives back other bytes than were written")
    filesystem, path = storage.resolve(probe)
    filesystem.delete_file(path)


def _judge(name: str, found: dict[str, Any], here: dict[str, Any], now: float, took: float) -> list[Check]:
    other = {p: v for p, v in found["versions"].items() if v != here["versions"][p]}
    if other:
        told = ", ".join(f"{p} {v} (here {here['versions'][p]})" for p, v in other.items())
        versions = Check(
            name, "fail", told, "install the same versions on every node: constraints.txt has those tested"
        )
    else:
        versions = Check(name, "ok", ", ".join(f"{p} {v}" for p, v in found["versions"].items()))
    skew = found["time"] - now
    if abs(skew) > SKEW_S + took / 2:
        clock = Check(f"{name} clock", "warn", f"{skew:+.0f} s from here", "let NTP or chrony set it")
    else:
        clock = Check(f"{name} clock", "ok", f"{skew:+.1f} s from here")
    free = f"{found['free'] / 2**30:.0f} GiB free"
    little = "free some: Ray spills objects and writes logs there"
    disk = Check(f"{name} disk", *(("ok", free) if found["free"] >= FREE else ("warn", free, little)))
    gpus = ", ".join(found["gpus"]) + f", NCCL {found['nccl']}" if found["gpus"] else "none"
    checks = [versions, clock, disk, Check(f"{name} GPUs", "ok", gpus)]
    if found["refused"] is not None:
        remedy = "give every node the credentials and the network to write there"
        checks.append(Check(f"{name} storage", "fail", found["refused"], remedy))
    return checks
