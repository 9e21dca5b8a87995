"""The record of a study on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synth.errors import UserError
from tests.tuning.studies import study
from tuning.record import FILE, VERSION, Study


@pytest.mark.parametrize("stage", ["empty", "started", "searching", "confirming", "released"])
def test_a_record_comes_back_whole(stage: str, tmp_path: Path) -> None:
    found = study(stage)
    found.save(str(tmp_path))
    assert Study.load(str(tmp_path)) == found


def test_a_record_of_another_version_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    study("started").save(str(tmp_path))
    file = tmp_path / FILE
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"version": VERSION + 1}))
    with pytest.raises(
        UserError, match=rf"is of version {VERSION + 1}, and this is version {VERSION}: finish the study"
    ):
        Study.load(str(tmp_path))
    for content in ("{", "[]", json.dumps(document | {"trials": 3}), "\x00"):
        file.write_text(content)
        with pytest.raises(UserError, match=r"study\.json: is damaged; start anew with --overwrite"):
            Study.load(str(tmp_path))
