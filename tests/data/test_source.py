from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import threading
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from synth.data.demo import adult
from synth.data.source import open_source
from synth.errors import UserError

TABLE = pa.table({"n": [1, 2, 3], "x": [0.5, None, -1.25], "word": ["a", "ü\nb", "?"], "on": [True, False, None]})


def write_json(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_json(path, orient="records", lines=True)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "t.parquet": pq.write_table,
    "t.csv": pacsv.write_csv,
    "t.feather": feather.write_feather,
    "t.orc": orc.write_table,
    "t.ndjson": write_json,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    WRITERS[name](TABLE, tmp_path / name)
    source = open_source(tmp_path / name, batch_rows=2)
    assert source.table().equals(TABLE)
    assert source.table().equals(TABLE)
    assert source.rows() == 3
    assert max(b.num_rows for b in source.batches()) <= 2
    assert source.fingerprint() == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert open_source(tmp_path / name, columns=["word", "n"]).schema.names == ["n", "word"]


def test_folders_globs_lists_and_storage(tmp_path: Path) -> None:
    for part in ("b", "a"):
        pq.write_table(pa.table({"part": [part]}), tmp_path / f"{part}.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes.txt").write_text("by hand")
    folder = open_source(tmp_path)
    assert folder.table()["part"].to_pylist() == ["a", "b"]
    assert "notes.txt" in folder.notes[0]
    assert open_source(str(tmp_path / "*.parquet")).rows() == 2
    assert open_source([tmp_path / "b.parquet", tmp_path / "a.parquet"]).table()["part"].to_pylist() == ["b", "a"]
    assert open_source(f"file://{tmp_path}/a.parquet").rows() == 1
    assert folder.place(1).endswith("b.parquet, row 1")
    with fsspec.open("memory://bucket/a.csv", "w") as file:
        file.write("x,y\n1,2\n")
    assert open_source("memory://bucket/a.csv").table().to_pydict() == {"x": [1], "y": [2]}
    with pytest.raises(UserError, match=r"memory://.*'b\.csv'|no such file"):
        open_source("memory://bucket/b.csv")


def test_hive_folders_become_columns(tmp_path: Path) -> None:
    for year in (2020, 2021):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"x": [year - 2000]}), tmp_path / f"year={year}" / "part.parquet")
    assert open_source(tmp_path).table().to_pydict() == {"x": [20, 21], "year": [2020, 2021]}


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_half_floats_arrive_as_floats(tmp_path: Path, name: str) -> None:
    table = pa.table({"h": pa.array(np.array([0.5, -2, np.nan], np.float16)), "n": [1, 2, 3]})
    {"t.parquet": pq.write_table, "t.arrow": feather.write_feather}[name](table, tmp_path / name)
    for source in (open_source(tmp_path / name), open_source(table)):
        assert source.schema.field("h").type == pa.float32()
        assert source.table()["h"].to_pylist()[:2] == [0.5, -2]


@pytest.mark.parametrize("name", ["a.parquet", "a.feather"])
def test_the_index_of_pandas_is_no_column_unless_it_has_a_name(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"x": range(40)}).sample(frac=1, random_state=0)
    write = pq.write_table if name.endswith("parquet") else feather.write_feather
    indexed = pa.Table.from_pandas(frame)
    write(indexed, tmp_path / name)
    write(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / name.replace("a", "b", 1))
    for location in (tmp_path / name, [tmp_path / name, tmp_path / name.replace("a", "b", 1)], indexed):
        source = open_source(location)
        assert source.schema.names == source.table().column_names == ["x"]
        [note] = source.notes
        assert "'__index_level_0__' was left out, which pandas wrote for the rows' index" in note
    with pytest.raises(UserError, match="no column '__index_level_0__'"):
        open_source(tmp_path / name, columns=["__index_level_0__"])
    named = pa.Table.from_pandas(frame.rename_axis("key"))
    write(named, tmp_path / name)
    assert open_source(tmp_path / name).schema.names == open_source(named).schema.names == ["x", "key"]
    ours = indexed.replace_schema_metadata(None)  # a column of that name, which nothing calls an index
    assert open_source(ours).schema.names == ["x", "__index_level_0__"]


def test_tables_in_memory() -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["u", "v", "u"]), "x": [1.0, None, 3.0]}, index=[7, 8, 9])
    source = open_source(frame)
    assert source.table().to_pydict() == {"c": ["u", "v", "u"], "x": [1.0, None, 3.0]}
    chunked = pa.concat_tables([open_source(frame[:1]).table(), open_source(frame[1:]).table()])
    assert open_source(chunked).fingerprint() == source.fingerprint() != open_source(frame[:2]).fingerprint()
    with pytest.raises(UserError, match="column 'mixed' mixes types"):
        open_source(pd.DataFrame({"mixed": [1, "a"]}))
    with pytest.raises(UserError, match="columns 1 and 2 are both named 'a'"):
        open_source(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", r"t\.csv: the file is empty"),
        ("t.parquet", b"", r"t\.parquet: the file is empty"),
        ("t.csv", b"\n\n", r"t\.csv: cannot be read"),
        ("t.csv", b"a,b\n", r"t\.csv: holds column names but no rows"),
        ("t.csv", b"a,b,a\n1,2,3\n", r"columns 1 and 3 are both named 'a'"),
        ("t.csv", b",a\n0,1\n", r"column 1 has no name"),
        ("t.csv", b"a,b\n1,2\n3\n", r"t\.csv: cannot be read.*Expected 2 columns, got 1"),
        (
            "t.csv",
            "a,b\n1,x\n2,caf\u00e9\n".encode("latin1"),
            r"line 3: is not UTF-8 \(byte 0xe9 at offset 13\).*iconv",
        ),
        ("t.csv", "caf\u00e9,b\n1,x\n".encode("latin1"), r"line 1: is not UTF-8 \(byte 0xe9 at offset 3\)"),
        ("t.csv", "a,b\n1,x\n".encode("utf-16"), r"UTF-16"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-6], r"t\.csv\.gz: cannot be read"),
        ("t.ndjson", b'{"a": 1}\n{"a": "x"}\n', r"t\.ndjson, row 2: column 'a' holds numbers.*string 'x'"),
        ("t.ndjson", b'{"a": 1}\n{"a": \n', r"t\.ndjson, row 2: is not JSON"),
        ("t.ndjson", b'[{"a": 1}]\n', r"t\.ndjson, row 1: is not a JSON object"),
        ("t.xlsx", b"PK", r"unknown format.*\.parquet"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path / name)


@pytest.mark.parametrize("keep", [10, 1_000, 300_000])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    (tmp_path / "t.parquet").write_bytes(adult().read_bytes()[:keep])
    with pytest.raises(UserError, match=r"t\.parquet: cannot be read"):
        open_source(tmp_path / "t.parquet")


def test_parquet_damaged_within(tmp_path: Path) -> None:
    content = bytearray(adult().read_bytes())
    content[1_000:200_000] = bytes(199_000)
    (tmp_path / "t.parquet").write_bytes(content)
    source = open_source(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet: cannot be read"):
        source.table()


def test_bad_parquet_columns(tmp_path: Path) -> None:
    for names, message in ((["a", "a"], "both named 'a'"), (["a", " "], "column 2 has no name")):
        pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names), tmp_path / "t.parquet")
        with pytest.raises(UserError, match=message):
            open_source(tmp_path / "t.parquet")


def test_mixed_schemas_in_a_folder(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": [0.5]}), tmp_path / "2.parquet")
    assert open_source(tmp_path).table().to_pydict() == {"a": [1, 0.5], "b": ["x", "y"]}
    pq.write_table(pa.table({"a": ["one"], "b": ["x"]}), tmp_path / "3.parquet")
    with pytest.raises(UserError, match=r"3\.parquet: column 'a' holds string, but double in .*1\.parquet"):
        open_source(tmp_path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "3.parquet")
    with pytest.raises(UserError, match=r"3\.parquet: column 'b' is missing"):
        open_source(tmp_path)
    (tmp_path / "3.parquet").rename(tmp_path / "3.orc")
    with pytest.raises(UserError, match="mixes formats"):
        open_source(tmp_path)


def test_places_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "customers.parquet").touch()
    (tmp_path / "void").mkdir()
    for where, message in (
        ("custmers.parquet", "no such file or folder. Did you mean 'customers.parquet'?"),
        ("void", "the folder is empty"),
        ("*.csv", "the pattern matches no file"),
        ("none/at/all.csv", "no such file"),
    ):
        with pytest.raises(UserError) as raised:
            open_source(tmp_path / where)
        assert message in str(raised.value)
    with pytest.raises(UserError, match="not an address that can be read"):
        open_source("nowhere://bucket/t.csv")


def test_credentials_in_an_address_stay_out_of_messages_and_notes(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "t.csv").write_text("1,y\n1,2\n3,n.a.\n" + "1,2\n" * 30)
    (tmp_path / "u.csv").write_text("1,y\n1,2\n3,4\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        source = open_source(f"http://me:hunter2@{address}/u.csv")
        assert source.table()["y"].to_pylist() == [2, 4]
        assert source.location == f"http://{address}/u.csv"
        assert source.place(0) == f"http://{address}/u.csv, row 1"
        said = [*source.notes]
        for name in ("t.csv", "gone.csv", "t.xlsx"):
            with pytest.raises(UserError, match=address) as raised:
                open_source([f"http://me:hunter2@{address}/{name}"])
            said.append(str(raised.value))
        server.shutdown()
    with pytest.raises(UserError) as raised:
        open_source("nowhere://me:hunter2@bucket/t.csv")
    said.append(str(raised.value))
    assert len(said) == 5 and not any("hunter2" in text or "me:" in text for text in said)


@pytest.mark.parametrize("table", [np.zeros((3, 2)), {"a": [1]}, None, 7, b"t.csv", [1, 2], object()])
def test_what_is_no_table_is_named_with_what_is(table: object) -> None:
    with pytest.raises(UserError, match=rf"{type(table).__name__}.*pandas"):
        open_source(table)  # type: ignore[arg-type]


def test_unknown_column_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no column 'incme'\. Did you mean 'income'"):
        open_source(adult(), columns=["incme"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(n, k) for n in (None, "t.parquet", "t.feather") for k in (pa.binary(), pa.large_binary(), pa.binary_view())],
        ("t.orc", pa.binary()),
    ],
)
def test_bytes_arrive_as_bytes_and_those_of_files_without_their_paths(
    name: str | None, kind: pa.DataType, tmp_path: Path
) -> None:
    plain = pa.array([b"a", None, b"c"] * 200, pa.binary()).cast(kind)
    files = pa.StructArray.from_arrays([plain, pa.array(["/etc/passwd"] * 600)], ["bytes", "path"])
    table = pa.table({"file": files, "plain": plain, "n": range(600)})
    if name is not None:
        WRITERS[name](table, tmp_path / name)
    source = open_source(table if name is None else tmp_path / name)
    assert source.schema == pa.schema([("file", pa.binary()), ("plain", pa.binary()), ("n", pa.int64())])
    found = source.table().to_pydict()
    assert found["file"] == found["plain"] == [b"a", None, b"c"] * 200
    assert max(batch.num_rows for batch in source.batches()) <= 256
    assert source.only(["file"]).table().column_names == ["file"]


@pytest.mark.parametrize("columns", [128, 2_000])
def test_batches_of_a_wide_table_have_fewer_rows(tmp_path: Path, columns: int) -> None:
    table = pa.table({f"x{i}": pa.nulls(5_000, pa.bool_()) for i in range(columns)})
    pq.write_table(table, tmp_path / "t.parquet")
    for source in (open_source(table), open_source(tmp_path / "t.parquet")):
        most = max(batch.num_rows for batch in source.batches())
        assert most == (5_000 if columns == 128 else 2**23 // 2_000) and source.rows() == 5_000


def test_what_is_held_of_a_parquet_file_does_not_grow_with_its_row_groups(tmp_path: Path) -> None:
    group = pa.table({f"x{i}": np.random.default_rng(i).random(20_000) for i in range(5)})
    with pq.ParquetWriter(tmp_path / "t.parquet", group.schema, use_dictionary=False, compression="none") as writer:
        for _ in range(40):
            writer.write_table(group)
    source, before, most = open_source(tmp_path / "t.parquet"), pa.total_allocated_bytes(), 0
    for batch in source.batches():
        assert batch.num_rows == 20_000
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 8 * group.nbytes < (tmp_path / "t.parquet").stat().st_size / 4
