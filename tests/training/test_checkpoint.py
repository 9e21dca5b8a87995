"""Checkpoints move between machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from synth.training import checkpoint
from synth.training.engine import Average


class Engine:
    """Of DeepSpeed's, what restoring asks for."""

    def load_checkpoint(self, folder: str, tag: str) -> tuple[str, None]:
        return folder, None


def test_averages_saved_on_an_accelerator_are_restored_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, average = Average(nn.Linear(3, 2), 0.9), Average(nn.Linear(3, 2), 0.9)
    saved.update()
    with monkeypatch.context() as there:  # every tensor says that it lay on a GPU
        there.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(saved.state_dict(), tmp_path / "average-denoiser-0.pt")
    (tmp_path / checkpoint.PROGRESS).write_text(json.dumps({"step": 1}))
    assert checkpoint.restore(tmp_path, {"denoiser": Engine()}, {"denoiser": average}, 0) == {"step": 1}
    assert average.steps == 1
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(average.shards, saved.shards, strict=True))
