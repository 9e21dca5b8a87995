"""What is written is what is read back, in every format."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import fsspec
import fsspec.implementations.memory
import pyarrow as pa
import pyarrow.parquet
import pytest

from synth.data import sink
from synth.data.source import open_source
from synth.errors import UserError

TABLE = pa.table(
    {
        "n": pa.array([1, None, 2**60], pa.int64()),
        "x": pa.array([0.1, 2.5, None]),
        "s": pa.array(["a,b", 'q"\n', "é"]),
        "b": pa.array([True, None, False]),
        "d": pa.array([dt.date(1500, 1, 2), dt.date(2300, 5, 6), None]),
        "m": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3.00")], pa.decimal128(9, 2)),
    }
)


@pytest.mark.parametrize("format", sink.FORMATS)
def test_round_trip(tmp_path: Path, format: str) -> None:
    out = tmp_path / f"t.{format}"
    assert sink.write(TABLE.to_batches(max_chunksize=2), TABLE.schema, str(out), format) == 3
    back = open_source(out).table().to_pydict()
    if format in ("csv", "ndjson"):  # decimals and dates are text or numbers there
        back["m"] = [
            None if v is None else decimal.Decimal(str(v)).quantize(decimal.Decimal("0.01")) for v in back["m"]
        ]
        back["d"] = [dt.date.fromisoformat(v) if isinstance(v, str) else v for v in back["d"]]
    assert back == TABLE.to_pydict()
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(("rows", "size"), [(100, 1 << 30), (1 << 30, 100 * 8)])
def test_parquet_waits_for_a_row_group_and_no_longer(monkeypatch: pytest.MonkeyPatch, rows: int, size: int) -> None:
    monkeypatch.setattr(sink, "GROUP_ROWS", rows)
    monkeypatch.setattr(sink, "GROUP_BYTES", size)
    table, out, first = pa.table({"n": range(450)}), io.BytesIO(), 0
    writer = sink.Groups(out, table.schema)
    for count in (0, 1, 49, 50, 99, 1, 200, 20, 30):
        size_before, waiting = len(out.getvalue()), writer.waiting
        writer.write_batch(pa.record_batch({"n": table["n"].slice(first, count).combine_chunks()}))
        first += count
        assert writer.waiting < 100
        assert (len(out.getvalue()) > size_before) == (writer.waiting < waiting + count), (
            "what waits no more is written"
        )
    writer.close()
    found = pyarrow.parquet.ParquetFile(io.BytesIO(out.getvalue()))
    groups = [found.metadata.row_group(k).num_rows for k in range(found.metadata.num_row_groups)]
    assert groups == ([100] * 4 + [50] if rows == 100 else [100, 100, 200, 50])
    assert found.read().equals(table)


def test_nothing_half_written_keeps_the_name(tmp_path: Path) -> None:
    def broken():
        yield TABLE.to_batches()[0]
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        sink.write(broken(), TABLE.schema, str(tmp_path / "t.csv"), "csv")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        sink.write([], TABLE.schema, str(tmp_path / "nowhere" / "t.csv"), "csv")


@pytest.mark.parametrize("given", [None, "csv"])
@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst", ".GZ", ".zip"])
def test_a_compressed_ending_is_refused(ending: str, given: str | None) -> None:
    with pytest.raises(UserError, match=rf"x\.csv\{ending}.*uncompressed"):
        sink.format_of(f"x.csv{ending}", given)


def test_storage_is_written_and_its_errors_hold_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert sink.write(TABLE.to_batches(), TABLE.schema, "memory://bucket/t.csv", "csv") == 3
    assert open_source("memory://bucket/t.csv").rows() == 3
    assert sink.write(TABLE.to_batches(), TABLE.schema, f"file://{tmp_path}/t.csv", "csv") == 3
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no answer from ftp://me:hunter2@host/t.csv")

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "_open", refuse)
    with pytest.raises(UserError, match=r"--out 'memory://bucket/t\.csv' cannot be written: .*ftp://host") as raised:
        sink.write(TABLE.to_batches(), TABLE.schema, "memory://me:hunter2@bucket/t.csv", "csv")
    assert "hunter2" not in str(raised.value)


def test_formats_by_name() -> None:
    assert sink.format_of("a.PARQUET", None) == "parquet" and sink.format_of("-", "csv") == "csv"
    with pytest.raises(UserError, match="--format"):
        sink.format_of("-", None)
    with pytest.raises(UserError, match="xlsx"):
        sink.format_of("a", "xlsx")


@pytest.mark.parametrize("format", sink.FORMATS)
def test_numbers_keep_every_digit(tmp_path: Path, format: str) -> None:
    x = [1.2345678901234567e-10, 0.1 + 0.2, -1.7976931348623157e308, 5e-324, None]
    small = pa.array([0.1, -3.4028235e38, 1e-40, 16777216, None], pa.float32())
    table = pa.table({"x": x, "f": small, "n": pa.array([2**63 - 1, -(2**63), 0, 1, None])})
    out = tmp_path / f"t.{format}"
    sink.write(table.to_batches(), table.schema, str(out), format)
    back = open_source(out).table()
    assert back["x"].to_pylist() == x and back["n"].equals(table["n"])
    assert back["f"].cast(pa.float32()).combine_chunks().equals(small)


def test_json_lines_are_json(tmp_path: Path) -> None:
    out = tmp_path / "t.ndjson"
    table = pa.table({"x": [float("nan"), 0.1], "é": ['"\n', "ü"], "f": pa.array([0.1, None], pa.float32())})
    sink.write(table.to_batches(), table.schema, str(out), "ndjson")
    assert out.read_text() == '{"x": null, "é": "\\"\\n", "f": 0.1}\n{"x": 0.1, "é": "ü", "f": null}\n'
    infinite = pa.table({"x": [float("inf")]})
    with pytest.raises(UserError, match=r"'x'.*infinit.*parquet"):
        sink.write(infinite.to_batches(), infinite.schema, str(out), "ndjson")


@pytest.mark.parametrize("format", ["csv", "ndjson"])
def test_moments_that_text_cannot_spell_are_refused(tmp_path: Path, format: str) -> None:
    table = pa.table({"t": pa.array([0, None, 10**14], pa.timestamp("s"))})
    with pytest.raises(UserError, match=r"'t'.*parquet"):
        sink.write(table.to_batches(), table.schema, str(tmp_path / "t"), format)
    assert list(tmp_path.iterdir()) == []


class Stopped(KeyboardInterrupt):
    pass


def stopped_at(line: int) -> Any:
    """A tracer that interrupts before this line of what the sink does, counted from the first that is run; it says how many
    there were."""
    left = [line]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != sink.__file__:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise Stopped
        return trace

    return trace


@pytest.mark.parametrize("there", ["nothing", "rows", "rows that say where they are from"])
@pytest.mark.parametrize("remote", [False, True])
def test_no_interruption_leaves_rows_beside_an_origin_of_others(tmp_path: Path, there: str, remote: bool) -> None:
    files = fsspec.filesystem("memory" if remote else "file")
    for line in range(1, 1_000):
        folder = f"{'' if remote else tmp_path}/{there}/{line}"
        out = f"{'memory:/' if remote else ''}{folder}/rows.csv"
        files.makedirs(folder)
        if there != "nothing":
            files.pipe(f"{folder}/rows.csv", b"old")
        if there not in ("nothing", "rows"):
            files.pipe(f"{folder}/rows.csv.origin.json", b"of the old")
        before = sys.gettrace()
        sys.settrace(stopped_at(line))
        try:
            sink.write(TABLE.to_batches(max_chunksize=2), TABLE.schema, out, "csv", b"of the new")
            stopped = False
        except Stopped:
            stopped = True
        finally:
            sys.settrace(before)
        rows = files.cat(f"{folder}/rows.csv") if files.exists(f"{folder}/rows.csv") else None
        said = f"{folder}/rows.csv.origin.json"
        origin = files.cat(said) if files.exists(said) else None
        if rows == b"old":
            assert origin == (b"of the old" if there not in ("nothing", "rows") else None), line
        elif rows is not None:
            assert origin == b"of the new", line
        if not stopped:
            assert rows is not None and rows.startswith(b'"n","x"') and line > 20
            assert {Path(path).name for path in files.ls(folder, detail=False)} == {"rows.csv", "rows.csv.origin.json"}
            return
    pytest.fail("it never came to an end")


def test_what_is_not_complete_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    out.write_text("precious")

    def drawn() -> Any:
        yield TABLE.to_batches()[0]
        raise Stopped

    with pytest.raises(Stopped):
        sink.write(drawn(), TABLE.schema, str(out), "csv", b"of the new")
    assert out.read_text() == "precious" and list(tmp_path.iterdir()) == [out]
