"""The codec gives back what it was given, in bounded memory, and says how each column is shown to the model."""

from __future__ import annotations

import datetime as dt
import decimal
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synth.data import codec as codecs
from synth.data.codec import Codec
from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.source import open_source
from synth.errors import UserError
from synth.generators.layout import Encoded

SETTINGS = {"ordered_up_to": 256, "atom_share": 0.01, "bins": 8}


def fitted(table: pa.Table, **options: object) -> Codec:
    schema = infer(open_source(table), **options)
    found = codecs.Fit(schema)
    for batch in table.to_batches(max_chunksize=97):
        found.update(batch)
    return found.finish(**SETTINGS)


def there_and_back(table: pa.Table, **options: object) -> pa.Table:
    codec = fitted(table, **options)
    reread = Codec.model_validate(json.loads(codec.model_dump_json()) | {"table": codec.table})
    return pa.Table.from_batches([reread.decode(reread.encode(b)) for b in table.to_batches()])


def rows(n: int = 600) -> dict[str, pa.Array]:
    draw = np.random.default_rng(0)
    day = dt.date(1500, 1, 1)
    return {
        "few": pa.array(draw.integers(0, 40, n) * 7 - 3),
        "whole": pa.array(draw.integers(-(10**6), 10**6, n)),
        "huge": pa.array(2**60 + draw.integers(0, 10**6, n)),
        "money": pa.array(np.round(draw.lognormal(5, 2, n), 2)),
        "real": pa.array(draw.normal(size=n)),
        "zeros": pa.array(np.where(draw.random(n) < 0.8, 0, np.round(draw.exponential(100, n), 1))),
        "small": pa.array(draw.normal(size=n).astype(np.float32)),
        "gaps": pa.array(draw.normal(size=n), mask=draw.random(n) < 0.3),
        "word": pa.array(draw.choice(["a", "é\n", "", "日本", "'"], n), mask=draw.random(n) < 0.1),
        "flag": pa.array(draw.random(n) < 0.2, mask=draw.random(n) < 0.1),
        "day": pa.array([day + dt.timedelta(days=int(d)) for d in draw.integers(0, 300_000, n)], pa.date32()),
        "moment": pa.array(1_700_000_000_000_000_000 + draw.integers(0, 10**6, n) * 10**9, pa.timestamp("ns")),
        "constant": pa.array(["x"] * n),
        "nothing": pa.nulls(n, pa.string()),
        "dear": pa.array([decimal.Decimal(2**51 - 1 - int(x)) / 1000 for x in draw.integers(0, 10**15, n)]),
        "price": pa.array([decimal.Decimal(int(x)) / 4 for x in draw.integers(0, 10**5, n)], pa.decimal128(12, 2)),
    }


@pytest.mark.parametrize("name", rows())
def test_decode_inverts_encode(name: str) -> None:
    array = rows()[name]
    back = there_and_back(pa.table({name: array, "other": rows()["few"]}))[name].combine_chunks()
    assert back.type == array.type
    if name in ("real", "small", "gaps"):  # full floating-point precision is kept to rounding
        assert back.is_null().equals(array.is_null())
        np.testing.assert_allclose(
            back.drop_null(), array.drop_null(), rtol=1e-6 if name == "small" else 1e-12, atol=1e-9
        )
    else:
        assert back.equals(array)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.none(), st.integers(-(2**51), 2**51)), min_size=30, max_size=200), st.integers(0, 3))
def test_any_whole_or_decimal_numbers_survive(values: list[int | None], decimals: int) -> None:
    scaled = [None if v is None else v % 10**9 / 10**decimals for v in values]
    table = pa.table({"x": pa.array(scaled, pa.float64()), "y": pa.array(range(len(values)))})
    assert there_and_back(table, numerical=["x"])["x"].equals(table["x"])


def test_a_vocabulary_of_a_hundred_thousand_costs_its_square_root() -> None:
    words = pa.array([f"word {i}" for i in range(100_000)] * 2)
    table = pa.table({"w": words, "n": pa.array(np.arange(len(words)) % 50)})
    codec = fitted(table, categorical=["w"])
    assert sum(codec.layout.sizes) < 1000
    batch = table.slice(0, 1000).combine_chunks().to_batches()[0]
    assert codec.decode(codec.encode(batch)).column("w").equals(batch.column("w"))
    # Every pair of digits names a category, also those beyond the last.
    sizes = codec.layout.sizes
    top = Encoded(np.array([[s - 1 for s in sizes]]), np.zeros((1, codec.layout.values)))
    assert codec.decode(top).column("w")[0].as_py() is not None


def test_representation_follows_the_data() -> None:
    codec = fitted(pa.table({k: rows(5000)[k] for k in ("few", "whole", "zeros", "gaps", "constant")}))
    found = {c.name: ([len(cell.shares) for cell in c.cells], c.how) for c in codec.columns}
    assert found["few"] == ([40], "categories")
    assert found["whole"] == ([], "numbers")  # smooth
    assert found["zeros"] == ([3], "numbers")  # zero, and two bins of an eighth of the rows
    assert found["gaps"] == ([2], "numbers")  # there, missing
    assert found["constant"] == ([], "categories")


def test_values_are_standardised_and_decoded_inside_the_range() -> None:
    table = pa.table({k: rows(5000)[k] for k in ("whole", "money", "real")})
    codec = fitted(table)
    values = codec.encode(table.combine_chunks().to_batches()[0]).values
    assert np.abs(values.mean(0)).max() < 0.05 and np.abs(values.std(0) - 1).max() < 0.05
    noise = np.random.default_rng(0).normal(size=(100, 3)) * 50
    wild = codec.decode(Encoded(np.zeros((100, 0), np.int32), noise))
    for name in table.column_names:
        low, high = np.min(table[name]), np.max(table[name])
        assert low <= np.min(wild.column(name)) and np.max(wild.column(name)) <= high
        assert len(np.unique(wild.column(name))) > 80  # folded back at the ends, not piled up there


def test_values_beyond_their_bin_are_folded_back_into_it() -> None:
    table = pa.table({"zeros": rows(5000)["zeros"]})
    codec = fitted(table)
    (size,) = codec.layout.sizes
    cells = np.repeat([[0], [1], [size - 1]], 50, 0)
    wild = np.asarray(codec.decode(Encoded(cells, np.random.default_rng(0).normal(size=(150, 1)) * 50)).column("zeros"))
    point, low, high = np.split(wild, 3)
    positive = np.quantile(np.asarray(table["zeros"])[np.asarray(table["zeros"]) > 0], [0, 0.5, 1])
    assert not point.any()
    assert positive[0] <= low.min() and low.max() < high.min() and high.max() <= positive[2]
    assert len(np.unique(low)) > 20 and len(np.unique(high)) > 20


@pytest.mark.parametrize("others", [300, 20_000])  # few enough to be remembered one by one, and too many
def test_a_point_mass_after_another_stays_a_point(others: int) -> None:
    draw = np.random.default_rng(0)
    numbers = np.concatenate([np.repeat([45, 89, 179], 3000), 1000 + draw.permutation(others)])
    codec = fitted(pa.table({"x": draw.permutation(numbers)}), numerical=["x"])
    points = pa.RecordBatch.from_pydict({"x": pa.array([45, 89, 179] * 100)})
    encoded = codec.encode(points)
    noisy = Encoded(encoded.cells, encoded.values + draw.normal(size=encoded.values.shape))
    assert codec.decode(noisy).equals(points)


def test_what_training_rows_lacked_is_refused_by_name() -> None:
    table = pa.table({"word": ["a", "b"] * 50, "n": list(range(1000, 1100))})
    codec = fitted(table, numerical=["n"])
    for broken, message in (
        ({"word": ["z"], "n": [1000]}, "'word'.*'z'"),
        ({"word": ["a"], "n": [5]}, "'n'.*5.*range"),
    ):
        with pytest.raises(UserError, match=message):
            codec.encode(pa.RecordBatch.from_pydict(broken))


def test_size_of_the_codec_does_not_grow_with_the_rows() -> None:
    draw = np.random.default_rng(0)
    sizes = []
    for n in (20_000, 200_000):
        codec = fitted(pa.table({"x": draw.normal(size=n), "k": draw.integers(0, 10**9, n)}))
        sizes.append(len(codec.model_dump_json()))
    assert sizes[1] < 1.1 * sizes[0]


@pytest.mark.parametrize(
    "values",
    [
        pa.array(range(5000, 5200)),
        pa.array(range(5000, 5200), pa.int16()),
        pa.array(range(-100, 100), pa.int8()),
        pa.array([i % 2 == 0 for i in range(200)]),
        pa.array([decimal.Decimal(i) / 4 for i in range(200)], pa.decimal128(5, 2)),
        pa.array([2**64 - 1 - i for i in range(200)], pa.uint64()),
        pa.array([dt.date(2024, 1, 1)] * 200),
        pa.array([f"c{i}" for i in range(200)]),
    ],
)
def test_ids_are_regenerated_and_never_overflow(values: pa.Array) -> None:
    table = pa.table({"customer_id": values, "x": np.random.default_rng(0).normal(size=200)})
    codec = fitted(table, ids=["customer_id"])
    batch = conform(table.to_batches()[0], codec.table)  # whatever the ids were, they stand in nobody's way
    assert codec.encode(batch).values.shape == (200, 1) and batch.column("customer_id").null_count == 200
    decoded = codec.decode(Encoded(np.zeros((3, 1), np.int32), np.zeros((3, 1))), first=100_000)
    text = pa.types.is_string(values.type)
    assert decoded.column("customer_id").to_pylist() == [str(i) if text else i for i in (100_000, 100_001, 100_002)]
    assert any("int64" in note for note in codec.table.notes) == (values.type not in (pa.int64(), pa.string()))


@pytest.mark.parametrize("options", [{}, {"categorical": ["x"]}])
def test_negative_zero_is_zero(options: dict[str, object]) -> None:
    table = pa.table({"x": pa.array([0.0, -0.0, 1.5, float("nan")] * 100)})
    assert there_and_back(table, **options)["x"].to_pylist() == [0.0, 0.0, 1.5, None] * 100
    codec = fitted(pa.table({"x": [0.0, 1.5] * 100}), **options)
    codec.encode(pa.RecordBatch.from_pydict({"x": [-0.0]}))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-(10**11), 10**15], pa.timestamp("s")),  # years that text has no spelling for
        ([-99_999_999_999_999_999, 5], pa.timestamp("us", "UTC")),  # before the year 0
        ([-(2**63) + 1, 2**63 - 1], pa.timestamp("ns")),  # 1677 and 2262, whose texts nobody parses
        ([-800_000, 3_000_000], pa.date32()),
        ([2**63 - 2, 2**63, 2**64 - 1], pa.uint64()),
        ([2**63 + 1, 2**63 + 5], pa.uint64()),
    ],
)
@pytest.mark.parametrize("options", [{}, {"categorical": ["x"]}])
def test_few_values_at_the_ends_of_their_type(values: list[int], kind: pa.DataType, options: dict[str, object]) -> None:
    if kind == pa.uint64() and max(values) - min(values) > 2**53 and not options:
        return  # refused as a number: see the schema's tests
    array = pa.array([*values, None] * 100, kind)
    assert there_and_back(pa.table({"x": array}), **options)["x"].combine_chunks().equals(array)
    with pytest.raises(UserError, match="'x'"):  # and messages can name them, too
        fitted(pa.table({"x": array}), **options).encode(pa.record_batch({"x": pa.array([values[0] + 1], kind)}))


YEARS = 3 * 365 * 86_400


@pytest.mark.parametrize("rows", [3000, 20_000])  # each value kept, or the map through quantiles
@pytest.mark.parametrize(
    ("unit", "step", "span"),
    [
        ("ns", 1, 10**15),  # eleven days
        ("ns", 1000, YEARS * 10**9),  # microseconds as pandas holds them: beyond 2^53 ticks, not steps
        ("us", 1, YEARS * 10**6),
        ("us", 1, 10 * YEARS * 10**6),
        ("ns", 3600 * 10**9, 2**64 - 2 * 3600 * 10**9),  # from 1677 to 2262, further apart than an int64 says
    ],
)
def test_moments_keep_their_resolution(rows: int, unit: str, step: int, span: int) -> None:
    draw = np.random.default_rng(0)
    start = -(2**63) + step if span > 2**62 else 1_600_000_000 * (10**9 if unit == "ns" else 10**6)
    k = draw.integers(0, span // step, rows, endpoint=True).tolist()
    array = pa.array([start + i * step for i in k] + [start, start + span // step * step, None], pa.timestamp(unit))
    back = there_and_back(pa.table({"t": array}))["t"].combine_chunks()
    assert back.equals(array)


@pytest.mark.parametrize("span", [YEARS * 10**9, 2**64 - 10])
def test_moments_too_fine_for_a_double_are_refused(span: int) -> None:
    k = np.random.default_rng(0).integers(0, span, 3000, dtype=np.uint64).tolist()
    array = pa.array([i - 2**63 + 5 for i in k], pa.timestamp("ns"))
    with pytest.raises(UserError, match=r"'t' holds timestamp\[ns\].*coarser unit.*--exclude t"):
        fitted(pa.table({"t": array}))


@pytest.mark.parametrize("name", rows())
def test_rows_are_known_where_they_can_be_encoded(name: str) -> None:
    table = pa.table({name: rows(300)[name], "y": [0.5, 1.25] * 150})
    codec = fitted(table.slice(0, 60))
    [batch] = table.combine_chunks().to_batches()
    known = codec.encodable(batch)
    assert known[:60].all()
    for row in range(300):
        try:
            codec.encode(batch.slice(row, 1))
        except UserError:
            assert not known[row], row
        else:
            assert known[row], row


def test_numbers_are_normal_scores_where_the_layout_says_so() -> None:
    table = pa.table({name: rows(4000)[name] for name in ("real", "zeros", "gaps", "few", "flag")})
    codec, twin = fitted(table), fitted(table)
    encoded = codec.encode(table.combine_chunks().to_batches()[0])
    known = {one.value: one for one in codec.layout.normal}
    assert sorted(known) == [0, 1, 2] and known[0].cell is None and known[1].cell is not None
    for value, one in known.items():
        told = np.isin(encoded.cells[:, one.cell], one.states) if one.cell is not None else slice(None)
        scores = encoded.values[told, value]
        assert len(scores) > 300 and abs(scores.mean()) < 0.02 and abs(scores.std() - 1) < 0.03
    twin.encode(table.combine_chunks().to_batches()[0])
    assert codec.layout == twin.layout


def test_a_codec_is_the_same_once_its_layout_was_asked_for() -> None:
    table = pa.table({"zeros": rows()["zeros"]})
    one, other = fitted(table), fitted(table)
    assert one.layout == other.layout and one == other
