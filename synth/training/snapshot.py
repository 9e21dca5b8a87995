"""Ray Train's list of a run's checkpoints, and how it is made anew from the checkpoints where it is lost.

Ray overwrites the list in place after each checkpoint: a driver that is killed in the midst leaves a part of it, which
Ray refuses to read. Where there is none, Ray begins from scratch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster import storage
from synth.errors import UserError

CHECKPOINTS = "checkpoint_manager_snapshot.json"


def mend(run: str) -> list[str]:
    """Make the list anew if Ray cannot go on with it; returns what is to be told of that, nothing if it can.

    Raises UserError where it is damaged and no checkpoint is whole.
    """
    from synth.training.checkpoint import BEST, PREFIX, DamagedError, look

    if not storage.exists(run):
        return []
    files, place = storage.list_files(run), storage.join(run, CHECKPOINTS)
    folders = sorted({name.partition("/")[0] for name in files if name.startswith(PREFIX) and "/" in name})
    if CHECKPOINTS in files:
        if _readable(storage.read_bytes(place), folders):
            return []
        wrong = "was damaged"
    else:
        wrong = "was missing"
    filesystem, path = storage.resolve(run)
    whole: dict[str, int] = {}  # each with its step, the newest first: Ray names them by the time
    notes: list[str] = []
    for name in [*reversed(folders), *[BEST] * any(name.startswith(f"{BEST}/") for name in files)]:
        if name == BEST and whole:  # not one of Ray's, which would delete it in its turn
            break
        try:
            whole[name] = look(f"{path}/{name}", filesystem)["step"]
        except DamagedError as e:
            if not whole:
                notes.append(f"{name} was passed over: {e}")
    if not whole:
        if CHECKPOINTS not in files:
            return []  # not even the first was finished
        name = storage.without_credentials(run)
        raise UserError("\n".join([*notes, f"{name}: holds no whole checkpoint; start anew with --overwrite"]))
    storage.write_bytes(place, _list_of([(name, whole[name]) for name in reversed(whole)]))
    newest, step = next(iter(whole.items()))
    return [*notes, f"{CHECKPOINTS} {wrong}: went on from {newest}, at step {step}"]


def _readable(content: bytes, folders: Iterable[str]) -> bool:
    """Whether it is such a list of Ray's, and of checkpoints that are there."""
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import _CheckpointManagerState

    try:
        state = _CheckpointManagerState.model_validate_json(content)
    except ValueError:  # not JSON, or other JSON
        return False
    listed = {result.checkpoint_dir_name for result in state.checkpoint_results}
    latest = state.latest_checkpoint_result
    return latest is not None and latest.checkpoint_dir_name in listed and listed <= set(folders)


def _list_of(checkpoints: Sequence[tuple[str, int]]) -> bytes:
    """The list of (name, step), the oldest first, as Ray writes it."""
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import (
        _CheckpointManagerState,
        _TrainingResultState,
    )

    results = [_TrainingResultState(checkpoint_dir_name=name, metrics={"step": step}) for name, step in checkpoints]
    state = _CheckpointManagerState(
        checkpoint_results=results,
        checkpoint_report_indices=list(range(len(results))),
        latest_checkpoint_result=results[-1],
        current_report_index=len(results),
        pending_training_results=[],
        pending_validation_specs=[],
        validated_checkpoint_dir_names=[],
        timed_out_validation_checkpoint_dir_names=[],
        failed_validation_checkpoint_dir_names=[],
    )
    return bytes(state.model_dump_json(), "utf-8")
