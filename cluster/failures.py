"""Which failures of a run are tried again."""

from __future__ import annotations

from ray.train import ControllerError, TrainingFailedError
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy

from cluster.storage import FULL


class PatientPolicy(DefaultFailurePolicy):
    """As Ray has it, and also where storage refuses Ray's own list of checkpoints, for another reason than space.

    Ray writes that list once after each checkpoint, and by itself gives the run up where it cannot. The workers start
    again from the checkpoint; the next one, and with it the list, is uploaded as soon as the storage takes it.
    """

    def _is_retryable_error(self, training_failed_error: TrainingFailedError) -> bool:  # Ray's own name for it
        refused = isinstance(training_failed_error, ControllerError) and training_failed_error.controller_failure
        if isinstance(refused, OSError) and refused.errno not in FULL:
            return True
        return bool(super()._is_retryable_error(training_failed_error))
