"""Diagnose a cluster of this process's own, two nodes of which are silent; prints, as JSON, what was found and how soon.

python silent_nodes.py
"""

from __future__ import annotations

import json
import signal
import time

import psutil
import ray
from ray.cluster_utils import Cluster

from cluster import nodes

PATIENCE_S = 12.0


def main() -> None:
    nodes.PATIENCE_S = PATIENCE_S
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    silent = [cluster.add_node(num_cpus=0) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in silent]
    try:
        for raylet in raylets:
            raylet.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        _, *checks = nodes.diagnose_cluster(ray)
        took = time.monotonic() - began
    finally:
        for raylet in raylets:
            raylet.send_signal(signal.SIGCONT)
    found = {
        "took_s": took,
        "patience_s": PATIENCE_S,
        "stopped": [node.node_id[:6] for node in silent],
        "silent": [check.name[-7:-1] for check in checks if check.detail.startswith("does not answer: ")],
        "sound": any("torch 2." in check.detail and check.status == "ok" for check in checks),
    }
    print(json.dumps(found))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
