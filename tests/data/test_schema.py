from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synth.data.conform import conform
from synth.data.demo import adult
from synth.data.infer import MINIMUM_ROWS, infer
from synth.data.schema import Column, Schema, arrow_type
from synth.data.source import open_source
from synth.errors import UserError

N = 200
DRAW = np.random.default_rng(0)


def schema_of(*, options: dict[str, object] | None = None, **columns: object) -> Schema:
    """Infer from these columns beside a plain number."""
    table = pa.table({"plain": DRAW.normal(size=N), **columns})
    return infer(open_source(table), **(options or {}))  # type: ignore[arg-type]


def column_of(values: object, **options: object) -> Column:
    return schema_of(c=values, options=options)["c"]


def refusal(values: object, **options: object) -> str:
    with pytest.raises(UserError) as raised:
        column_of(values, **options)
    return str(raised.value)


def strings(*values: str | None) -> pa.Array:
    return pa.array([values[i % len(values)] for i in range(N)], pa.string())


def test_adult() -> None:
    schema = infer(open_source(adult()), target="income")
    assert schema.of_kind("numerical") == [
        *("age", "fnlwgt", "education.num", "capital.gain", "capital.loss", "hours.per.week")
    ]
    assert len(schema.of_kind("categorical")) == 9
    assert schema.task == "classification"
    assert [c.name for c in schema.columns if c.nullable] == ["workclass", "occupation", "native.country"]
    assert schema.notes == []


@pytest.mark.parametrize(
    ("values", "kind", "dtype", "decimals"),
    [
        (DRAW.integers(0, 9, N), "numerical", "int64", 0),
        (DRAW.permutation(10 * N)[:N].astype(np.int32), "numerical", "int32", 0),
        (DRAW.integers(0, 9, N).astype(float), "numerical", "double", 0),
        ((DRAW.random(N) * 100).round(2), "numerical", "double", 2),
        (DRAW.random(N), "numerical", "double", None),
        ((DRAW.random(N) * 100).round(1).astype(np.float32), "numerical", "float", 1),
        (DRAW.random(N).astype(np.float32), "numerical", "float", None),
        (np.linspace(1e15, 1e15 + 50, N).round(1), "numerical", "double", None),
        ([Decimal("1.50"), Decimal("-2.25")] * (N // 2), "numerical", "decimal128(3, 2)", 2),
        ((np.arange(N) * 7919 % 1000) + 2**60, "numerical", "int64", 0),
        ([True, None] * (N // 2), "boolean", "bool", None),
        (np.arange(N)[::-1].copy(), "id", "int64", None),
        ([str(uuid.UUID(int=i * 12345)) for i in range(N)], "id", "string", None),
        (strings("a", "b\nc", "日本", None), "categorical", "string", None),
        ([f"k{i}" for i in range(N)], "categorical", "string", None),
        (pa.nulls(N), "categorical", "string", None),
        (pa.nulls(N, pa.float64()), "categorical", "double", None),
        (np.full(N, 7), "numerical", "int64", 0),
        (["only"] * N, "categorical", "string", None),
        ([dt.date(1066, 10, 14), dt.date(9999, 12, 31)] * (N // 2), "datetime", "date32[day]", None),
        (pa.array([-(10**11), 10**12] * (N // 2), pa.timestamp("s")), "datetime", "timestamp[s]", None),
        (strings("0001-01-01", "9999-12-31"), "datetime", "date32[day]", None),
        (strings("1500-01-01T10:00:00.25", None), "datetime", "timestamp[ms]", None),
        (strings("1", "2", "3"), "categorical", "string", None),
    ],
)
def test_kinds(values: object, kind: str, dtype: str, decimals: int | None) -> None:
    column = column_of(values)
    assert (column.kind, column.dtype, column.decimals) == (kind, dtype, decimals)


def test_missing_values_make_a_column_nullable() -> None:
    column = column_of(np.where(np.arange(N) % 5 == 0, np.nan, np.arange(N) % 7))
    assert column.nullable
    assert column.decimals == 0
    schema = schema_of(empty=pa.nulls(N))
    assert schema["empty"].nullable
    assert "column 'empty' has no values" in schema.notes[0]


def test_ids_by_name_only_if_unique() -> None:
    unique = DRAW.permutation(100 * N)[:N]
    for name in ("id", "customer_id", "userId", "order.ID", "uuid"):
        assert schema_of(**{name: unique})[name].kind == "id"
    for name in ("paid", "humid", "grid"):
        assert schema_of(**{name: unique})[name].kind == "numerical"
    assert schema_of(customer_id=unique // 1000)["customer_id"].kind == "numerical"
    assert schema_of(sensor_id=DRAW.random(N))["sensor_id"].kind == "numerical"


def test_forced_kinds() -> None:
    assert column_of(np.arange(N), numerical=["c"]).kind == "numerical"
    assert column_of(np.arange(N) % 3, categorical=["c"]).kind == "categorical"
    assert column_of(np.arange(N) % 3, ids=["c"]).kind == "id"
    assert column_of(strings("1.5", " 2", None), numerical=["c"]) == Column(
        name="c", kind="numerical", dtype="double", nullable=True, decimals=1
    )
    assert column_of(strings("1", "2"), numerical=["c"]).dtype == "int64"
    assert column_of([True, False] * (N // 2), numerical=["c"]).dtype == "int64"
    assert column_of(strings("2024-01-01T00:00:00Z"), datetime=["c"]).dtype == "timestamp[s, tz=UTC]"
    assert schema_of(c=["x"] * N, options={"exclude": ["c"]}).excluded == ["c"]


def test_a_hundred_thousand_categories() -> None:
    table = pa.table({"c": [f"k{i}" for i in range(100_000)], "y": np.arange(100_000) % 7})
    assert infer(open_source(table))["c"].kind == "categorical"


def test_free_text_is_refused_by_name() -> None:
    notes = [f"patient number {i} felt better after {i * 7} days of rest at home" for i in range(N)]
    message = refusal(notes)
    assert "column 'c' holds free text (mean 6" in message
    assert "100% distinct" in message
    assert "--exclude c" in message
    assert "--categorical c" in message
    assert column_of(notes, categorical=["c"]).kind == "categorical"
    assert schema_of(c=notes, options={"exclude": ["c"]}).names == ["plain"]


def test_what_cannot_be_learnt_is_refused_with_place_and_remedy() -> None:
    x = DRAW.normal(size=N)
    x[[30, 40]] = np.inf, -np.inf
    assert "row 31: column 'c' is inf" in (message := refusal(x))
    assert "--exclude c" in message
    wide = DRAW.integers(-(2**62), 2**62, N)
    assert "2^53" in (message := refusal(wide))
    assert "--id c" in message
    assert "--categorical c" in message
    assert column_of(wide, categorical=["c"]).kind == "categorical"
    huge = [Decimal(i) / 100 + 10**15 for i in range(N)]  # 2 places more than a double holds up there
    assert "decimals from 1000000000000000.00 to 1000000000000001.99" in (message := refusal(huge))
    assert "2^51" in message
    assert column_of([value - 10**15 for value in huge]).decimals == 2
    for nested in ([[1]] * N, [{"a": 1}] * N, [b"x"] * N):
        assert "column 'c' holds" in (message := refusal(nested))
        assert "--exclude c" in message
    words = ["1.5"] * N
    words[49] = "abc"
    assert "row 50: column 'c' should hold double, but here stands 'abc'" in refusal(words, numerical=["c"])
    days = ["2024-01-01"] * N
    days[49] = "1/2/24"
    assert "row 50: column 'c' should hold dates, but here stands '1/2/24'" in refusal(days, datetime=["c"])
    assert "--datetime c: the column holds int64" in refusal(np.arange(N), datetime=["c"])
    assert "--numerical c" in refusal([dt.date(2024, 1, 1)] * N, numerical=["c"])


def test_all_refusals_come_at_once() -> None:
    text = [f"this is a long sentence with number {i} in it" for i in range(N)]
    with pytest.raises(UserError, match=r"(?s)column 'a'.*column 'b'"):
        schema_of(a=text, b=text)


def test_infinity_is_placed_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1.5,1\n" * 30)
    (tmp_path / "b.csv").write_text("x,y\n" + "1.5,1\n" * 4 + "inf,1\n")
    with pytest.raises(UserError, match=r"b\.csv, row 5: column 'x' is inf"):
        infer(open_source(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "plian"}, "no column 'plian'. Did you mean 'plain'?"),
        ({"categorical": ["x"]}, "--categorical x"),
        ({"categorical": ["c"], "numerical": ["c"]}, "both --categorical and --numerical"),
        ({"exclude": ["c"], "target": "c"}, "both excluded and named as the target"),
        ({"exclude": ["plain", "c"]}, "every column is excluded"),
        ({"ids": ["plain", "c"]}, "holds ids only"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    assert message in refusal(np.arange(N) % 3, **options)


def test_targets() -> None:
    def task(values: object) -> tuple[str | None, list[str]]:
        schema = schema_of(c=values, options={"target": "c"})
        return schema.task, schema.notes

    assert task(np.arange(N) % 2)[0] == "classification"
    assert task(np.arange(N) % 5) == (
        "regression",
        ["target 'c' was taken as a number; --categorical c makes it a class"],
    )
    assert task(DRAW.normal(size=N)) == ("regression", [])
    assert task([True, False] * (N // 2)) == ("classification", [])
    assert "missing in 100 rows" in task(strings("a", None, "b", None))[1][0]
    assert "every row has the value '3'" in refusal(np.full(N, 3), target="c")
    assert "has no values" in refusal(pa.nulls(N), target="c")
    assert "identifies rows" in refusal(np.arange(N), target="c")


def test_few_rows() -> None:
    for rows in (1, MINIMUM_ROWS - 1):
        with pytest.raises(UserError, match=rf"has {rows} rows?; at least {MINIMUM_ROWS}"):
            infer(open_source(pa.table({"x": DRAW.normal(size=rows)})))
    wide = pa.table({f"x{i}": DRAW.normal(size=MINIMUM_ROWS) for i in range(30)})
    assert "20 rows are fewer than 30 columns" in infer(open_source(wide)).notes[0]


def test_a_summary_names_the_first_columns_of_each_kind() -> None:
    wide = {f"x{i}": DRAW.normal(size=N) for i in range(21)} | {"k": strings("a", "b")}
    assert schema_of(**wide, options={"target": "k"}).summary() == [
        "numerical: plain, " + ", ".join(f"x{i}" for i in range(19)) + " and 2 more", "categorical: k", "target: k",
    ]  # fmt: skip


def test_yaml_round_trip_and_mistakes() -> None:
    schema = schema_of(day=[dt.date(2024, 1, 1)] * N, ünicode=strings("a", "b"), options={"target": "ünicode"})
    text = schema.to_yaml()
    assert Schema.from_yaml(text) == schema
    for old, new, message in (
        ("kind: datetime", "kin: datetime", "my.yaml: unknown key 'columns.1.kin'. Did you mean 'kind'?"),
        ("target:", "targte:", "my.yaml: unknown key 'targte'. Did you mean 'target'?"),
        ("kind: datetime", "kind: dates", "my.yaml: columns.1.kind: Input should be"),
        ("date32[day]", "date23[day]", "no column can have dtype 'date23[day]'. Did you mean 'date32[day]'?"),
        ("kind: datetime", "kind: numerical", "a numerical column cannot have dtype date32[day]"),
        ("target: ünicode", "target: unicode", "no column 'unicode'. Did you mean 'ünicode'?"),
        ("name: day", "name: plain", "columns 1 and 2 are both named 'plain'"),
        ("columns:", "columns: [", "my.yaml: is not YAML"),
    ):
        with pytest.raises(UserError) as raised:
            Schema.from_yaml(text.replace(old, new, 1), "my.yaml")
        assert message in str(raised.value)
    with pytest.raises(UserError, match=r"no column 'dya'\. Did you mean 'day'"):
        schema["dya"]


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.float64(), pa.bool_(), pa.string(), pa.date32(), pa.date64(), pa.timestamp("ns", "Europe/Berlin"),
     pa.timestamp("s"), pa.decimal128(10, 2), pa.decimal256(50, -3), pa.null()],
)  # fmt: skip
def test_types_are_spelt_as_arrow_prints_them(kind: pa.DataType) -> None:
    assert arrow_type(str(kind)) == kind


def test_conform() -> None:
    schema = Schema(
        columns=[
            Column(name="key", kind="id", dtype="int64"),
            Column(name="n", kind="numerical", dtype="int64", decimals=0),
            Column(name="x", kind="numerical", dtype="double"),
            Column(name="day", kind="datetime", dtype="timestamp[s]"),
            Column(name="on", kind="boolean", dtype="bool"),
            Column(name="word", kind="categorical", dtype="string"),
        ]
    )
    good = {
        "extra": [0, 0],
        "word": pa.array(["a", None]).dictionary_encode(),
        "on": [1.0, 0.0],
        "day": ["1500-01-01", "1500-01-01 10:00"],
        "x": [float("nan"), 1.0],
        "n": [3.0, None],
    }
    batch = conform(pa.record_batch(good), schema)
    assert batch.schema == schema.arrow()
    assert batch.to_pydict() == {
        "key": [None, None],
        "n": [3, None],
        "x": [None, 1.0],
        "day": [dt.datetime(1500, 1, 1), dt.datetime(1500, 1, 1, 10)],
        "on": [True, False],
        "word": ["a", None],
    }
    for change, message in (
        ({"n": [1.0, 2.5]}, "t.csv:2: column 'n' should hold int64, but here stands '2.5'"),
        ({"n": ["1", "two"]}, "t.csv:2: column 'n' should hold int64, but here stands 'two'"),
        ({"on": [1, 2]}, "t.csv:2: column 'on' should hold bool, but here stands '2'"),
        ({"x": [float("-inf"), 0.0]}, "t.csv:1: column 'x' is -inf"),
        ({"day": [[1], [2]]}, "column 'day' holds list"),
    ):
        with pytest.raises(UserError) as raised:
            conform(pa.record_batch({**good, **change}), schema, lambda row: f"t.csv:{row + 1}")
        assert message in str(raised.value)
    del good["word"]
    good["wrod"] = ["a", "b"]
    with pytest.raises(UserError, match=r"column 'word' is missing\. Did you mean 'wrod'"):
        conform(pa.record_batch(good), schema)


def test_an_image_is_as_many_bytes_as_its_shape_says() -> None:
    image = Column(name="image", kind="image", dtype="fixed_size_binary[48]", shape=(4, 4, 3))
    assert Schema(columns=[image]).image == "image"
    assert Schema(columns=[image]).arrow().field("image").type == pa.binary(48)
    for dtype, shape in (("fixed_size_binary[48]", (4, 4, 1)), ("fixed_size_binary[48]", None), ("string", (4, 4, 3))):
        with pytest.raises(ValueError, match=r"fixed_size_binary\[48\]|dtype string"):
            Column(name="image", kind="image", dtype=dtype, shape=shape)
