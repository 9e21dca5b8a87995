"""The workers of a run as the driver sees them: what each gets, where they stand, and how they are stopped."""

from __future__ import annotations

import math
import os
import posixpath
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

from cluster import storage
from synth.errors import JobError, UserError, whole_story
from synth.recipe import Recipe
from synth.training import room
from synth.training.prepare import Prepared
from synth.training.stored import Stored

Progress = Callable[[str, float, dict[str, Any]], None]
"""Called with the phase, the share of it that is done, and what else is known (step, loss, rows, elapsed_s)."""

LOOK_S = 0.25
RESIZE_S = 60.0  # between looks for room for more workers; each change starts them all from the last checkpoint
# For room, of a minute each: to Ray a lost node has room for 20 s more, and another one takes its time. And for storage
# that refuses Ray's list of checkpoints.
WAITS = 15
PATIENCE_S = 60.0  # for the workers to save and stop when the driver has failed

T = TypeVar("T")


class NeverLearntError(UserError):
    """The run diverged from its first steps on, so that its checkpoint holds nothing to go on with."""


def fit(
    ray: Any, recipe: Recipe, table: Prepared, run: str, progress: Progress, *, embedded: bool,
    each: tuple[float, float] | None = None, inside: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run the workers to the end; empties ``table.encoded`` where it is held, since the rows are theirs from then on.

    ``embedded`` says that the cluster is this process's own, and ends with it. ``each`` are the CPUs and GPUs that a worker
    gets, which may be fractions; by default as many as there are, and a whole GPU. ``inside``: this is an actor's process.

    Returns where the last checkpoint stands, or the best one if the run diverged for good, under "weights" the averaged
    weights in it, and under "asked" whether Ctrl-C asked for a stop. Raises UserError for what the recipe or the cluster
    does not allow, JobError where the workers failed for good, KeyboardInterrupt at the second Ctrl-C.
    """
    from ray.exceptions import RayError
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig
    from ray.train.v2._internal.constants import COLLECTIVE_TIMEOUT_S_ENV_VAR

    from cluster.trainer import LeanTrainer
    from synth.training import beacon, checkpoint, snapshot
    from synth.training.loop import train_worker

    cpus, gpus = each or room.find(ray, recipe.training.least, progress, embedded=embedded)
    notes = snapshot.mend(run)
    rows: Stored | list[Any] = table.encoded
    if isinstance(table.encoded, list):
        pools = [(1 - sum(share for share, _ in table.mixed), table.encoded), *table.mixed]
        rows = [(share, [ray.put(tuple(part)) for part in parts]) for share, parts in pools]
        for _, parts in pools:
            parts.clear()
    job = {
        "recipe": recipe.model_dump(),
        "layout": table.codec.layout.model_dump(),
        "rows": rows,
        "watched": {
            "rows": ray.put([tuple(part) for part in table.watched.rows]),
            "count": sum(len(part.cells) for part in table.watched.rows),
            "part": table.watched.part,
            "left_out": table.watched.left_out,
        },
        "run": run,
        "notes": notes,
    }
    filesystem, path = storage.resolve(run)
    parent, name = posixpath.split(path)
    beacon.clear(run)
    patience = math.ceil(recipe.training.patience_s)
    os.environ[COLLECTIVE_TIMEOUT_S_ENV_VAR] = str(patience)  # of Ray Train's own barriers, by themselves endless
    trainer = LeanTrainer(
        train_worker,
        embedded=embedded,
        inside=inside,
        train_loop_config=job,
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=patience),
        scaling_config=ScalingConfig(
            num_workers=recipe.training.workers, use_gpu=gpus > 0, elastic_resize_monitor_interval_s=RESIZE_S,
            resources_per_worker={"CPU": cpus} | ({"GPU": gpus} if gpus else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=parent,
            # Given, since by itself Ray resolves only the protocols that Arrow speaks.
            storage_filesystem=filesystem if storage.is_remote(run) else None,
            failure_config=FailureConfig(max_failures=recipe.training.failures, controller_failure_limit=WAITS),
            checkpoint_config=CheckpointConfig(num_to_keep=recipe.training.keep),
        ),
    )  # fmt: skip
    ending = in_background(trainer.fit)  # not in the main thread: Ctrl-C then reaches us, and the workers save first
    try:
        asked = _follow(ending, run, progress)
    except KeyboardInterrupt:
        ray.shutdown()  # the second one: not even the workers are waited for
        raise
    except RayError as e:
        raise JobError(f"the connection to Ray was lost: {e}") from e
    except BaseException:
        beacon.ask_to_stop(run)
        wait([ending], timeout=PATIENCE_S)
        raise
    seen = beacon.look(run) or {}
    if "failure" in seen:
        raise UserError(seen["failure"])
    try:
        result = ending.result()
    except TrainingFailedError as e:
        raise JobError(_cause(e, run)) from e
    published = checkpoint.best(result.checkpoint) if "given_up" in seen else result.checkpoint
    with published.as_directory() as folder:
        try:
            facts, weights = checkpoint.averaged(Path(folder))
        except checkpoint.DamagedError as e:
            raise JobError(f"{storage.without_credentials(run)}: of the last checkpoint, {e}") from e
    if "given_up" in seen:
        if not facts["step"]:
            raise NeverLearntError("\n".join(seen["given_up"]))
        where = "the newest checkpoint" if published is result.checkpoint else "the best checkpoint"
        facts["notes"] = [*seen["given_up"], f"what is published is {where}, of step {facts['step']}"]
        facts["checks"] = seen["checks"]
    facts["notes"] = list(dict.fromkeys([*facts["notes"], *notes]))  # a run that had ended saves nothing more
    return facts | {"weights": weights, "asked": asked}


def _cause(error: Exception, run: str) -> str:
    """Why the workers failed for good, in a line or two; Ray's own message is the whole traceback, kept in a file."""
    failures = [*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", error)]
    if any(isinstance(failure, OSError) and failure.errno in storage.FULL for failure in failures):
        place = storage.without_credentials(run)
        return f"{place}: no space left to save a checkpoint; free some, raise the quota or choose another --out"
    return f"the workers failed: {type(failures[0]).__name__}: {failures[0]}\n{whole_story(error)}"


def in_background(call: Callable[..., T], *arguments: Any) -> Future[T]:
    """``call`` in a thread that nobody has to wait for: unlike an executor's, it does not hold up the exit."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call(*arguments))
        except BaseException as e:  # noqa: BLE001 (it is raised where the result is asked for)
            future.set_exception(e)

    threading.Thread(target=work, daemon=True, name=call.__name__).start()
    return future


def _follow(ending: Future[Any], run: str, progress: Progress) -> bool:
    """Show where the workers are until they end. The first Ctrl-C asks them to save and stop, the second is raised.

    Returns whether a stop was asked for.
    """
    from synth.training import beacon

    began, asked, shown = time.monotonic(), False, list[str]()
    while not ending.done():
        try:
            wait([ending], timeout=LOOK_S)
            seen = beacon.look(run)
            if asked:
                progress("saving before the stop", 0.0, {})
            elif seen is None:
                progress("starting the workers", 0.0, {"waited_s": time.monotonic() - began})
            elif "step" in seen:
                lines = [seen["sharding"], *seen["notes"]]
                progress("training", seen["fraction"], seen | {"told": [line for line in lines if line not in shown]})
                shown = lines
        except KeyboardInterrupt:
            if asked:
                raise
            asked = True
            beacon.ask_to_stop(run)
    return asked
