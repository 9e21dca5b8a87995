"""Find room for a run on a cluster that has no worker node when it starts, and a real autoscaler; prints, as JSON, what was
said.

python from_zero.py TABLE RUN AUTOSCALER, which is "v1", "v2" or, out of sight as on Kubernetes, "hidden"; there the run is
trained to its end, as it is wherever its nodes have come up.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray

from synth.errors import UserError
from synth.recipe import Recipe
from synth.training import prepare, room, workers

HEAD = "f" * 51 + "00000"  # as Ray's provider of pretended nodes calls it: each is a raylet on this machine
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
COMMANDS = [
    "setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files",
]  # fmt: skip
SETTINGS = {
    "target": "income", "training.steps": 20, "training.batch": 128, "training.precision": "fp32",
    "training.workers": 2, "diffusion.width": 32, "diffusion.blocks": 1,
}  # fmt: skip
# The settings of the autoscaler are in no file that is named on the command line.
HIDDEN = """
import os, sys
from ray.autoscaler.v2.instance_manager.config import FileConfigReader
from ray.autoscaler.v2.monitor import AutoscalerMonitor
AutoscalerMonitor(sys.argv[1], FileConfigReader(os.environ["SETTINGS"]), monitor_ip="127.0.0.1").run()
"""


@contextmanager
def cluster(folder: str, version: str) -> Iterator[str]:
    """A head without CPUs, whose autoscaler can start two nodes of one CPU."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    node = {"node_config": {}, "min_workers": 0}
    settings = {
        "cluster_name": "test", "max_workers": 2, "idle_timeout_minutes": 5,
        "provider": {
            "type": "external", "module": PROVIDER, "gcs_address": address, "head_node_id": HEAD,
            "use_node_id_as_ip": True, "disable_node_updaters": True, "disable_launch_config_check": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": node | {"resources": {"CPU": 0}, "max_workers": 0},
            "small": node | {"resources": {"CPU": 1}, "max_workers": 2},
        },
    }  # fmt: skip
    settings |= {key: {} for key in ("file_mounts", "auth", "docker")} | {key: [] for key in COMMANDS}
    path = Path(folder, "settings.yaml")
    path.write_text(json.dumps(settings))
    environment = {
        **os.environ, "RAY_FAKE_CLUSTER": "1", "SETTINGS": str(path), "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD, "RAY_NODE_TYPE_NAME": "ray.head.default",
        "RAY_enable_autoscaler_v2": "0" if version == "v1" else "1",
    }  # fmt: skip
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0",
        "--node-ip-address=127.0.0.1", f"--port={address.partition(':')[2]}", f"--temp-dir={folder}",
        "--include-dashboard=false", "--no-monitor" if version == "hidden" else f"--autoscaling-config={path}",
    ]  # fmt: skip
    said = Path(folder, "said.txt")
    with said.open("wb") as file:
        started = [subprocess.Popen(command, env=environment, stdout=file, stderr=file)]
        try:
            deadline = time.monotonic() + 60
            while "Ray runtime started" not in said.read_text():
                assert started[0].poll() is None and time.monotonic() < deadline, said.read_text()
                time.sleep(0.2)
            if version == "hidden":
                apart = [sys.executable, "-c", HIDDEN, address]
                started.append(subprocess.Popen(apart, env=environment, stdout=file, stderr=file))
            yield address
        finally:
            ours = [p for s in started for p in (*psutil.Process(s.pid).children(recursive=True), s)]
            for process in ours:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def main(table: str, run: str, version: str) -> None:
    said: list[str] = []  # phases, and what stays on the screen

    def follow(phase: str, done: float, facts: dict[str, Any]) -> None:
        if phase not in said:
            said.append(phase)
        if phase != "training":
            said.extend(facts.get("told", ()))

    def fit() -> dict[str, Any]:
        recipe = Recipe.read(None, SETTINGS).resolved(test_apart=False)
        prepared = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
        return workers.fit(ray, recipe, prepared, run, follow, embedded=False)

    with tempfile.TemporaryDirectory(prefix="ray") as folder, cluster(folder, version) as address:
        ray.init(address=address, log_to_driver=False)
        found: dict[str, Any] = {"nodes": len(ray.nodes())}
        began = time.monotonic()
        try:
            room.find(ray, 3, follow, embedded=False)
        except UserError as e:
            found |= {"refused": str(e), "took_s": time.monotonic() - began}
        if version == "hidden":
            found |= {key: value for key, value in fit().items() if key in ("step", "workers")}
        else:
            found["cpus"], found["gpus"] = room.find(ray, 2, follow, embedded=False)
        found |= {"said": said, "nodes then": len(ray.nodes())}
        ray.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
