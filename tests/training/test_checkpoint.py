"""Checkpoints say what is wrong with them, and are read by ranks that others wrote for."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from synth.errors import UserError
from synth.training import checkpoint, shards
from synth.training.checkpoint import DamagedError
from synth.training.engine import Average
from synth.training.shards import Fragment


class Engine:
    """Of DeepSpeed's at ZeRO 0, what saving and restoring ask for."""

    def __init__(self) -> None:
        self.module = nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.1)

    def zero_optimization_stage(self) -> int:
        return 0

    def step(self) -> None:
        self.module(torch.ones(4, 3)).square().sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def saved(folder: Path, steps: int = 3) -> tuple[Engine, Average]:
    """A checkpoint in ``folder``, and what was saved."""
    engine = Engine()
    owned = {"denoiser": shards.fragments(engine)}
    average = Average([f.weight for f in owned["denoiser"]], 0.9)
    for _ in range(steps):
        engine.step()
        average.update()
    shutil.move(checkpoint.write({"denoiser": engine}, owned, {"denoiser": average}, {"step": steps}, 0, 1), folder)
    return engine, average


@pytest.mark.parametrize("steps", [0, 3])
def test_another_process_goes_on_with_the_same_state(tmp_path: Path, steps: int) -> None:
    theirs, average = saved(tmp_path / "c", steps)
    mine = Engine()
    mine.step()  # something to be overwritten
    owned = {"denoiser": shards.fragments(mine)}
    averages = {"denoiser": Average([f.weight for f in owned["denoiser"]], 0.9)}
    assert checkpoint.restore(tmp_path / "c", {"denoiser": mine}, owned, averages)["step"] == steps
    assert averages["denoiser"].steps == average.steps == steps
    assert all(torch.equal(a, b) for a, b in zip(averages["denoiser"].shards, average.shards, strict=True))
    for engine in (mine, theirs):
        engine.step()
    for a, b in zip(mine.module.parameters(), theirs.module.parameters(), strict=True):
        assert torch.equal(a, b)
    _, weights = checkpoint.averaged(tmp_path / "c")
    assert weights["denoiser.weight"].shape == (2, 3)
    assert torch.equal(weights["denoiser.weight"], average.shards[0].view(2, 3))


def test_what_is_missing_or_altered_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "c")
    shard, progress = tmp_path / "c" / "denoiser-0.safetensors", tmp_path / "c" / checkpoint.PROGRESS
    whole, said = shard.read_bytes(), progress.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedError, match=r"denoiser-0\.safetensors is damaged"):
        checkpoint.progress_of(tmp_path / "c")
    shard.write_bytes(whole[:100])
    with pytest.raises(DamagedError, match=r"denoiser-0\.safetensors is damaged"):
        checkpoint.restore(tmp_path / "c", {}, {}, {})
    shard.unlink()
    with pytest.raises(DamagedError, match=r"denoiser-0\.safetensors is missing"):
        checkpoint.progress_of(tmp_path / "c")
    for torn in (said[:40], b"", b"{}", b"[]", json.dumps({"files": 7}).encode()):
        progress.write_bytes(torn)
        with pytest.raises(DamagedError, match=r"progress\.json is damaged"):
            checkpoint.progress_of(tmp_path / "c")
    progress.unlink()
    with pytest.raises(DamagedError, match=r"progress\.json is missing"):
        checkpoint.progress_of(tmp_path / "c")


def test_pieces_of_any_cut_are_put_together(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    line, cuts = torch.arange(24.0), [0, 5, 6, 17, 24]
    files = []
    for rank, (low, high) in enumerate(itertools.pairwise(cuts)):
        fragment = Fragment("w", torch.Size([4, 6]), low, line, slice(low, high), line)
        key = f"weight/{fragment.name}/{fragment.start}"
        files.append(tmp_path / f"{rank}.safetensors")
        save_file({key: fragment.weight.clone()}, files[-1], metadata={"shapes": '{"w": [4, 6]}', "updates": "0"})
    with shards.opened(files) as found:
        assert torch.equal(found.whole("weight")["w"], line.view(4, 6))
        for start in range(24):
            for length in range(1, 25 - start):
                assert torch.equal(found.read("weight", "w", start, length), line[start : start + length])
    with shards.opened(files[1:]) as gap, pytest.raises(KeyError, match="19 of 24 elements from 0 on"):
        gap.whole("weight")


def test_the_newest_whole_checkpoint_that_ray_knows_is_taken(tmp_path: Path) -> None:
    from ray.train import Checkpoint

    for name in ("1", "2", "3", "4"):
        saved(tmp_path / f"checkpoint_{name}")
    (tmp_path / "checkpoint_manager_snapshot.json").write_text("{}")  # Ray's own, beside them
    (tmp_path / "checkpoint_3" / "denoiser-0.safetensors").unlink()
    latest = Checkpoint.from_directory(str(tmp_path / "checkpoint_3"))  # it does not know of the fourth
    found, notes = checkpoint.newest_whole(latest, 0, 1)
    assert found.path == str(tmp_path / "checkpoint_2")
    assert notes == ["checkpoint_3 was passed over: denoiser-0.safetensors is missing"]
    assert checkpoint.newest_whole(found, 0, 1) == (found, [])
    for name in ("1", "2"):
        (tmp_path / f"checkpoint_{name}" / checkpoint.PROGRESS).write_text("{")
    assert checkpoint.newest_whole(latest, 0, 1)[0] is None


def test_where_no_newer_one_is_whole_the_best_is_taken(tmp_path: Path) -> None:
    from ray.train import Checkpoint

    for name, steps in (("checkpoint_1", 1), ("checkpoint_2", 2), (checkpoint.BEST, 1)):
        saved(tmp_path / name, steps)
    latest, best = (Checkpoint.from_directory(str(tmp_path / name)) for name in ("checkpoint_2", checkpoint.BEST))
    assert checkpoint.newest_whole(latest, 0, 1) == (latest, [])
    assert checkpoint.best(latest).path == best.path
    for name in ("checkpoint_1", "checkpoint_2"):
        (tmp_path / name / "denoiser-0.safetensors").write_bytes(b"torn")
    found, notes = checkpoint.newest_whole(latest, 0, 1)
    assert found.path == best.path
    assert [note.partition(" ")[0] for note in notes[:2]] == ["checkpoint_2", "checkpoint_1"]
    assert notes[2:] == ["went on from the best checkpoint, of step 1"]
    (tmp_path / checkpoint.BEST / checkpoint.PROGRESS).unlink()
    assert checkpoint.best(latest) == latest and checkpoint.newest_whole(latest, 0, 1)[0] is None


def test_an_altered_digit_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path / "c", 3)
    progress = tmp_path / "c" / checkpoint.PROGRESS
    progress.write_text(progress.read_text().replace('"step": 3', '"step": 4'))
    with pytest.raises(DamagedError, match=r"progress\.json is damaged"):
        checkpoint.progress_of(tmp_path / "c")


def test_another_run_begins_with_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    run, other = str(tmp_path / "run"), str(tmp_path / "other")
    assert checkpoint.newest(run) is None
    with pytest.raises(UserError, match="holds no whole checkpoint to go on with"):
        checkpoint.branch(run, other)
    for steps in (1, 2, 3):
        saved(tmp_path / "run" / f"checkpoint_{steps}", steps)
    (tmp_path / "run" / "checkpoint_3" / "denoiser-0.safetensors").unlink()
    found = checkpoint.newest(run)
    assert found is not None and found[0]["step"] == 2
    checkpoint.branch(run, other)
    taken = checkpoint.newest(other)
    assert taken is not None and taken[0]["step"] == 2
    assert torch.equal(taken[1]["denoiser.weight"], found[1]["denoiser.weight"])
    shutil.rmtree(tmp_path / "run")
    checkpoint.branch(run, other)  # it has begun
