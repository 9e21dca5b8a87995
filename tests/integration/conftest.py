"""One Ray and one small table for the whole test session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

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
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "adult.parquet"
    pq.write_table(pq.read_table(adult()).slice(0, 900), path)
    return path
