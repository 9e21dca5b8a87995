"""What the harnesses of peers and ablations do with what they measure; the measurements are in benchmarks/results."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file of benchmarks/, which is no package."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # it adds the folder that it lies in
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ablations(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("ablations", monkeypatch)


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("peers", monkeypatch)


def row(variant: str, table: str, seed: int, commit: str = "a", **figures: Any) -> dict[str, Any]:
    known = {
        "task": "regression" if table == "beijing" else "classification", "changed": "", "seconds": 9.0, "shape_error": 1.0,
        "trend_error": 1.0, "tstr": 0.9, "trtr": 0.9, "c2st_auc": 0.6, "exact_copies": 0.0, "rare_category_coverage": None,
    }  # fmt: skip
    return known | {"variant": variant, "table": table, "seed": seed, "commit": commit} | figures


def test_variants_are_held_against_the_baseline_of_their_own_table_seed_and_commit(ablations: ModuleType) -> None:
    rows = [
        row("baseline", "adult", 0, shape_error=1.0), row("baseline", "adult", 1, shape_error=2.0),
        row("baseline", "magic", 0, shape_error=5.0), row("baseline", "adult", 0, "b", shape_error=3.0),
        row("wide", "adult", 0, shape_error=1.5), row("wide", "adult", 1, shape_error=2.7),
        row("wide", "magic", 0, shape_error=5.6), row("wide", "magic", 1, shape_error=9.0),  # without a baseline
        row("lost", "adult", 0, "branch", shape_error=3.5),  # other code: the last baseline before it
    ]  # fmt: skip
    assert ablations.against(rows, "wide", "shape_error") == pytest.approx([0.5, 0.7, 0.6])
    assert ablations.against(rows, "lost", "shape_error") == pytest.approx([0.5])
    assert ablations.against(rows, "wide", "rare_category_coverage") == [], "a table that has none"
    rows.append(
        {**{key: rows[-1][key] for key in ("table", "seed", "seconds", "commit")}, "variant": "wide", "failed": "so"}
    )
    told = ablations.table(rows)
    assert "| wide |  | 3, 1 diverged | +0.6 ± 0.058 |" in told
    assert told.endswith("Seconds of one thread that each training had: 9.")


def test_usefulness_is_a_share_of_what_real_rows_teach_and_more_is_better(ablations: ModuleType) -> None:
    rows = [
        row("baseline", "adult", 0, tstr=0.8, trtr=0.9), row("better", "adult", 0, tstr=0.85, trtr=0.9),
        row("baseline", "beijing", 0, tstr=80.0, trtr=40.0), row("better", "beijing", 0, tstr=50.0, trtr=40.0),
    ]  # fmt: skip
    assert ablations.against(rows, "better", "tstr") == pytest.approx([0.05 / 0.4, 0.8 - 0.5])


def test_variants_are_keys_of_the_recipe(ablations: ModuleType) -> None:
    from synth.recipe import Recipe

    default = Recipe.read(None, {}).sha256()
    hashes = {name: Recipe.read(None, changed).sha256() for name, changed in ablations.VARIANTS.items()}
    assert hashes.pop(ablations.BASELINE) == default and default not in hashes.values()
    assert len(set(hashes.values())) == len(hashes)


def test_what_takes_too_long_is_ended_with_all_that_it_started(peers: ModuleType, tmp_path: Path) -> None:
    child = tmp_path / "child"
    starts = (
        "import pathlib, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(child)!r}).write_text(str(other.pid)); time.sleep(60)"
    )
    began = time.monotonic()
    with pytest.raises(peers.FailedError, match="not done in time"):
        peers.bounded([sys.executable, "-c", starts], began + 5.0, threads=1)
    assert time.monotonic() - began < 30
    started = int(child.read_text())
    for _ in range(100):
        if not psutil.pid_exists(started) or psutil.Process(started).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        pytest.fail("what it started goes on")


def test_a_failure_is_told_by_its_last_line(peers: ModuleType) -> None:
    end = time.monotonic() + 30.0
    with pytest.raises(peers.FailedError, match="ended with 1: ValueError: no such column"):
        peers.bounded([sys.executable, "-c", "raise ValueError('no such column')"], end, threads=1)
    assert peers.bounded([sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"], end, 3) == "3\n"
