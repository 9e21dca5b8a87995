"""What a cluster's autoscaler can start is read from its settings."""

from __future__ import annotations

from pathlib import Path

import yaml

from cluster.autoscaler import NodeType, read


def test_our_own_cluster_file() -> None:
    settings = yaml.safe_load((Path(__file__).parents[2] / "ray-cluster.yaml").read_text())
    assert read(settings) == [NodeType("gpu", 8, 1, most=8)]


def test_limits_of_a_type_and_of_the_cluster() -> None:
    worker = {"resources": {"CPU": 2}}
    types = {"head": {"resources": {"CPU": 4}}, "a": worker, "b": worker | {"max_workers": 3}, "c": {"max_workers": 0}}
    settings = {"max_workers": 5, "head_node_type": "head", "available_node_types": types}
    assert read(settings) == [NodeType("a", 2, 0, most=5), NodeType("b", 2, 0, most=3)]
    assert read({}) == []
