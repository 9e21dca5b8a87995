"""Ray Train's list of checkpoints is made anew where it is lost; Ray's own reader is the judge."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from synth.errors import UserError
from synth.training.checkpoint import BEST, PROGRESS, sealed
from synth.training.snapshot import CHECKPOINTS, mend

TORN = [None, b"", b"[]", b"{}", b"7", b"\xff", b'{"ray_version": "2.60.0", "checkpoint_res']


def read(run: Path) -> Any:
    """Ray's manager of the checkpoints in ``run``."""
    from ray.train import CheckpointConfig
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
    from ray.train.v2._internal.execution.storage import StorageContext

    storage = StorageContext(str(run.parent), run.name, pyarrow.fs.LocalFileSystem())
    return CheckpointManager(CheckpointConfig(num_to_keep=2), storage)


def listed(run: Path) -> list[str]:
    return [Path(result.checkpoint.path).name for result in read(run)._checkpoint_results]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two whole checkpoints, and one of which a file is missing."""
    for step in (1, 2, 3):
        folder = tmp_path / "x.run" / f"checkpoint_{step}"
        folder.mkdir(parents=True)
        (folder / "denoiser-0.safetensors").write_bytes(b"weights")
        files = {"denoiser-0.safetensors": {"player": "denoiser", "sha256": hashlib.sha256(b"weights").hexdigest()}}
        (folder / PROGRESS).write_text(sealed({"step": step, "files": files}))
    (tmp_path / "x.run" / "checkpoint_3" / "denoiser-0.safetensors").unlink()
    return tmp_path / "x.run"


@pytest.mark.parametrize("content", TORN)
def test_the_newest_whole_checkpoint_is_found_without_the_list(content: bytes | None, run: Path) -> None:
    from ray.train.v2._internal.exceptions import CheckpointManagerInitializationError

    if content is None:
        assert read(run).latest_checkpoint_result is None  # Ray would begin from scratch
    else:
        (run / CHECKPOINTS).write_bytes(content)
        with pytest.raises((CheckpointManagerInitializationError, UnicodeDecodeError, TypeError)):
            read(run)
    assert mend(str(run)) == [
        "checkpoint_3 was passed over: denoiser-0.safetensors is missing",
        f"{CHECKPOINTS} was {'missing' if content is None else 'damaged'}: went on from checkpoint_2, at step 2",
    ]
    assert Path(read(run).latest_checkpoint_result.checkpoint.path).name == "checkpoint_2"
    assert listed(run) == ["checkpoint_1", "checkpoint_2"]
    assert mend(str(run)) == []


def test_a_list_of_what_is_gone_is_made_anew_and_one_that_is_whole_is_left_alone(run: Path) -> None:
    mend(str(run))
    whole = (run / CHECKPOINTS).read_bytes()
    assert mend(str(run)) == [] and (run / CHECKPOINTS).read_bytes() == whole
    shutil.rmtree(run / "checkpoint_2")
    assert mend(str(run))[-1] == f"{CHECKPOINTS} was damaged: went on from checkpoint_1, at step 1"
    assert listed(run) == ["checkpoint_1"]


def test_the_best_checkpoint_is_better_than_none(run: Path) -> None:
    shutil.copytree(run / "checkpoint_1", run / BEST)
    for step in (1, 2):
        (run / f"checkpoint_{step}" / PROGRESS).write_text("{")
    assert mend(str(run))[-1] == f"{CHECKPOINTS} was missing: went on from best, at step 1"
    assert listed(run) == [BEST]


def test_where_nothing_is_whole(run: Path, tmp_path: Path) -> None:
    assert mend(str(tmp_path / "new.run")) == []
    for step in (1, 2):
        (run / f"checkpoint_{step}" / PROGRESS).write_text("{")
    assert mend(str(run)) == [] and not (run / CHECKPOINTS).exists()
    (run / CHECKPOINTS).touch()
    with pytest.raises(UserError, match=r"x\.run: holds no whole checkpoint; start anew with --overwrite"):
        mend(str(run))
