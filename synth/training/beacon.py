"""A few bytes between the driver and rank 0 while training runs: progress one way, "please stop" the other.

They go through the key-value store that every Ray cluster has, since a report to Ray Train is a barrier over all workers
and its metrics reach the driver only at the end.
"""

from __future__ import annotations

import json
from typing import Any

from ray.experimental import internal_kv

NAMESPACE = "artesian"


def show(run: str, **progress: Any) -> None:
    """Called by rank 0: publish where the run stands."""
    internal_kv._internal_kv_put(f"{run}/progress", json.dumps(progress), overwrite=True, namespace=NAMESPACE)


def look(run: str) -> dict[str, Any] | None:
    """Called by the driver: the latest progress, None before the first."""
    found = internal_kv._internal_kv_get(f"{run}/progress", namespace=NAMESPACE)
    return json.loads(found) if found else None


def ask_to_stop(run: str) -> None:
    """Called by the driver: the workers save a checkpoint at their next pulse and return."""
    internal_kv._internal_kv_put(f"{run}/stop", b"1", overwrite=True, namespace=NAMESPACE)


def stop_asked(run: str) -> bool:
    return bool(internal_kv._internal_kv_exists(f"{run}/stop", namespace=NAMESPACE))


def clear(run: str) -> None:
    for key in ("progress", "stop"):
        internal_kv._internal_kv_del(f"{run}/{key}", namespace=NAMESPACE)
