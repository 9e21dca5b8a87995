"""Saving and restoring a run: every rank its shards, one folder, merged by Ray in the run's storage.

DeepSpeed's files are unpickled when read, so a checkpoint is trusted input: it is only ever read from the run's own
storage and is no part of a release.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synth.training.engine import Average

WEIGHTS, PROGRESS = "weights.safetensors", "progress.json"


@contextmanager
def written(
    engines: Mapping[str, Any], averages: Mapping[str, Average], progress: Mapping[str, Any], rank: int
) -> Iterator[Path]:
    """This rank's part of a checkpoint in a temporary folder; a collective over all ranks.

    ``progress`` (JSON) and the whole averaged weights are written by rank 0.
    """
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory(prefix="artesian-checkpoint-") as name:
        folder = Path(name)
        weights: dict[str, Tensor] = {}
        for player, engine in engines.items():
            engine.save_checkpoint(str(folder / player), tag="engine")
            torch.save(averages[player].state_dict(), folder / f"average-{player}-{rank}.pt")
            weights |= {f"{player}.{k}": v for k, v in averages[player].full().items()}
        if rank == 0:
            save_file(weights, folder / WEIGHTS)
            (folder / PROGRESS).write_text(json.dumps(progress))
        yield folder


def restore(folder: Path, engines: Mapping[str, Any], averages: Mapping[str, Average], rank: int) -> dict[str, Any]:
    """Load a checkpoint written by the same number of workers; returns its progress."""
    for player, engine in engines.items():
        path, _ = engine.load_checkpoint(str(folder / player), tag="engine")
        assert path is not None, f"no {player} engine in {folder}"
        # To the CPU first: the worker may sit on another device now, or on none.
        saved = torch.load(folder / f"average-{player}-{rank}.pt", map_location="cpu", weights_only=True)
        averages[player].load_state_dict(saved)
    progress: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
    return progress
