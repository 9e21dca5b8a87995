"""How many workers an elastic run starts with, when it begins and after each loss of a worker or a node."""

from __future__ import annotations

import socket
import time
from typing import Any

import ray
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, NoopDecision, ScalingDecision

ANSWER_S = 2.0  # for a node to take a connection


class LivingNodesPolicy(ElasticScalingPolicy):
    """As many workers as there is room for on nodes that answer.

    Ray counts on a dead node for as long as its helper has not looked again, 20 s, and Ray not noticed, 15 s or more;
    workers that are started in between wait for that room until they are given up, for 60 s.
    """

    def _get_reserved_resources(self) -> Any:  # Ray's own names, here and below
        reserved = super()._get_reserved_resources()
        if not reserved:
            return reserved
        living = _living(reserved)
        return {node: has for node, has in reserved.items() if node in living}

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        decision = super().make_decision_for_non_running_worker_group()
        if isinstance(decision, NoopDecision):  # no room yet: Ray asks again at once, which keeps a core busy
            time.sleep(self.GET_RESERVED_RESOURCES_INTERVAL_S)
        return decision


def _living(asked: Any) -> set[str]:
    """Those of the nodes, by id, that take a connection."""
    living = set()
    for node in ray.nodes():
        if node["Alive"] and node["NodeID"] in asked:
            try:
                socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), ANSWER_S).close()
            except OSError:
                continue
            living.add(node["NodeID"])
    return living
