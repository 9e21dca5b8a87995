"""Nodes are asked for what would go wrong in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster import nodes
from cluster.nodes import diagnose_cluster

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_a_sound_node_is_found_sound(tmp_path: Path) -> None:
    checks = diagnose_cluster(ray, str(tmp_path / "runs"))
    assert [check.status for check in checks if not check.name.endswith("disk")] == ["ok"] * (len(checks) - 1)
    assert any("torch 2." in check.detail for check in checks)
    assert list((tmp_path / "runs").iterdir()) == []  # nothing is left of the probe


def test_a_place_that_a_node_cannot_write_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    [storage] = [check for check in diagnose_cluster(ray, str(tmp_path / "file")) if check.name.endswith("storage")]
    assert storage.status == "fail" and "file" in storage.detail and storage.remedy


def test_a_node_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "PATIENCE_S", 0.0)
    _, silent = diagnose_cluster(ray)
    assert silent.status == "fail" and silent.detail.startswith("does not answer: ") and silent.remedy


def test_nodes_are_asked_side_by_side(said: Callable[..., Any]) -> None:
    """Two more raylets of this machine, stopped: they stay in the list for a while, and answer nothing."""
    told = said("silent_nodes.py")
    assert sorted(told["silent"]) == sorted(told["stopped"])
    assert told["sound"] and told["took_s"] < 1.7 * told["patience_s"]


SOUND: dict[str, Any] = {"time": 100.0, "versions": {"ray": "2.60.0"}, "free": 1 << 40, "gpus": [], "nccl": None,
                         "refused": None}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "name", "status", "detail"),
    [
        ({}, "n", "ok", "ray 2.60.0"),
        ({"versions": {"ray": "2.59.0"}}, "n", "fail", "ray 2.59.0 (here 2.60.0)"),
        ({"time": 93.0}, "n clock", "warn", "-7 s from here"),
        ({"time": 104.0}, "n clock", "ok", "+4.0 s from here"),
        ({"free": 1 << 30}, "n disk", "warn", "1 GiB free"),
        ({"gpus": ["A", "A"], "nccl": "2.27.3"}, "n GPUs", "ok", "A, A, NCCL 2.27.3"),
    ],
)
def test_what_is_said_is_judged(change: dict[str, Any], name: str, status: str, detail: str) -> None:
    found = {check.name: check for check in nodes._judge("n", SOUND | change, SOUND, now=100.0, took=0.2)}
    assert (found[name].status, found[name].detail) == (status, detail)
    assert (found[name].remedy is None) == (status == "ok")
