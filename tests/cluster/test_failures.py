from __future__ import annotations

import errno
import os

import pytest
from ray.train import ControllerError, FailureConfig
from ray.train.v2._internal.execution.failure_handling import FailureDecision

from cluster.failures import PatientPolicy


@pytest.mark.parametrize(
    ("failure", "tried"),
    [
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), 2),
        (OSError("AWS Error NETWORK_CONNECTION during PutObject operation"), 2),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 0),
        (RuntimeError("another"), 0),
    ],
)
def test_a_refusal_of_the_storage_is_tried_again_a_full_disk_is_not(failure: Exception, tried: int) -> None:
    policy = PatientPolicy(FailureConfig(controller_failure_limit=2))
    for _ in range(tried):
        assert policy.make_decision(ControllerError(failure)) is FailureDecision.RETRY
    assert policy.make_decision(ControllerError(failure)) is FailureDecision.RAISE
