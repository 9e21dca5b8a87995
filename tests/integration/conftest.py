"""One Ray and one small table for the whole test session."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cluster.session import connected
from synth.data.demo import adult


@pytest.fixture(scope="session", autouse=True)
def ray_session() -> Iterator[None]:
    # Ray Train takes in a report, and sees an end or a death, once in so many seconds: 2 by itself.
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
    with connected():
        yield


@pytest.fixture(scope="session")
def said() -> Callable[..., Any]:
    """Runs a program beside this file, on a cluster of its own, and returns the line of JSON that it prints."""

    def run(program: str, *arguments: object, **environment: str) -> Any:
        settings = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        settings |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, str(Path(__file__).with_name(program)), *map(str, arguments)]
        done = subprocess.run(
            command, env=settings | environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray prints some of its own
        assert len(lines) == 1, done.stdout
        return json.loads(lines[0])

    return run


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[dict[str, Any]], None], int], Path]:
    """Runs a function in so many workers of Ray Train, half a core each, and returns the "folder" that it is told of."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def run(work: Callable[[dict[str, Any]], None], workers: int) -> Path:
        folder = tmp_path_factory.mktemp(f"{workers}-workers")
        TorchTrainer(
            work,
            train_loop_config={"folder": str(folder)},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 0.5}),
            run_config=RunConfig(name="run", storage_path=str(folder)),
        ).fit()
        return folder

    return run


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "adult.parquet"
    pq.write_table(pq.read_table(adult()).slice(0, 900), path)
    return path
