"""Calls that nobody has to wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from synth.training.workers import in_background


def test_a_call_in_the_background() -> None:
    assert in_background(divmod, 7, 2).result() == (3, 1)
    with pytest.raises(ZeroDivisionError):
        in_background(divmod, 7, 0).result()


def test_the_exit_waits_for_no_call_in_the_background() -> None:
    program = "import time; from synth.training.workers import in_background; in_background(time.sleep, 600)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
