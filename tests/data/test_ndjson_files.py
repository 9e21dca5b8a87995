"""Lines of JSON, whose numbers have no limit to their digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from synth.data.source import open_source
from synth.errors import UserError


def test_json_numbers_that_would_lose_digits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    small, half, wide = '{"x": 1, "i": 9007199254740993}\n', '{"x": 0.5, "i": 2}\n', '{"x": 9007199254740993}\n'
    padding = '{"x": 1}\n' * 600_000  # so that they stand in different blocks, each of which is fine by itself
    for text, row in ((small + half + wide, 3), (small + '{"x":' + "9" * 30 + "}\n", 2), (wide + padding + half, 1),
                      (half + '{"x":' + "9" * 9999 + "}\n", 2)):  # fmt: skip
        path.write_text(text)
        with pytest.raises(UserError, match=rf"t\.ndjson, row {row}: column 'x' .*9.*write it as a string"):
            open_source(path)
    path.write_text(small + '{"x": 1e30, "s": "\\"x\\": 99999999999999999999}"}\n' + half)
    assert open_source(path).table()["i"].to_pylist() == [9007199254740993, None, 2]
