"""What a service is built of, on whichever node that happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.serve import Application

from serving.app import build
from synth.errors import UserError
from synth.provenance import keys, marks


def test_marks_are_of_a_key_that_is_there_and_of_none_that_is_made_for_them(people: Path, tmp_path: Path) -> None:
    settings = {"generators": {"people": {"versions": {1: str(people)}}}, "state": str(tmp_path), "watermark": True}
    with pytest.raises(
        UserError, match=r"watermark: .*signing\.key: there is no signing key on the node .*mount your key"
    ):
        build(settings)
    assert not keys.config_dir().exists()
    keys.signing_key()
    assert isinstance(build(settings), Application)
    [mark] = marks.known()
    assert mark.name == "people"
