"""Train on a cluster of this process's own that loses a node with notice; prints, as JSON, who trained and from where.

python lose_with_notice.py TABLE RUN
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from synth.recipe import Recipe
from synth.training import beacon, prepare, workers

GRACE_S = 12.0


def main(table: str, run: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    spot = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    teams: list[dict[str, int]] = []  # how many workers, from which step shown to which
    told: list[str] = []
    announced: list[tuple[int, float]] = []  # at which step, and when the node goes
    gone: list[int] = []

    def follow(phase: str, done: float, facts: dict[str, Any]) -> None:
        if phase != "training":
            return
        told.extend(facts["told"])
        count, step = facts["workers"], facts["step"]
        if not teams or teams[-1]["workers"] != count:
            teams.append({"workers": count, "first": step})
        teams[-1]["last"] = step
        if not announced and step > 100:
            announced.append((step, time.time() + GRACE_S))
            reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            accepted, why = GcsClient(address=cluster.gcs_address).drain_node(
                spot.node_id, reason, "", int(announced[0][1] * 1000)
            )
            assert accepted, why
        if announced and not gone and time.time() > announced[0][1]:
            gone.append(step)
            cluster.remove_node(spot, allow_graceful=False)
        if len(teams) == 2 and step > teams[1]["first"] + 100:
            beacon.ask_to_stop(run)

    settings = {
        "target": "income", "training.steps": 1_000_000, "training.batch": 128, "training.precision": "fp32",
        "training.checkpoint_s": 1000, "training.failures": 0, "training.workers": (1, 2), "training.zero": 2,
        "diffusion.width": 32, "diffusion.blocks": 1,
    }  # fmt: skip
    recipe = Recipe.read(None, settings).resolved(test_apart=False)
    prepared = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
    found = workers.fit(ray, recipe, prepared, run, follow, embedded=False)
    print(json.dumps({"teams": teams, "announced": announced[0][0], "told": told, "notes": found["notes"]}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
