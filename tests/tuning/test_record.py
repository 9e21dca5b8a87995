"""What a study writes down."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from synth.errors import UserError
from tests.tuning import studies
from tuning.record import FILE, Study


@pytest.mark.parametrize("stage", ["empty", "searching", "released"])
def test_a_record_reads_back_as_it_was_written(stage: Any, tmp_path: Path) -> None:
    study = studies.study(stage)
    study.features["landmark"] = math.nan
    study.real["r2"] = -math.inf
    study.save(str(tmp_path))
    found = Study.load(str(tmp_path))
    assert math.isnan(found.features.pop("landmark"))
    assert found.real["r2"] == -math.inf
    del study.features["landmark"]
    assert found == study


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": 7}, "is of version 7, and this is version 2: finish the study with the release"),
        ({"trials": "none"}, "is damaged"),
        ({"surprise": 1}, "is damaged"),
    ],
)
def test_a_record_that_cannot_be_gone_on_with_says_why(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    document = json.loads(studies.study("searching").model_dump_json()) | changed
    (tmp_path / FILE).write_text(json.dumps(document))
    with pytest.raises(UserError, match=said):
        Study.load(str(tmp_path))


def test_trials_are_found_by_their_numbers(tmp_path: Path) -> None:
    study = studies.study("searching")
    del study.trials[3]
    study.save(str(tmp_path))
    with pytest.raises(UserError, match="is damaged"):
        Study.load(str(tmp_path))


def test_a_record_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Study.load(str(tmp_path))
