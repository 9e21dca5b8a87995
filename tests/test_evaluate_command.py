"""The command evaluate: any synthetic table against a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import artesian
from synth.data.demo import adult
from synth.errors import UserError
from tests.command import run


def test_an_unknown_option_of_evaluate_is_refused() -> None:
    with pytest.raises(TypeError, match="exlude"):
        artesian.evaluate("r.csv", "s.csv", test="t.csv", exlude=["a"])  # type: ignore[call-arg]


def test_one_column_needs_no_list() -> None:
    with pytest.raises(UserError, match=r"--categorical zip: .* has no column 'zip'"):
        artesian.evaluate(str(adult()), "s.csv", test="t.csv", categorical="zip")


def test_evaluate_scores_any_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = pq.read_table(adult())
    for name, first, rows in (("real", 0, 600), ("test", 600, 300), ("theirs", 900, 500)):
        pq.write_table(real.slice(first, rows), tmp_path / f"{name}.parquet")
    paths = [str(tmp_path / f"{name}.parquet") for name in ("real", "theirs", "test")]
    found, page = tmp_path / "c.json", tmp_path / "r.html"
    options = ["--test", paths[2], "--target", "income", "--json", str(found), "--report", str(page)]
    assert run(["evaluate", *paths[:2], *options], monkeypatch) == 0
    figures = json.loads(found.read_text())["figures"]
    assert 0 < figures["shape_error"]["value"] < 10 and "<svg" in page.read_text()


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_where_evaluate_cannot_write_is_known_before_the_work(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "nowhere.csv", "s.csv", "--test", "t.csv", option, str(tmp_path / "no" / "x")]
    assert run(arguments, monkeypatch) == 2
    assert f"{tmp_path / 'no' / 'x'}: cannot be written" in capsys.readouterr().err
