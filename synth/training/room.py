"""Where the workers of a run fit: on the nodes that a cluster has, or on those that its autoscaler can start."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cluster import autoscaler
from cluster.autoscaler import NodeType
from synth.errors import JobError, UserError

if TYPE_CHECKING:
    from synth.training.workers import Progress

Node = tuple[int, int]  # CPUs, GPUs

LOOK_S = 1.0
QUIET_S = 25.0  # for the autoscaler, which looks around every 5 s, to begin
START_S = 900.0  # for nodes to come up, each a machine and gigabytes of an image; Ray's own autoscaler waits as long


def find(ray: Any, workers: int, progress: Progress, *, embedded: bool) -> tuple[int, bool]:
    """(CPUs of each worker, whether it has a GPU of its own) for ``workers`` on nodes that are up when this returns.

    GPUs are taken where there are any, or can be. ``embedded``: the cluster is this machine alone. Raises UserError
    where the workers do not fit and never will, JobError where the nodes that were asked for do not come or the cluster
    goes away.
    """
    from ray.exceptions import RayError

    try:
        return _found(ray, workers, progress, embedded=embedded)
    except RayError as e:
        raise JobError(f"the connection to Ray was lost: {e}") from e


def _found(ray: Any, workers: int, progress: Progress, *, embedded: bool) -> tuple[int, bool]:
    here = nodes(ray)
    fits = _room(here) >= workers
    if embedded or (fits and _gpus(here)):
        return cpus_each(here, workers), _gpus(here)
    types = autoscaler.node_types(ray)
    if types is None:  # so it is tried
        wanted = [True] if _gpus(here) else [True, False]
    else:
        cpus_each(here, workers, types)
        wanted = [_gpus(_with(here, types))]
    refused = ""
    for gpus in wanted:
        if not gpus and fits:
            break
        refused = _await(ray, workers, gpus, progress)
        if not refused:
            break
    else:
        raise UserError(
            f"--workers {workers}: the cluster has {_total(here)}, and its autoscaler {refused}; "
            "give fewer, or let it start more nodes (max_workers, on Kubernetes maxReplicas)"
        )
    here = nodes(ray)
    return cpus_each(here, workers), _gpus(here)


def cpus_each(nodes: Sequence[Node], workers: int, types: Sequence[NodeType] = ()) -> int:
    """The most CPUs that each of ``workers`` can have, all alike, on ``nodes`` and those of ``types`` to be started.

    A worker stays on one node, and has a GPU of its own where there are any. Raises UserError where they do not fit.
    """
    every = _with(nodes, types)
    for each in range(max((cpu for cpu, _ in every), default=0), 0, -1):
        if _room(every, each) >= workers:
            return each
    most = _room(every)
    more = ", ".join(f"{kind.most} × {kind.name} ({kind.cpus} CPUs, {kind.gpus} GPUs)" for kind in types)
    raise UserError(
        f"--workers {workers}: the cluster has {_total(nodes)}{f' and can start up to {more}' * bool(more)}, "
        f"room for {most} workers of {_share(_gpus(every))} each; "
        + (f"give --workers {most} or fewer" if most else "add nodes")
    )


def spread(nodes: Sequence[Node], workers: int) -> tuple[int, int]:
    """(runs of so many workers that fit at once, CPUs of each worker), as of ``cpus_each``."""
    cpus_each(nodes, workers)
    runs = _room(nodes) // workers
    return runs, cpus_each(nodes, runs * workers)


def _await(ray: Any, workers: int, gpus: bool, progress: Progress) -> str:
    """Ask the autoscaler for room and wait until it is there; what it does instead, if it will not make any.

    A placement group asks, as Ray Train's own will do: it leaves alone what others asked for, and ends with the driver.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    whom = f"{workers} workers of {_share(gpus)} each"
    told = [f"waiting for room for {whom}: asked the cluster's autoscaler for nodes"]
    group = placement_group([{"CPU": 1} | ({"GPU": 1} if gpus else {})] * workers)
    began = heard = time.monotonic()
    shown = ""
    try:
        while not group.wait(LOOK_S):
            doing, now = autoscaler.doing(ray, group.id.hex()), time.monotonic()
            if doing.starting:
                heard = now
            last = f"; its last failure: {doing.failed}" * bool(doing.failed)
            if doing.refused:
                return f"can start no room for {whom} beside what is at work{last}"
            if now - heard > QUIET_S:
                return f"started nothing for {whom} within {QUIET_S:.0f} s{last}"
            if now - began > START_S:
                raise JobError(f"the nodes for {whom} have not come up within {START_S / 60:.0f} min{last}")
            coming = ", ".join(f"{count} × {name}" for name, count in sorted(doing.starting.items()))
            if coming not in ("", shown):
                told.append(f"on their way: {coming}")
                shown = coming
            progress("waiting for nodes", 0.0, {"waited_s": now - began, "told": told})
            told = []
    finally:
        remove_placement_group(group)
    return ""


def nodes(ray: Any) -> list[Node]:
    """Those that are up."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in found]


def _with(nodes: Sequence[Node], types: Sequence[NodeType]) -> list[Node]:
    """At the most: the nodes of these types that are up are counted twice, as Ray does not say which they are."""
    return [*nodes, *((kind.cpus, kind.gpus) for kind in types for _ in range(kind.most))]


def _gpus(nodes: Sequence[Node]) -> bool:
    return any(gpu for _, gpu in nodes)


def _room(nodes: Sequence[Node], each: int = 1) -> int:
    """How many workers of so many CPUs fit."""
    return sum(min(cpu // each, gpu) if _gpus(nodes) else cpu // each for cpu, gpu in nodes)


def _total(nodes: Sequence[Node]) -> str:
    cpus, gpus = (sum(has) for has in zip(*nodes, strict=True)) if nodes else (0, 0)
    return f"{cpus} CPUs and {gpus} GPUs on {len(nodes)} node(s)"


def _share(gpus: bool) -> str:
    return "a CPU and a GPU" if gpus else "a CPU"
