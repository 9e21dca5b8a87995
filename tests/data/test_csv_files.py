"""CSV files of any dialect: types come from all values, and what is doubtful is said."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from synth.data.infer import infer
from synth.data.source import open_source
from synth.errors import UserError


def test_csv_dialects(tmp_path: Path) -> None:
    want = {"a": [1, 3], "b": ["x", "y, z"]}
    (tmp_path / "semicolon.csv").write_text("a;b\n1;x\n3;y, z\n")
    (tmp_path / "tab.tsv").write_text("a\tb\n1\tx\n3\ty, z\n")
    with gzip.open(tmp_path / "comma.csv.gz", "wt") as file:
        file.write('\ufeffa,b\n 1,x\n3 ,"y, z"\n')
    (tmp_path / "excel.csv").write_text('sep=;\n"a";b\n1;x\n3;y, z\n')
    for name in ("semicolon.csv", "tab.tsv", "comma.csv.gz", "excel.csv"):
        assert open_source(tmp_path / name).table().to_pydict() == want
    (tmp_path / "quoted.csv").write_text('\ufeff"a,""b|";c\n1;2\n')
    assert open_source(tmp_path / "quoted.csv").table().to_pydict() == {'a,"b|': [1], "c": [2]}
    (tmp_path / "units.csv").write_text("name;height, m\nx;2\n")
    assert open_source(tmp_path / "units.csv").table().to_pydict() == {"name": ["x"], "height, m": [2]}


def test_doubtful_csv_columns_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{i},5;{'unknown' if i % 7 == 0 else i};w{i % 3};{i % 4}" for i in range(70)]
    path.write_text("comma;mostly;word;n\n" + "\n".join(rows))
    source = open_source(path)
    assert [str(f.type) for f in source.schema] == ["string", "string", "string", "int64"]
    comma, mostly = source.notes
    assert "'comma'" in comma and "decimal comma" in comma and "categories" in comma
    assert "'mostly' holds numbers in 86% of its values and words such as 'unknown'" in mostly
    assert source.notes == infer(source).notes[:2]
    assert open_source(path, as_text=["comma", "mostly"]).notes == []  # asked for


@pytest.mark.parametrize("first", ["9007199254740993", "-9007199254740993", "12345678901234567890", "7" * 9999])
def test_csv_numbers_that_would_lose_digits_stay_text(tmp_path: Path, first: str) -> None:
    path = tmp_path / "t.csv"
    for rest in (["0.5"] * 20, ["0.5", *["1"] * 20], ["n.a.", *["0.5"] * 20]):
        path.write_text("x,y\n" + "\n".join(f"{value},1" for value in (first, *rest)))
        source = open_source(path)
        assert source.table()["x"].to_pylist() == [first, *rest]
        assert "n.a." in rest or "more digits" in source.notes[0]
    path.write_text("x,y\n9007199254740993,1\n-9223372036854775808,1\n")
    assert open_source(path).table()["x"].to_pylist() == [9007199254740993, -(2**63)]
    path.write_text("x,y\n9007199254740992,1\n0.5,1\n")
    assert open_source(path).table()["x"].to_pylist() == [2.0**53, 0.5]


def test_csv_types_come_from_all_values(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "whole,half,zip,wide,flag,day,moment,local,missing,word\n"
        "1,1,01234,1,true,0001-01-01,2024-01-01T10:00:00.5Z,2024-01-01 10:00,,NA\n"
        "NA,2.5,90210,12345678901234567890,False,9999-12-31,2024-01-01T10:00:00+02:00,1066-10-14,,?\n"
        "3,,10001,2,,null,,2024-01-01T10:00:00.000001,,\n"
    )
    source = open_source(path)
    assert [str(f.type) for f in source.schema] == [
        *("int64", "double", "string", "string", "bool", "date32[day]"),
        *("timestamp[ms, tz=UTC]", "timestamp[us]", "string", "string"),
    ]
    columns = source.table().to_pydict()
    assert columns["whole"] == [1, None, 3]
    assert columns["half"] == [1, 2.5, None]
    assert columns["zip"][0] == "01234"
    assert columns["word"] == ["NA", "?", None]
    assert columns["missing"] == [None] * 3
    assert [d and d.year for d in columns["day"]] == [1, 9999, None]
    assert columns["local"][1].year == 1066
    assert open_source(path, as_text=["whole"]).table()["whole"].to_pylist() == ["1", "NA", "3"]


def test_no_unit_holds_nanoseconds_of_all_years(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("old,new\n" + "1500-01-01 10:00:00.1234567,2024-01-01 10:00:00.1234567\n" * 3)
    source = open_source(path)
    assert [str(f.type) for f in source.schema] == ["string", "timestamp[ns]"]
    assert source.table()["old"][0].as_py() == "1500-01-01 10:00:00.1234567"


def test_number_column_with_text_in_row_40000(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{i},{i}" for i in range(50_000)]
    rows[39_999] = "39999,n.a."
    path.write_text("i,x\n" + "\n".join(rows))
    with pytest.raises(UserError, match=r"t\.csv, row 40000: column 'x' holds numbers.*'n\.a\.' \(1 of 50000.*--categ"):
        open_source(path)
    assert open_source(path, as_text=["x"]).table()["x"][39_999].as_py() == "n.a."


def test_impossible_date_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("day\n" + "2023-01-05\n" * 30 + "2023-02-30\n")
    with pytest.raises(UserError, match=r"row 31: column 'day' holds dates.*2023-02-30"):
        open_source(path)
