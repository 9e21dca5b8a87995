"""Train on a cluster of this process's own that gets a node and loses it; prints, as JSON, who trained and from where.

python grow_and_shrink.py TABLE RUN
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray
from ray.cluster_utils import Cluster

from synth.recipe import Recipe
from synth.training import beacon, prepare, workers


def main(table: str, run: str) -> None:
    workers.RESIZE_S = 2.0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    teams: list[dict[str, int]] = []  # how many workers, from which step shown to which
    joined: list[Any] = []
    clock: dict[str, float] = {}

    def follow(phase: str, done: float, facts: dict[str, Any]) -> None:
        if phase != "training":
            return
        count, step = facts["workers"], facts["step"]
        if not teams or teams[-1]["workers"] != count:
            teams.append({"workers": count, "first": step})
        teams[-1]["last"] = step
        trained = step - teams[-1]["first"]
        if len(teams) == 1 and trained > 100 and not joined:
            joined.append(cluster.add_node(num_cpus=1))
        if len(teams) == 2 and trained > 100 and joined:
            clock["killed"] = time.monotonic()
            cluster.remove_node(joined.pop(), allow_graceful=False)
        if len(teams) == 3 and trained > 0:
            clock.setdefault("back", time.monotonic())
        if len(teams) == 3 and trained > 100:
            beacon.ask_to_stop(run)

    settings = {
        "target": "income", "training.steps": 1_000_000, "training.batch": 128, "training.precision": "fp32",
        "training.checkpoint_s": 1, "training.workers": (1, 2), "training.zero": 2,
        "diffusion.width": 32, "diffusion.blocks": 1,
    }  # fmt: skip
    recipe = Recipe.read(None, settings).resolved(test_apart=False)
    prepared = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
    found = workers.fit(ray, recipe, prepared, run, follow, embedded=False)
    told = {"teams": teams, "back_s": clock["back"] - clock["killed"]}
    print(json.dumps(told | {key: found[key] for key in ("stopped", "loss", "notes")}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
