"""Every format gives back the rows that were written, bit by bit as they came."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.formats import FORMATS, Encoder, choose, negotiate
from serving.problems import Problem
from synth.data import image_sink, images, sink
from synth.data.conform import without_nan
from synth.data.image_columns import column_of
from synth.data.schema import Column, Schema
from synth.errors import UserError

TEXT = [name for name, format in FORMATS.items() if format.text]
BINARY = [name for name in FORMATS if name not in TEXT]
DAY = dt.datetime(2024, 2, 29, 23, 59, 59, 999_999)
NAN = float("nan")
PLAIN: dict[str, pa.Array] = {
    "int64": pa.array([2**63 - 1, None, -(2**63), 0], pa.int64()),
    "uint64": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
    "int8": pa.array([-128, 127, None, 0], pa.int8()),
    "double": pa.array([0.1 + 0.2, 5e-324, None, -1.7976931348623157e308]),
    "nan": pa.array([NAN, 1.5, None, NAN]),
    "float": pa.array([0.1, NAN, None, 16777216], pa.float32()),
    "half": pa.array([np.float16(0.5), np.float16("nan"), None, np.float16(-2)], pa.float16()),
    "bool": pa.array([True, False, None, True]),
    "string": pa.array(['q"uo,te', "two\r\nlines", None, ""]),
    "é, \n": pa.array(["ünï", "日本語 👩‍🚀", "\u2028\x00\t", "null"]),
    "date32": pa.array([dt.date(1500, 1, 2), None, dt.date(2300, 5, 6), dt.date(1970, 1, 1)]),
    "date64": pa.array([dt.date(1500, 1, 2), None, dt.date(2300, 5, 6), dt.date(1970, 1, 1)], pa.date64()),
    "s": pa.array([DAY.replace(microsecond=0), None, dt.datetime(1, 1, 1), dt.datetime(9999, 1, 1)], pa.timestamp("s")),
    "ms": pa.array([1, None, -1, 0], pa.timestamp("ms")),
    "us": pa.array([DAY, None, DAY, DAY]),
    "ns": pa.array([1, None, -1, 2**60], pa.timestamp("ns")),
    "utc": pa.array([DAY, None, DAY, DAY], pa.timestamp("us", "UTC")),
    "berlin": pa.array([DAY, None, DAY, DAY], pa.timestamp("us", "Europe/Berlin")),
    "decimal": pa.array([Decimal("1.25"), None, Decimal("-3.00"), Decimal("1234567.89")], pa.decimal128(9, 2)),
    "wide": pa.array([Decimal("1" * 60), None, Decimal("-3"), Decimal(0)], pa.decimal256(76, 2)),
    "nothing": pa.nulls(4),
}  # fmt: skip
TABLE = pa.table(PLAIN)


def encoded(name: str, table: pa.Table, cuts: Sequence[int], metadata: dict[str, str] | None = None) -> list[bytes]:
    """What ``begin``, each ``write`` and ``end`` return, for batches of the table cut before these rows."""
    encoder = Encoder(FORMATS[name], table.schema, metadata or {})
    parts = [encoder.begin()]
    for low, high in zip([0, *cuts], [*cuts, table.num_rows], strict=True):
        parts.append(encoder.write(batch(table, low, high)))
    return [*parts, encoder.end()]


def batch(table: pa.Table, low: int, high: int) -> pa.RecordBatch:
    columns = [c.slice(low, high - low).combine_chunks() for c in table.columns]
    return pa.record_batch(columns, schema=table.schema)


def decoded(name: str, content: bytes, schema: pa.Schema) -> pa.Table:
    if name == "arrow":
        return pa.ipc.open_stream(content).read_all()
    if name == "parquet":
        return pq.read_table(io.BytesIO(content)).cast(schema)  # it has neither date64 nor whole seconds
    if name == "csv":
        # By way of text, for the types that Arrow's reader does not know.
        texts = {field.name: pa.string() for field in schema}
        options = pyarrow.csv.ConvertOptions(
            column_types=texts, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        columns = pyarrow.csv.read_csv(io.BytesIO(content), parse_options=parse, convert_options=options).to_pydict()
    else:
        rows = json.loads(content) if name == "json" else [json.loads(line) for line in content.split(b"\n")[:-1]]
        columns = {field.name: [row[field.name] for row in rows] for field in schema}
    return pa.table([_read(columns[field.name], field.type) for field in schema], schema=schema)


def _read(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_float16(kind):
        return pa.array([None if v is None else np.float16(v) for v in values], kind)
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pa.array(texts, pa.string()).cast(kind) if not pa.types.is_null(kind) else pa.array(texts, kind)


def expected(name: str, table: pa.Table) -> pa.Table:
    if name in BINARY:
        return table
    columns = [without_nan(c) if not pa.types.is_float16(c.type) else _half(c) for c in table.columns]
    return pa.table(columns, schema=table.schema)


def _half(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if v is None or v != v else v for v in column.to_pylist()], pa.float16())


def same(found: pa.Table, table: pa.Table) -> bool:
    """Equal, with NaN equal to NaN."""
    assert found.schema.equals(table.schema)
    return repr(found.to_pydict()) == repr(table.to_pydict())


@pytest.mark.parametrize("cuts", [[], [0, 1, 1, 3], [1, 2, 3, 4]])
@pytest.mark.parametrize("name", FORMATS)
def test_round_trip(name: str, cuts: list[int]) -> None:
    content = b"".join(encoded(name, TABLE, cuts))
    assert same(decoded(name, content, TABLE.schema), expected(name, TABLE))


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("name", FORMATS)
def test_of_no_rows_and_of_one(name: str, rows: int) -> None:
    table = TABLE.slice(0, rows)
    assert same(decoded(name, b"".join(encoded(name, table, [])), table.schema), expected(name, table))
    encoder = Encoder(FORMATS[name], table.schema, {})
    nothing = encoder.begin() + encoder.end()  # not even an empty batch
    assert same(decoded(name, nothing, table.schema), TABLE.slice(0, 0))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.data(), st.sampled_from(list(FORMATS)))
def test_any_text_comes_back_however_it_is_cut(data: st.DataObject, name: str) -> None:
    rows = data.draw(st.lists(st.tuples(st.integers(0, 9), st.none() | TEXTS), max_size=8))
    table = pa.table(
        {"n": pa.array([n for n, _ in rows], pa.int64()), "s": pa.array([s for _, s in rows], pa.string())}
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    assert same(decoded(name, b"".join(encoded(name, table, cuts)), table.schema), table)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "parquet"])
def test_rows_leave_as_they_come(name: str) -> None:
    begin, *writes, end = encoded(name, pa.table({"n": [1, 2, 3]}), [1, 2])
    assert all(writes), "each batch at once"
    assert len(begin) < 20 and len(end) < 20


def test_parquet_holds_less_than_a_row_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "GROUP_ROWS", 100)
    rng = np.random.default_rng(0)
    table = pa.table({"n": rng.integers(0, 2**60, 5_000)})
    encoder = Encoder(FORMATS["parquet"], table.schema, {})
    parts, given_away = [encoder.begin()], 0
    ends = np.cumsum([0, 1, 99, 100, 250, *[37] * 123]).clip(max=5_000)
    for low, high in zip([0, *ends], ends, strict=False):
        parts.append(encoder.write(batch(table, low, high)))
        assert encoder.waiting < 100
        groups = (high - encoder.waiting - given_away) // 100
        assert len(parts[-1]) >= 800 * groups and bool(parts[-1]) == bool(groups), "whole groups leave at once"
        given_away = high - encoder.waiting
    parts.append(encoder.end())
    assert encoder.waiting == 0
    found = pq.ParquetFile(io.BytesIO(b"".join(parts)))
    sizes = [found.metadata.row_group(k).num_rows for k in range(found.metadata.num_row_groups)]
    assert sizes == [100] * 50
    assert found.read().equals(table)


@pytest.mark.parametrize("name", FORMATS)
def test_metadata_travels_where_there_is_a_place_for_it(name: str) -> None:
    table = pa.table({"n": [1]}).replace_schema_metadata({"mine": "kept"})
    content = b"".join(encoded(name, table, [], {"artesian.origin": '{"name":"añadir"}', "artesian.signature": "x"}))
    if name in TEXT:
        assert content == b"".join(encoded(name, table, []))
        return
    found = pq.read_schema(io.BytesIO(content)) if name == "parquet" else pa.ipc.open_stream(content).schema
    assert found.metadata == {
        b"mine": b"kept", b"artesian.origin": '{"name":"añadir"}'.encode(), b"artesian.signature": b"x",
    }  # fmt: skip


def test_infinities_are_refused_where_there_is_no_word_for_them() -> None:
    with pytest.raises(UserError, match=r"'x'.*infinit"):
        encoded("json", pa.table({"x": [float("inf")]}), [])


SHAPE = (4, 3, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
DRAWN = pa.record_batch({"picture": column_of(PIXELS), "class": pa.array(["a", "b", None, "a", "b"])})
SCHEMA = Schema(
    columns=[
        Column(name="picture", kind="image", dtype="fixed_size_binary[36]", shape=SHAPE),
        Column(name="class", kind="categorical", dtype="string", nullable=True),
    ]
)


@pytest.mark.parametrize("name", FORMATS)
def test_images_are_png_files(name: str) -> None:
    files = pa.Table.from_batches(image_sink.encoded([DRAWN], SCHEMA, 7), image_sink.file_schema(DRAWN.schema, SCHEMA))
    content = b"".join(encoded(name, files, [0, 2]))
    if name in TEXT:
        texts = pa.schema([("picture", pa.string()), ("class", pa.string())])
        found = [base64.b64decode(text) for text in decoded(name, content, texts)["picture"].to_pylist()]
    else:
        rows = decoded(name, content, files.schema)["picture"].to_pylist()
        assert [row["path"] for row in rows] == [f"{k:06}.png" for k in range(7, 12)]
        found = [row["bytes"] for row in rows]
    assert [images.pixels(data, SHAPE) for data in found] == [one.tobytes() for one in PIXELS]


@pytest.mark.parametrize("name", TEXT)
def test_pixels_are_refused_where_a_format_is_text(name: str) -> None:
    with pytest.raises(Problem, match=r"'picture' holds fixed_size_binary\[36\].*arrow or parquet") as caught:
        Encoder(FORMATS[name], DRAWN.schema, {})
    assert caught.value.status == 406


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/*", "csv"),
        ("text/csv", "csv"),
        ("TEXT/CSV; charset=utf-8", "csv"),
        ("application/vnd.apache.parquet", "parquet"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        ("application/x-ndjson", "ndjson"),
        ("application/json, text/plain, */*", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("*/*, text/csv", "csv"),
        ("text/csv, application/vnd.apache.parquet", "csv"),
        ("text/csv;q=0.5, application/vnd.apache.parquet;q=0.9", "parquet"),
        ("text/csv;q=0.5, application/*;q=0.4, */*;q=0.1", "csv"),
        ("application/json;q=0, */*", "ndjson"),
        ("application/json;q=0.2, application/*;q=0.8", "ndjson"),
        ("nonsense, text/csv;q=2, ;;, application/x-ndjson", "ndjson"),
    ],
)
def test_negotiation(accept: str | None, wanted: str) -> None:
    assert negotiate(accept) == wanted
    assert choose(None, accept) is FORMATS[wanted]
    assert choose("arrow", accept) is FORMATS["arrow"], "what the request says goes first"


@pytest.mark.parametrize("accept", ["text/html", "*/*;q=0", "text/csv;q=", "image/png, text/plain", "csv"])
def test_nothing_that_is_wanted_is_written_here(accept: str) -> None:
    with pytest.raises(Problem, match=r"application/json, application/x-ndjson, text/csv") as caught:
        negotiate(accept)
    assert caught.value.status == 406 and accept in caught.value.detail


@given(st.text(max_size=30) | st.text("/*;=q.,01 text csv", max_size=30))
def test_any_header_has_an_answer(accept: str) -> None:
    try:
        found = negotiate(accept)
    except Problem as problem:
        found = problem
    assert found in FORMATS if isinstance(found, str) else found.status == 406 and len(found.detail) < 200


def test_an_unknown_format_is_named_with_its_neighbour() -> None:
    with pytest.raises(Problem, match=r"no format 'cvs'\. Did you mean 'csv'") as caught:
        choose("cvs", None)
    assert caught.value.status == 422 and caught.value.field == "/format"
    with pytest.raises(Problem) as caught:
        choose("x" * 10_000, None)
    assert len(str(caught.value)) < 300
