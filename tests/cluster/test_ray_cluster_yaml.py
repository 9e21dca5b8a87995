"""The cluster file is one that Ray's launcher takes, and says what it promises: versions, token, loopback, spot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text())


def test_ray_takes_it() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(CONFIG)
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert prepared["head_node_type"] in types
    assert sum(kind.get("min_workers", 0) for kind in types.values()) <= prepared["max_workers"]
    assert set(types) == {"head", "gpu"}, "nothing of the launcher's defaults is left beside them"
    with pytest.raises(Exception, match="idle_timeout"):  # a key that Ray does not know is refused, not ignored
        validate_config(prepare_config(CONFIG | {"idle_timeout": 10}))


def test_versions_are_those_that_were_tested() -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    ray = re.search(r"^ray==(.+)$", constraints, re.MULTILINE)
    assert ray
    assert CONFIG["docker"]["image"] == f"rayproject/ray:{ray[1]}-py311-gpu"
    assert "Python 3.11" in constraints
    assert any("-c /home/ray/artesian/constraints.txt" in command for command in CONFIG["setup_commands"])
    assert CONFIG["file_mounts"]["/home/ray/artesian"] == "."


def test_the_head_does_no_work_and_is_not_taken_away() -> None:
    head, gpu = CONFIG["available_node_types"]["head"], CONFIG["available_node_types"]["gpu"]
    [start] = [command for command in CONFIG["head_start_ray_commands"] if "--head" in command]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "--num-cpus=0" in start and "--num-gpus=0" in start
    assert "InstanceMarketOptions" not in head["node_config"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_ports_are_kept_from_others() -> None:
    starts = [*CONFIG["head_start_ray_commands"], *CONFIG["worker_start_ray_commands"]]
    starts = [command for command in starts if "ray start" in command]
    assert len(starts) == 2 and all(command.startswith("RAY_AUTH_MODE=token ray start") for command in starts)
    assert CONFIG["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "SecurityGroup" not in yaml.safe_dump(CONFIG)  # the launcher's own opens SSH alone


def test_ray_start_knows_the_options() -> None:
    from click.testing import CliRunner
    from ray.scripts.scripts import start

    known = CliRunner().invoke(start, ["--help"]).output
    text = " ".join([*CONFIG["head_start_ray_commands"], *CONFIG["worker_start_ray_commands"]])
    options = set(re.findall(r"--[a-z-]+", text))
    assert options and all(option in known for option in options), options
