"""Who is at work on a folder, and what for."""

import json
from pathlib import Path

import pytest

from cluster.storage import RUN_MARKER
from synth.errors import UserError
from synth.training.claim import take


def test_whoever_goes_on_with_a_part_leaves_the_rest_of_the_claim(tmp_path: Path) -> None:
    run, whole = str(tmp_path / "run"), {"recipe": "a", "search": {"budget_s": 60.0}}
    take(run, whole, resume=False, overwrite=False)
    take(run, {"recipe": "a"}, resume=True, overwrite=False)
    with pytest.raises(UserError, match="was started with another search"):
        take(run, whole | {"search": {"budget_s": 120.0}}, resume=True, overwrite=False)
    take(run, whole, resume=True, overwrite=False)
    take(run, {"recipe": "b"}, resume=False, overwrite=True)
    assert "search" not in json.loads((tmp_path / "run" / RUN_MARKER).read_text())
