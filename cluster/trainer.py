"""Ray Train without the helpers that a run has no use for, and with policies of ours."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController

from cluster.elastic import LivingNodesPolicy
from cluster.failures import PatientPolicy


class LeanTrainer(TorchTrainer):
    """A TorchTrainer that starts no actor which would have nothing to do.

    The main thread of every Ray actor wakes a hundred times a second, a constant of Ray's core worker, and each time
    takes a core from a thread that trains, for which the other cores then wait: on two cores that is felt
    (benchmarks/overhead.py measures what is left of it). Left out are the manager of data sets
    where none are given, and, where the cluster ends with the driver (``embedded``), the cleaner of placement groups
    that a dead driver leaves behind.

    ``inside`` an actor, which would only wait for it, Ray Train's controller runs in that process instead of an actor of its
    own, whose start is much of what a short run takes.
    """

    def __init__(self, *arguments: Any, embedded: bool, inside: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._inside = inside
        needless: list[type] = [] if self.datasets else [DatasetsCallback]
        self._needless = tuple(needless + [PlacementGroupCleanerCallback] * embedded)

    def _create_default_callbacks(self) -> list[Any]:  # Ray's own name for it; Ray is held to one minor version
        return [c for c in super()._create_default_callbacks() if not isinstance(c, self._needless)]

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        if self.scaling_config.elasticity_enabled:
            options["scaling_policy"] = LivingNodesPolicy(self.scaling_config)
        options["failure_policy"] = PatientPolicy(self.run_config.failure_config)
        if not self._inside:
            return super()._initialize_and_run_controller(**options)
        controller = TrainController(**options)
        asyncio.run(controller.run())
        return controller.get_result()
