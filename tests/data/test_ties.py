"""Columns that often equal an earlier one: they are found, kept exactly, and nothing is made of chance."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.data import kept as kept_module
from synth.data.codec import Codec, Fit
from synth.data.columns import Numbers
from synth.data.conditions import parse
from synth.data.infer import infer
from synth.data.source import open_source
from synth.generators.layout import Encoded

ROWS = 4000


def fitted(table: pa.Table, parts: int = 1, batch: int = 997, crosses: int = 0, **options: Any) -> Codec:
    schema = infer(open_source(table), **options)
    fits, size = [], -(-table.num_rows // parts)
    for part in range(parts):
        fits.append(Fit(schema))
        for rows in table.slice(part * size, size).to_batches(max_chunksize=batch):
            fits[-1].update(rows)
    for later in fits[1:]:
        fits[0].merge(later)
    return fits[0].finish(ordered_up_to=256, atom_share=0.01, bins=8, crosses=crosses)


def whole(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def of(codec: Codec, name: str) -> Numbers:
    found = next(c for c in codec.columns if c.name == name)
    assert isinstance(found, Numbers)
    return found


def ties(codec: Codec) -> dict[str, str]:
    return {c.name: c.tied for c in codec.columns if isinstance(c, Numbers) and c.tied is not None}


def bills(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """A bill, a payment that is the bill in a seventh of the rows and nothing in a quarter, and others."""
    draw = np.random.default_rng(seed)
    bill = np.where(draw.random(rows) < 0.1, 0, draw.integers(1, 10**6, rows))
    kind = draw.random(rows)
    payment = np.select([kind < 0.15, kind < 0.4], [bill, 0], draw.integers(1, 10**5, rows))
    return pa.table(
        {
            "bill": bill,
            "word": draw.choice(["a", "b"], rows),
            "payment": pa.array(payment, mask=draw.random(rows) < 0.1),
            "age": draw.integers(18, 90, rows),
            "income": draw.integers(0, 10**6, rows),
        }
    )


def columns(rows: int = ROWS) -> dict[str, tuple[pa.Array, pa.Array]]:
    """Pairs of columns of each kind, equal in a fifth of their rows."""
    draw = np.random.default_rng(1)

    def pair(numbers: Any) -> tuple[Any, Any]:
        a, b = numbers(), numbers()
        return a, np.where(draw.random(rows) < 0.2, a, b)

    def gaps(array: np.ndarray, kind: pa.DataType | None = None) -> pa.Array:
        return pa.array(array, kind, mask=draw.random(rows) < 0.1)

    ints = pair(lambda: draw.integers(-(10**6), 10**6, rows))
    huge = pair(lambda: 2**60 + draw.integers(0, 10**6, rows))
    unsigned = pair(lambda: draw.integers(0, 10**6, rows).astype(np.uint64) + np.uint64(2**64 - 10**6 - 5))
    cents = pair(lambda: draw.integers(0, 10**7, rows))
    real = pair(lambda: draw.normal(size=rows))
    days = pair(lambda: draw.integers(0, 20_000, rows).astype("datetime64[D]"))
    moments = pair(lambda: 1_700_000_000 + draw.integers(0, 10**7, rows))
    return {
        "int64": (gaps(ints[0]), gaps(ints[1])),
        "int32 and double": (pa.array(ints[0], pa.int32()), gaps(ints[1].astype(float))),
        "huge": (pa.array(huge[0]), pa.array(huge[1])),
        "uint64": (pa.array(unsigned[0]), pa.array(unsigned[1])),
        "decimals": (gaps(cents[0] / 100), pa.array(cents[1] / 100)),
        "decimal128": tuple(  # type: ignore[dict-item]
            pa.array([decimal.Decimal(int(x)) / 100 for x in c], pa.decimal128(12, 2)) for c in cents
        ),
        "double": (pa.array(real[0]), gaps(real[1])),
        "float": (pa.array(real[0], pa.float32()), pa.array(real[1], pa.float32())),
        "date": (pa.array(days[0]), gaps(days[1])),
        "timestamp": (pa.array(moments[0], pa.timestamp("s")), pa.array(moments[1], pa.timestamp("s"))),
    }


@pytest.mark.parametrize("name", columns())
def test_ties_of_every_kind_are_found_and_come_back(name: str) -> None:
    a, b = columns()[name]
    table = pa.table({"a": a, "b": b})
    codec = fitted(table)
    assert ties(codec) == {"b": "a"}
    codec = Codec.model_validate(json.loads(codec.model_dump_json()) | {"table": codec.table})
    batch = whole(table)
    encoded, b_coder = codec.encode(batch), of(codec, "b")
    equal = np.array([x is not None and x == y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True)])
    np.testing.assert_array_equal(encoded.cells[:, -1] == b_coder._tie, equal)
    assert not encoded.values[equal, -1].any()
    assert b_coder.shares[b_coder._tie] == pytest.approx(equal.mean(), abs=0.005) and sum(
        b_coder.shares
    ) == pytest.approx(1)
    # What is not tied is a standard normal value, as the layout says, and the column has no bins.
    assert b_coder.smooth == (0,) and len(b_coder.upper) == 1
    assert encoded.values[encoded.cells[:, -1] == 0, -1].std() == pytest.approx(1, abs=0.03)
    back = codec.decode(encoded)
    if name in ("double", "float"):
        for column in ("a", "b"):
            assert back.column(column).is_null().equals(batch.column(column).is_null())
            np.testing.assert_allclose(
                back.column(column).drop_null(),
                batch.column(column).drop_null(),
                rtol=1e-5 if name == "float" else 1e-9,
            )
    else:
        assert back.equals(batch)
    # Whatever the values are that a generator draws beside them, tied rows are equal.
    wild = Encoded(encoded.cells, np.random.default_rng(0).normal(size=encoded.values.shape) * 3)
    drawn, tied = codec.decode(wild), encoded.cells[:, -1] == b_coder._tie
    x, y = (np.asarray(drawn.column(c).filter(pa.array(tied)).to_pylist()) for c in ("a", "b"))
    low, high = min(b.drop_null().to_pylist()), max(b.drop_null().to_pylist())
    inside = np.array([low <= v <= high for v in x.tolist()])
    assert (x == y)[inside].all() and inside.mean() > 0.9


def test_shares_are_those_of_the_encoded_rows_and_point_masses_stay_what_they_are() -> None:
    table = bills()
    codec = fitted(table)
    assert ties(codec) == {"payment": "bill"}
    payment, encoded = of(codec, "payment"), codec.encode(whole(table))
    cells = encoded.cells[:, [c.name for c in codec.columns for _ in c.cells].index("payment")]
    np.testing.assert_allclose(np.bincount(cells, minlength=len(payment.shares)) / ROWS, payment.shares, atol=0.003)
    paid, bill = (np.asarray(table[n].to_pylist(), float) for n in ("payment", "bill"))
    np.testing.assert_array_equal(cells == payment._tie, (paid == bill) & (paid != 0))
    np.testing.assert_array_equal(cells == payment._gone, np.isnan(paid))
    assert payment._gone == len(payment.shares) - 1 and codec.layout.cells[2].ordered == len(payment.upper)
    assert payment._tie not in payment.smooth
    assert codec.decode(encoded).equals(whole(table))


def test_a_tie_to_an_ordered_category_and_chains_of_ties_are_exact() -> None:
    draw = np.random.default_rng(0)
    few = draw.integers(0, 100, ROWS) * 997 + 5
    many = np.where(draw.random(ROWS) < 0.3, few, draw.integers(0, 10**5, ROWS))
    more = np.where(draw.random(ROWS) < 0.3, many, draw.integers(0, 10**5, ROWS))
    table = pa.table({"few": few, "many": many, "more": more})
    codec = fitted(table)
    assert codec.columns[0].how == "categories" and ties(codec) == {"many": "few", "more": "many"}
    assert codec.decode(codec.encode(whole(table))).equals(whole(table))


def test_a_copy_of_a_column_is_nothing_but_tied() -> None:
    x = np.random.default_rng(0).integers(0, 10**6, ROWS)
    table = pa.table({"x": x, "copy": x})
    codec = fitted(table)
    assert of(codec, "copy").shares == pytest.approx([0, 1])
    drawn = codec.decode(Encoded(np.ones((50, 1), int), np.random.default_rng(0).normal(size=(50, 2))))
    assert drawn.column("x").equals(drawn.column("copy")) and len(drawn.column("x").unique()) == 50


@pytest.mark.parametrize("rows", [60, 600, 6000])
@pytest.mark.parametrize("numbers", [120, 300, 3000, 10**6])
def test_nothing_is_tied_by_chance(rows: int, numbers: int) -> None:
    draw = np.random.default_rng(rows + numbers)
    table = pa.table({f"c{i}": draw.integers(0, numbers, rows) for i in range(6)})
    assert not ties(fitted(table, numerical=table.column_names))


def test_columns_that_are_merely_close_are_not_tied() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=ROWS) * 10
    table = pa.table({"x": np.round(x, 1), "y": np.round(x + draw.normal(size=ROWS), 1)})
    assert (np.asarray(table["x"]) == np.asarray(table["y"])).mean() > 0.03
    assert not ties(fitted(table))


def test_numbers_in_other_units_are_not_compared() -> None:
    draw = np.random.default_rng(0)
    k = draw.integers(0, 10**6, ROWS)
    table = pa.table({"a": k, "b": pa.array(k, pa.timestamp("s")), "c": pa.array(k.astype(float) + draw.random(ROWS))})
    assert not ties(fitted(table))


@pytest.mark.parametrize("kept", [None, 1024])  # all distinct rows, and a sample of them
def test_ties_do_not_depend_on_parts_batches_or_order(kept: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if kept is not None:
        monkeypatch.setattr(kept_module, "ROWS", kept)
    table = bills()
    codec = fitted(table)
    assert ties(codec) == {"payment": "bill"}
    paid = np.asarray(table["payment"].to_pylist(), float)
    share = ((paid == np.asarray(table["bill"])) & (paid != 0)).mean()
    payment = of(codec, "payment")
    assert payment.shares[payment._tie] == pytest.approx(share, abs=0.03 if kept else 0.003)
    for parts, batch in ((2, 10**6), (7, 97)):
        assert fitted(table, parts, batch) == codec
    shuffled = fitted(table.take(np.random.default_rng(0).permutation(ROWS)), 3)
    assert of(shuffled, "payment").shares == pytest.approx(payment.shares, abs=1e-9)


def test_rows_that_repeat_do_not_crowd_out_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "ROWS", 1024)
    table, share = bills(), []
    for idle in (0, 5 * ROWS):
        nothing = pa.table(
            {n: pa.repeat(pa.scalar("a" if n == "word" else 0, table[n].type), idle) for n in table.column_names}
        )
        payment = of(fitted(pa.concat_tables([table, nothing])), "payment")
        share.append(payment.shares[payment._tie] * (ROWS + idle) / ROWS)
    assert share[1] == pytest.approx(share[0], rel=0.02)


def test_where_the_other_is_missing_or_out_of_reach() -> None:
    a, b = columns()["int64"]
    codec = fitted(pa.table({"a": a, "b": within_half(b)}))
    a_coder, b_coder = of(codec, "a"), of(codec, "b")
    cells = np.array([[a_coder._gone, b_coder._tie]] * 200 + [[0, b_coder._tie]] * 200)
    values = np.random.default_rng(0).normal(size=(400, 2)) * 2
    drawn = codec.decode(Encoded(cells, values))
    missing, there = drawn.slice(0, 200), drawn.slice(200)
    assert missing.column("a").null_count == 200 and missing.column("b").null_count == 0
    assert len(missing.column("b").unique()) > 150  # as its own values say
    expected = np.clip(there.column("a").to_numpy(), *np.percentile(within_half(b).drop_null(), [0, 100]))
    np.testing.assert_array_equal(there.column("b").to_numpy(), expected)


def within_half(array: pa.Array) -> pa.Array:
    values = np.asarray(array.fill_null(0))
    return pa.array(values, mask=(np.abs(values) > 500_000) | np.asarray(array.is_null()))


WHERES: list[Any] = [
    "payment>=5000", ["payment>100", "payment<=30000"], "payment=0", "payment is missing", "payment is not missing",
    "payment>=0", "bill<=20000", ["bill>1000", "payment>=50000"],
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "smooth"), [(w, s) for w in WHERES for s in (False, True) if not (s and w == "payment=0")], ids=str
)
def test_what_is_asked_of_tied_columns_comes_out(where: Any, smooth: bool) -> None:
    table = bills()
    if smooth:  # a value and no more, but for its ties and gaps
        table = table.filter(
            pc.and_(pc.not_equal(table["bill"], 0), pc.fill_null(pc.not_equal(table["payment"], 0), True))
        )
    codec = fitted(table)
    assert ties(codec) == {"payment": "bill"}
    wanted, draw, rows = parse(where, codec.table), np.random.default_rng(1), 1500
    states, low, high = codec.asked(wanted)
    spans = np.split(states, np.cumsum(codec.layout.sizes)[:-1])
    cells = np.stack([draw.choice(np.flatnonzero(span), rows) for span in spans], 1)
    values = draw.normal(0, 3, (rows, codec.layout.values)).clip(low, high)
    batch = codec.decode(Encoded(cells, values), 0, codec.decodes(wanted))
    assert codec.meets(batch, wanted).all()
    payment = of(codec, "payment")
    mine = cells[:, [c.name for c in codec.columns for _ in c.cells].index("payment")]
    # Ties go with what is asked of the other column, or of all numbers; not with a range of their own.
    assert (mine == payment._tie).any() == (where in ("payment is not missing", "payment>=0", "bill<=20000"))


@pytest.mark.parametrize("name", columns())
def test_each_way_to_meet_a_range_comes_out_in_every_type(name: str) -> None:
    a, b = columns()[name]
    table = pa.table({"a": a, "b": b})
    codec, draw, rows = fitted(table), np.random.default_rng(0), 1500
    bound = b.drop_null().sort()[len(b.drop_null()) // 2]
    wanted = parse(f"b>={bound.as_py()}", codec.table)
    own, equal = codec.ways(wanted)
    assert (own["b"].tied, equal["b"].tied, set(own)) == (False, True, {"b"})
    for way in (own, equal):
        states, low, high = codec.asked(way)
        spans = np.split(states, np.cumsum(codec.layout.sizes)[:-1])
        cells = np.stack([draw.choice(np.flatnonzero(span), rows) for span in spans], 1)
        values = draw.normal(0, 2, (rows, codec.layout.values)).clip(low, high)
        batch = codec.decode(Encoded(cells, values), 0, codec.decodes(way))
        assert codec.meets(batch, wanted).all() and pc.all(pc.greater_equal(batch.column("b"), bound)).as_py()
        ends = pc.min_max(batch.column("b"))
        same = [x == y or y == ends["max"].as_py() for x, y in zip(*batch.to_pydict().values(), strict=True)]
        assert all(same) if way is equal else sum(same) < rows / 2


def test_a_value_that_is_known_is_what_the_tied_one_equals() -> None:
    table = bills()
    codec = fitted(table)
    batch = whole(table)
    known = {"bill": pa.array([77_777] * ROWS)}
    encoded, payment = codec.encode(batch), of(codec, "payment")
    drawn = codec.decode(encoded, known=known)
    tied = (
        codec.encode(batch).cells[:, [c.name for c in codec.columns for _ in c.cells].index("payment")] == payment._tie
    )
    assert set(drawn.column("payment").filter(pa.array(tied)).to_pylist()) == {77_777}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3), st.floats(0.05, 1.0), st.floats(0, 0.5), st.booleans())
def test_any_table_with_ties_survives(seed: int, decimals: int, tied: float, gone: float, masses: bool) -> None:
    draw, rows = np.random.default_rng(seed), 600
    k = [draw.integers(-(10**6), 10**6, rows) * (draw.random(rows) > 0.3 * masses) for _ in range(3)]
    k[2] = np.where(draw.random(rows) < tied, k[draw.integers(0, 2)], k[2])
    table = pa.table(
        {n: pa.array(x / 10**decimals, mask=draw.random(rows) < gone) for n, x in zip("abc", k, strict=True)}
    )
    codec = fitted(table, numerical=["a", "b", "c"])
    assert codec.decode(codec.encode(whole(table))).equals(whole(table))
    assert len(codec.encode(whole(table)).cells[0]) == len(codec.layout.cells)


def test_a_codec_without_ties_reads_as_before() -> None:
    codec = fitted(pa.table({"x": np.random.default_rng(0).normal(size=300), "word": ["a", "b", "c"] * 100}))
    old = json.loads(codec.model_dump_json())
    for column in old["columns"]:
        column.pop("tied", None)
    assert Codec.model_validate(old | {"table": codec.table}) == codec


def test_a_thousand_columns_take_seconds() -> None:
    draw, rows = np.random.default_rng(0), 5000
    numbers = {f"c{i}": np.where(draw.random(rows) < 0.3, 0, draw.integers(0, 10**6, rows)) for i in range(1000)}
    numbers["c999"] = np.where(draw.random(rows) < 0.2, numbers["c17"], numbers["c999"])
    schema = infer(open_source(pa.table(numbers)))
    fit, began = Fit(schema), time.process_time()
    fit.update(pa.RecordBatch.from_pydict(numbers))
    codec = fit.finish(ordered_up_to=256, atom_share=0.01, bins=8)
    assert ties(codec) == {"c999": "c17"} and time.process_time() - began < 15


def test_visits_that_end_on_the_day_they_begin() -> None:
    draw = np.random.default_rng(0)
    start = draw.integers(0, 5000, ROWS)
    end = start + np.where(draw.random(ROWS) < 0.5, 0, draw.integers(1, 30, ROWS))
    first = dt.date(2010, 1, 1)
    table = pa.table(
        {n: [first + dt.timedelta(days=int(x)) for x in days] for n, days in (("start", start), ("end", end))}
    )
    codec = fitted(table)
    assert ties(codec) == {"end": "start"}
    assert codec.decode(codec.encode(whole(table))).equals(whole(table))
