"""Notice that nodes are to be taken away: clouds give it for spot machines, half a minute to two minutes before."""

from __future__ import annotations

from ray.train.v2._internal.execution.context import get_train_context


def nodes_leaving() -> int:
    """Of the nodes that the run's workers are on, how many are to be taken away, as far as this worker has been told.

    Ray Train's watcher looks every 5 seconds, and tells all workers. ``ray.train.get_preemption_info`` would be a barrier
    over an actor at each call; this is what each worker puts into it, and the workers agree on it among themselves.
    """
    info = get_train_context().preemption_context.preemption_info
    return 0 if info is None else len(info.preempted_node_ids)
