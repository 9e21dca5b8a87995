"""What is written is Croissant, as its own library reads it: metadata without an error, and the rows behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import mlcroissant
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.data.source import open_source
from synth.provenance import lineage
from synth.provenance.formats.croissant import data_type
from tests.serving.releases import people


def read(text: str, place: Path) -> mlcroissant.Dataset:
    """The data set whose description lies at ``place``; an error where the library finds one."""
    place.write_text(text)
    return mlcroissant.Dataset(place)


@pytest.mark.parametrize("name", ["rows2.parquet", "rows1.csv", "real.parquet", "real.csv.gz"])
def test_a_table_is_read_by_its_description(made: Path, name: str, written: Callable[..., str]) -> None:
    people().to_pandas().to_csv("real.csv.gz", index=False)
    text = written(made / name, "croissant")
    [file] = json.loads(text)["distribution"]
    assert file["sha256"] == hashlib.sha256((made / name).read_bytes()).hexdigest() and file["contentUrl"] == name
    rows, table = list(read(text, made / "croissant.json").records("rows")), open_source(str(made / name)).table()
    assert [row["rows/age"] for row in rows] == table["age"].to_pylist()
    assert [row["rows/city"].decode() for row in rows] == table["city"].to_pylist()
    assert [bool(row["rows/member"]) for row in rows] == table["member"].to_pylist()
    paid = [row["rows/pay"] for row in rows if not pd.isna(row["rows/pay"])]
    assert paid == table["pay"].drop_null().to_pylist()


def test_the_rows_of_a_release_are_those_that_it_was_certified_with(made: Path, written: Callable[..., str]) -> None:
    text = written(made / "g1", "croissant")
    plain = json.loads(text)
    files = {file["name"]: file["sha256"] for file in plain["distribution"]}
    assert files.keys() == {path.name for path in (made / "g1").iterdir()} - {"manifest.json", "manifest.sig"}
    for name, sha256 in files.items():
        assert hashlib.sha256((made / "g1" / name).read_bytes()).hexdigest() == sha256
    rows = list(read(text, made / "g1" / "croissant.json").records("rows"))
    assert [row["rows/age"] for row in rows] == pq.read_table(made / "g1" / "reference.parquet")["age"].to_pylist()


def test_images_are_read(made: Path, written: Callable[..., str]) -> None:
    for name in ("pngs", "pets.parquet"):
        rows = list(read(written(made / name, "croissant"), made / "croissant.json").records("rows"))
        assert [row["rows/image"].size for row in rows] == [(8, 8)] * 6
    text = written(made / "pets", "croissant")
    (made / "pets" / "samples").mkdir()
    (made / "pets.parquet").rename(made / "pets" / "samples" / "part.parquet")
    rows = list(read(text, made / "pets" / "croissant.json").records("rows"))
    assert [row["rows/image"].size for row in rows] == [(8, 8)] * 6 and {row["rows/label"] for row in rows} <= {
        b"cat",
        b"dog",
    }


def test_where_it_comes_from_is_said_in_the_terms_of_prov(made: Path, written: Callable[..., str]) -> None:
    node = lineage.walk(str(made / "rows2.parquet"))
    [g1] = node.parents
    table, release, real = (
        json.loads(written(made / name, "croissant")) for name in ("rows2.parquet", "g1", "real.parquet")
    )
    assert [one["@id"] for one in table["prov:wasDerivedFrom"]] == [f"urn:artesian:release:{g1.sha256}"]
    assert table["prov:wasGeneratedBy"]["prov:label"] == "drawing" and table["artesian:depth"] == 2
    assert table["prov:wasAttributedTo"]["prov:label"] in str(node.signer)
    # Not from the test rows.
    assert [one["prov:label"] for one in release["prov:wasDerivedFrom"]] == ["rows1.csv"]
    assert datetime.fromisoformat(release["prov:wasGeneratedBy"]["prov:endedAtTime"]).tzinfo is not None
    assert not [name for name in real if name.startswith("prov:")] and "keywords" not in real


@pytest.mark.parametrize("names", [["a b", "a/b", "a%2Fb"], ['"', "@id", "ü", "#"], ["rows", "x\ny"]])
def test_columns_may_have_any_name(tmp_path: Path, names: list[str], written: Callable[..., str]) -> None:
    pq.write_table(pa.table({name: [k, k + 1] for k, name in enumerate(names)}), tmp_path / "odd name #1.parquet")
    found = read(written(tmp_path / "odd name #1.parquet", "croissant"), tmp_path / "croissant.json")
    assert [field.name for field in found.metadata.record_sets[0].fields] == names
    rows: list[dict[str, Any]] = list(found.records("rows"))
    assert [list(row.values()) for row in rows] == [[k + i for k in range(len(names))] for i in (0, 1)]


def test_a_folder_of_tables_is_a_set_of_files(made: Path, written: Callable[..., str]) -> None:
    (made / "parts").mkdir()
    for k in range(2):
        pq.write_table(pa.table({"x": [k]}), made / "parts" / f"{k}.parquet")
    for place in ("parts", "parts/*.parquet"):
        folder = made / "parts" if "*" in place else made
        found = read(written(made / place, "croissant"), folder / "croissant.json")
        assert sorted(row["rows/x"] for row in found.records("rows")) == [0, 1]
        (folder / "croissant.json").unlink()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.uint8(), "cr:UInt8"), (pa.int64(), "cr:Int64"), (pa.float32(), "cr:Float32"), (pa.bool_(), "sc:Boolean"),
        (pa.date32(), "sc:Date"), (pa.timestamp("us", "UTC"), "sc:DateTime"), (pa.decimal128(10, 2), "sc:Float"),
        (pa.string(), "sc:Text"), (pa.null(), "sc:Text"), (pa.binary(12), "sc:ImageObject"),
    ],
)  # fmt: skip
def test_types(kind: pa.DataType, expected: str) -> None:
    assert data_type(kind) == expected
