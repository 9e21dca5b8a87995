"""The trials of a study as an experiment of Ray Tune, with a searcher and a scheduler of ours."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import storage
from tuning.halving import Ended, Halving
from tuning.plan import FACTOR
from tuning.search import Search
from tuning.trial import RUNS, Shared, Trial

SCRATCH = "tune"  # beside the runs


def run(search: Search, shared: Shared, slots: int) -> None:
    """Trials until the search is over, so many at a time; the experiment's own record is let go, since ours says it all."""
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are in the record
    with scratch(shared.folder, embedded=shared.embedded) as (path, filesystem):
        tune.Tuner(
            # The work is done by the workers that a trial starts, so that it takes next to nothing itself: Ray wants
            # something to be asked for, and the least share of a CPU would leave no whole one for the last worker.
            tune.with_resources(tune.with_parameters(Trial, shared=shared), {"memory": 1 << 20}),
            tune_config=tune.TuneConfig(
                search_alg=search, scheduler=Halving(search, FACTOR), num_samples=-1, max_concurrent_trials=slots,
                reuse_actors=True, trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="study", storage_path=path, storage_filesystem=filesystem, verbose=0, stop=Ended(search),
            ),
        ).fit()  # fmt: skip


@contextmanager
def scratch(folder: str, *, embedded: bool) -> Iterator[tuple[str, Any]]:
    """Where Tune keeps what it wants to keep, as a path and its file system, None for the local one: on this machine's
    disk or, of a cluster whose nodes all have to see it, beside the study's runs."""
    if embedded:
        with tempfile.TemporaryDirectory(prefix="artesian-tune-") as place:
            yield place, None
        return
    place = storage.join(folder, f"{RUNS}/{SCRATCH}")
    storage.write_bytes(storage.join(place, storage.RUN_MARKER), b"{}")  # so that it may be taken away
    filesystem, path = storage.resolve(place)
    try:
        yield path, filesystem if storage.is_remote(place) else None
    finally:
        storage.remove_tree(place)
