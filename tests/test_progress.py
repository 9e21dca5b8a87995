"""What a person sees while work goes on, where standard error is no terminal."""

from __future__ import annotations

import pytest

from synth.progress import Display


def test_lines_that_are_told_stay_and_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display("reading the table", 1.0, {"told": ["numerical: weight [kg]", "target: :a:"]})
        display("training", 0.5, {"loss": 1.25, "coverage": 0.934, "rows": 3000, "elapsed_s": 60.0})
        display("training", 0.6, {"loss": 1.0})  # too soon for another line
    assert capsys.readouterr().err.splitlines() == [
        "numerical: weight [kg]", "target: :a:", "reading the table 100%",
        "training 50% loss 1.2500  coverage 0.93  50 rows/s  1:00 left",
    ]  # fmt: skip
