"""Every mistake in what a person gives to the command gets one message, exit status 2 and no traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synth.data.demo import adult
from tests.command import run


def frame(rows: int = 200) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {"x": draw.normal(size=rows).round(3), "k": draw.choice(["a", "b"], rows), "y": draw.integers(0, 2, rows)}
    )


def text(content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "t.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def table(change: Callable[[pd.DataFrame], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data = frame(41_000)
        change(data)
        data.to_csv(folder / "t.csv", index=False)
        return folder / "t.csv"

    return make


def truncated(folder: Path) -> Path:
    whole = adult().read_bytes()
    (folder / "t.parquet").write_bytes(whole[: len(whole) // 2])
    return folder / "t.parquet"


def set_cell(column: str, row: int, value: object) -> Callable[[pd.DataFrame], None]:
    def change(data: pd.DataFrame) -> None:
        data[column] = data[column].astype(object)
        data.loc[row, column] = value

    return change


GOOD = "x,y\n" + "".join(f"{i / 7:.2f},{i % 2}\n" for i in range(60))


BAD = {
    "empty file": (text(""), "empty"),
    "header only": (text("x,y\n"), "no rows"),
    "one row": (text("x,y\n1,2\n"), "1 row"),
    "duplicate names": (text(GOOD.replace("x,y", "y,y")), "'y'"),
    "empty name": (text(GOOD.replace("x,y", ",y")), "name"),
    "text in row 40,000": (table(set_cell("x", 39_999, "oops")), "(?s)row 40,?000.*'?x'?.*oops|'?x'?.*row 40,?000"),
    "infinity": (table(set_cell("x", 7, "-inf")), "x"),
    "integers too far apart": (text("x,y\n" + "".join(f"{(-1) ** i * (2**62 + i)},{i % 2}\n" for i in range(60))), "x"),
    "no such target": (table(lambda data: data.rename(columns={"y": "yy"}, inplace=True)), "'y'.*'yy'"),
    "constant target": (table(lambda data: data.__setitem__("y", 1)), "every row has the value '1'"),
    "not UTF-8": (text(GOOD.encode() + b"\xff\xfe,1\n"), "UTF-8"),
    "truncated Parquet": (truncated, "t.parquet"),
    "missing path": (lambda folder: folder / "nowhere.csv", "nowhere.csv"),
    "free text": (table(lambda data: data.__setitem__("note", [f"client {i} said at length" for i in data.index])), "note"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD[name]
    status = run(
        ["train", str(make(tmp_path)), "--target", "y", "--steps", "1", "--out", str(tmp_path / "out")], monkeypatch
    )
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said
    assert re.search(message, said), said
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "trainin.steps=5"], "did you mean 'training'"),
        (["--set", "diffusion.wdth=5"], "did you mean 'width'"),
        (["--set", "target=[a"], "not YAML"),
        (["--set", "seed="], "'seed='"),
        (["--budget", "soon"], "length of time"),
        (["--budget", ""], "length of time"),
        (["--split", ""], "split.0=''"),
        (["--split", "0.5,0.1,0.1,0.1"], "sum"),
        (["--split", "most,0.1"], "split.0='most'"),
        (["--split", "1,0,0"], "--test"),
        (["--categorical", "sx"], "'sx'"),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = run(
        ["train", str(adult()), "--target", "income", "--steps", "1", "--out", str(tmp_path / "out"), *arguments],
        monkeypatch,
    )
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said and message in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "four"], "--workers 'four': write a number, such as 4, or the least and the most, such as 1,4"),
        (["--workers", "4,1"], "workers=4,1: the least come first, as in 1,4"),
        (["--workers", "0"], "training.workers"),
        (["--zero", "4"], "training.zero"),
    ],
)
def test_workers_and_stages_that_cannot_be_are_explained(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "t.csv", "--out", "o", *options], monkeypatch) == 2
    assert message in capsys.readouterr().err
