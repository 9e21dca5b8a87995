"""Saving and restoring a run: every rank a file of its fragments, merged by Ray into one folder in the run's storage.

The newest are kept, and apart from them, under a name that Ray does not know, the best one: of those at which the samples
were looked at the newest with the best coverage, before there are any the one with the lowest loss.

``progress.json`` says where the run stood and lists the files with their hashes. A checkpoint is trusted only if all of
it is there and unaltered; one that was torn or damaged is passed over for the one before.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor

from cluster import storage
from cluster.storage import FULL
from synth.errors import UserError
from synth.training import shards
from synth.training.engine import Average
from synth.training.shards import Fragment

PROGRESS = "progress.json"
PREFIX = "checkpoint_"  # with which Ray begins the names of their folders
BEST = "best"  # beside them
REFUSED_S, AGAIN_S = 120.0, 2.0


class DamagedError(ValueError):
    """A checkpoint that is not whole; the message names the file."""


def write(
    engines: Mapping[str, Any],
    owned: Mapping[str, Sequence[Fragment]],
    averages: Mapping[str, Average],
    progress: Mapping[str, Any],
    rank: int,
    world: int,
) -> Path:
    """This rank's part of a checkpoint, in a temporary folder that the caller takes away; a collective over all ranks.

    ``progress`` (JSON) is written by rank 0. At ZeRO 0 all ranks hold the same, and rank 0 writes it.
    """
    from safetensors.torch import save_file

    folder, mine = Path(tempfile.mkdtemp(prefix="artesian-checkpoint-")), {}
    for player, engine in engines.items():
        if rank == 0 or engine.zero_optimization_stage():
            file = folder / f"{player}-{rank}.safetensors"
            tensors, beside = shards.state_of(engine, owned[player], averages[player].shards)
            save_file(tensors, file, metadata=beside)
            mine[file.name] = {"player": player, "sha256": _sha256(file)}
    files: list[dict[str, Any]] = [mine]
    if world > 1:
        files = [{} for _ in range(world)]
        dist.all_gather_object(files, mine)
    if rank == 0:
        listed = {file: facts for part in files for file, facts in part.items()}
        counts = {player: average.steps for player, average in averages.items()}
        (folder / PROGRESS).write_text(sealed({**progress, "averaged": counts, "files": listed}))
    return folder


def upload(checkpoint: Any, name: str, *, best: bool = False) -> Any:
    """Ray Train's own upload, tried again for ``REFUSED_S`` where the storage refuses for another reason than space.

    Of what is ``best`` so far, a second one follows: Ray keeps either the newest or those with the highest score, and
    a score cannot be taken back when a higher one comes.
    """
    import ray.train

    place, began = ray.train.get_context().get_storage(), time.monotonic()
    while True:
        try:
            saved = place.persist_current_checkpoint(checkpoint, name)
            if best:
                place.persist_current_checkpoint(checkpoint, BEST)
            return saved
        except OSError as e:
            if e.errno in FULL or time.monotonic() - began > REFUSED_S:
                raise
            time.sleep(AGAIN_S)


def sealed(progress: Mapping[str, Any]) -> str:
    """JSON that holds a hash of the rest of it."""
    return json.dumps({**progress, "sha256": _seal(progress)})


def _seal(progress: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in progress.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def progress_of(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; DamagedError, with the file's name, if anything of it is missing or altered."""
    try:
        progress: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
        if progress["sha256"] != _seal(progress):
            raise DamagedError(f"{PROGRESS} is damaged")
        for name, facts in progress["files"].items():
            if _sha256(folder / name) != facts["sha256"]:
                raise DamagedError(f"{name} is damaged")
    except FileNotFoundError as e:
        raise DamagedError(f"{Path(str(e.filename)).name} is missing") from e
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as e:  # other JSON
        raise DamagedError(f"{PROGRESS} is damaged, or of another version") from e
    return progress


def look(path: str, filesystem: Any) -> dict[str, Any]:
    """``progress_of`` the checkpoint at ``path`` of a pyarrow file system."""
    from ray.train import Checkpoint

    with Checkpoint(path, filesystem).as_directory() as folder:
        return progress_of(Path(folder))


def newest_whole(latest: Any, rank: int, world: int) -> tuple[Any, list[str]]:
    """``latest`` (a ``ray.train.Checkpoint``) or the newest before it that is whole, else the best one, None if that is not
    whole either; and what was passed over. A collective: rank 0 looks, and all ranks take what it found.

    Ray knows a checkpoint once all ranks have uploaded their parts, so what is newer than ``latest`` was never finished.
    """
    from pyarrow.fs import FileSelector, FileType
    from ray.train import Checkpoint

    parent, _, last = latest.path.rpartition("/")
    found, notes = "", []
    if rank == 0:
        infos = latest.filesystem.get_file_info(FileSelector(parent))
        beside = [info.base_name for info in infos if info.type == FileType.Directory]
        names = [name for name in beside if name.startswith(PREFIX) and name <= last]  # Ray names them by the time
        for name in sorted(names, reverse=True) + [BEST] * (BEST in beside):
            try:
                step = look(f"{parent}/{name}", latest.filesystem)["step"]
            except DamagedError as e:
                notes.append(f"{name} was passed over: {e}")
            else:
                found = name
                if name == BEST:
                    notes.append(f"went on from the best checkpoint, of step {step}")
                break
    if world > 1:
        decided: list[Any] = [found, notes]
        dist.broadcast_object_list(decided)
        found, notes = decided
    if found == last:
        return latest, notes  # the object that all ranks of a node have, so that a node downloads it once
    return Checkpoint(f"{parent}/{found}", latest.filesystem) if found else None, notes


def best(latest: Any) -> Any:
    """The best checkpoint beside ``latest``, where there is a whole one, else ``latest``."""
    from pyarrow.fs import FileType
    from ray.train import Checkpoint

    path = f"{latest.path.rpartition('/')[0]}/{BEST}"
    if latest.filesystem.get_file_info(path).type == FileType.NotFound:
        return latest
    try:
        look(path, latest.filesystem)
    except DamagedError:
        return latest
    return Checkpoint(path, latest.filesystem)


@contextmanager
def opened(folder: Path, progress: Mapping[str, Any]) -> Iterator[dict[str, shards.Saved]]:
    """The files of a checkpoint by player."""
    files: dict[str, list[Path]] = {}
    for name, facts in progress["files"].items():
        files.setdefault(facts["player"], []).append(folder / name)
    with ExitStack() as stack:
        yield {player: stack.enter_context(shards.opened(paths)) for player, paths in files.items()}


def restore(
    folder: Path,
    engines: Mapping[str, Any],
    owned: Mapping[str, Sequence[Fragment]],
    averages: Mapping[str, Average],
) -> dict[str, Any]:
    """Load a checkpoint, written by any number of workers at any ZeRO stage; returns its progress.

    Raises DamagedError where it is not whole.
    """
    progress = progress_of(folder)
    with opened(folder, progress) as saved:
        for player, engine in engines.items():
            shards.restore(engine, owned[player], averages[player].shards, saved[player])
            averages[player].steps = progress["averaged"][player]
    return progress


def averaged(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint's progress, and the averaged weights in it, whole; DamagedError where the checkpoint is not."""
    progress = progress_of(folder)
    with opened(folder, progress) as saved:
        return progress, shards.averaged(saved)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def newest(run: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """``averaged`` of the newest whole checkpoint of a run that may still be writing and deleting others; None before the
    first."""
    from ray.train import Checkpoint

    filesystem, path = storage.resolve(run)
    for name in reversed(_names(run)):
        try:
            with Checkpoint(f"{path}/{name}", filesystem).as_directory() as folder:
                return averaged(Path(folder))
        except (DamagedError, FileNotFoundError):
            continue
    return None


def branch(run: str, other: str) -> None:
    """Have the run ``other``, unless it has begun, begin with the newest whole checkpoint of ``run``. UserError where there
    is none."""
    if _names(other):
        return
    filesystem, path = storage.resolve(run)
    for name in reversed(_names(run)):
        try:
            look(f"{path}/{name}", filesystem)
        except DamagedError:
            continue
        for file in storage.list_files(storage.join(run, name)):
            storage.write_bytes(
                storage.join(other, f"{name}/{file}"), storage.read_bytes(storage.join(run, f"{name}/{file}"))
            )
        return
    raise UserError(f"{storage.without_credentials(run)}: holds no whole checkpoint to go on with")


def _names(run: str) -> list[str]:
    """The checkpoints of a run, the oldest first: Ray names them by the time. None is looked into: it may be on its way out."""
    from pyarrow.fs import FileSelector, FileType

    filesystem, path = storage.resolve(run)
    infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    beside = [info.base_name for info in infos if info.type == FileType.Directory]
    return sorted(name for name in beside if name.startswith(PREFIX))
