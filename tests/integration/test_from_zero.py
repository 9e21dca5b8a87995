"""A cluster without a worker node starts those that a run needs, and says at once which it cannot."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]
KNOWN = "and can start up to 2 × small (1 CPUs, 0 GPUs), room for 2 workers of a CPU each; give --workers 2 or fewer"
TRIED = "and its autoscaler can start no room for 3 workers of a CPU each beside what is at work; give fewer, or"


@pytest.mark.parametrize(("autoscaler", "refusal"), [("v2", KNOWN), ("v1", KNOWN), ("hidden", TRIED)])
def test_a_cluster_scaled_to_zero(
    said: Callable[..., Any], table: Path, tmp_path: Path, autoscaler: str, refusal: str
) -> None:
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    found = said("from_zero.py", table, tmp_path / "x.run", autoscaler, **loopback)
    assert found["nodes"] == 1
    assert found["refused"].startswith("--workers 3: the cluster has 0 CPUs and 0 GPUs on 1 node(s)")
    assert refusal in found["refused"] and found["took_s"] < 60
    told = found["said"]
    assert "waiting for room for 2 workers of a CPU each: asked the cluster's autoscaler for nodes" in told
    assert any(re.fullmatch(r"on their way: [12] × small", line) for line in told), told
    assert found["nodes then"] == 3
    if autoscaler == "hidden":
        assert told.index("waiting for nodes") < told.index("starting the workers") < told.index("training")
        assert (found["step"], found["workers"]) == (20, 2)
    else:
        assert (found["cpus"], found["gpus"]) == (1, False)
