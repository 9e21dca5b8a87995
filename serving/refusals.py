"""What the desk says no to, as problems: the same over HTTP and gRPC."""

from __future__ import annotations

import math

from serving.admission import OverloadError
from serving.catalogue import UnknownError
from serving.desk import UnhealthyError
from serving.problems import Problem
from serving.quota import Exceeded

STOPPED_S = 300.0  # somebody has to look at it first
ALL = (UnknownError, Exceeded, OverloadError, UnhealthyError)


def problem_of(error: Exception) -> Problem:
    """What the desk says no to, as a problem."""
    match error:
        case UnknownError():
            return Problem(
                404, "There is no such generator", str(error.args[0]), "/problems/unknown-generator",
                remedy="GET /v1/generators lists those that there are",
            )  # fmt: skip
        case Exceeded():
            return Problem(
                429, "The key's quota is used up", str(error), "/problems/quota", remedy="come again then, or have it raised",
                headers=_again(error.retry_after_s),
            )  # fmt: skip
        case OverloadError():
            return Problem(
                503, "No room just now", str(error), "/problems/busy", remedy="come again then",
                headers=_again(error.retry_after_s),
            )  # fmt: skip
        case UnhealthyError():
            return Problem(
                503, "Stopped by its monitor", str(error), "/problems/unhealthy", remedy="ask for another version",
                headers=_again(STOPPED_S),
            )  # fmt: skip
    raise AssertionError(f"{type(error).__name__} is no refusal of the desk")


def _again(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
