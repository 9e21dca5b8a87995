"""What the autoscaler of a cluster could start, and what it does about a group of workers that waits for room."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

PATIENCE_S = 60.0  # for the head to answer


@dataclass(frozen=True)
class NodeType:
    """Nodes of this kind can be started, ``most`` of them in all."""

    name: str
    cpus: int
    gpus: int
    most: int


@dataclass(frozen=True)
class Doing:
    """What the autoscaler does: the nodes on their way, by type, and whether it has refused the group."""

    starting: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""  # why the latest launch of a node failed
    refused: bool = False


def node_types(ray: Any) -> list[NodeType] | None:
    """What can be started on the cluster that ``ray`` is connected to: nothing where it has no autoscaler.

    Ray tells nobody, so the file that the autoscaler was given is read, on the head. None where it is out of sight: on
    Kubernetes it runs in a container of its own.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    [head] = [node for node in ray.nodes() if node["Alive"] and "node:__internal_head__" in node["Resources"]]
    there = NodeAffinitySchedulingStrategy(head["NodeID"], soft=False)
    settings = ray.get(
        ray.remote(num_cpus=0)(_settings).options(scheduling_strategy=there).remote(), timeout=PATIENCE_S
    )
    return None if settings is None else read(settings)


def _settings() -> dict[str, Any] | None:
    """What the autoscaler that runs on this node was told; runs on the head."""
    import ray

    mine = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = process.info["cmdline"] or []
        if mine in line and any("/ray/autoscaler/" in part and part.endswith("/monitor.py") for part in line):
            given = [part.partition("=")[2] for part in line if part.startswith("--autoscaling-config=")]
            if not given:
                return {}
            path = Path(process.info["cwd"] or "/", Path(given[0]).expanduser())
            return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    return None


def read(settings: Mapping[str, Any]) -> list[NodeType]:
    """The types of nodes that the settings of a cluster (``ray-cluster.yaml``) let its autoscaler start."""
    limit, types = settings.get("max_workers", 0), []
    for name, kind in settings.get("available_node_types", {}).items():
        most = min(limit, kind.get("max_workers", 0 if name == settings.get("head_node_type") else limit))
        has = kind.get("resources", {})
        if most:
            types.append(NodeType(name, int(has.get("CPU", 0)), int(has.get("GPU", 0)), most))
    return types


def doing(ray: Any, group: str) -> Doing:
    """What the autoscaler does at the moment, and about the placement group ``group`` (its id in hex)."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    gcs = ray._private.worker.global_worker.gcs_client
    state = GetClusterStatusReply.FromString(gcs.get_cluster_status()).autoscaling_state
    starting: Counter[str] = Counter()
    if state.autoscaler_state_version:
        for request in state.pending_instance_requests:
            starting[request.ray_node_type_name] += request.count
        starting.update(instance.ray_node_type_name for instance in state.pending_instances)
        failed = max(state.failed_instance_requests, key=lambda one: one.failed_ts, default=None)
        return Doing(
            starting,
            "" if failed is None else f"{failed.ray_node_type_name}: {failed.reason}",
            any(request.details.startswith(group) for request in state.infeasible_gang_resource_requests),
        )
    # The older autoscaler writes down what it does, and not what it cannot do.
    told = json.loads(gcs.internal_kv_get(DEBUG_AUTOSCALING_STATUS.encode(), None) or b"{}")
    report = told.get("autoscaler_report") or {"pending_launches": {}, "pending_nodes": []}
    starting.update(report["pending_launches"])
    starting.update(kind for _, kind, _ in report["pending_nodes"])
    return Doing(starting)
