"""A chain of generations, to be walked and to be broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synth import release as releases
from synth.provenance import keys
from tests.command import run
from tests.provenance import chains
from tests.serving.releases import people, publish


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """real.parquet → g0 → rows1.parquet → g1 → rows2.csv → g2 → rows3.parquet, and the key that signed all of it."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)  # releases name their tables as they were given: they can be moved together
        pq.write_table(people(), "real.parquet")
        first = releases.load(publish(Path("seed")))
        shutil.rmtree("seed")
        chains.made(first, "g0", "real.parquet", seed=0)
        for k, rows in enumerate(("rows1.parquet", "rows2.csv", "rows3.parquet")):
            assert run(["sample", f"g{k}", "-n", "50", "--seed", str(k), "--out", rows], monkeypatch) == 0
            if k < 2:
                chains.made(first, f"g{k + 1}", rows, seed=k + 1)
        return folder, keys.key_file().read_bytes()


@pytest.fixture
def chain(once: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be broken."""
    return chains.own_copy(once, tmp_path / "chain", monkeypatch)
