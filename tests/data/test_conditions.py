"""What a person may ask of rows: the language, its exactness, and what is said of what cannot be."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from synth.data.categories import Categories
from synth.data.codec import Codec, Fit
from synth.data.columns import Numbers
from synth.data.conditions import Wanted, parse
from synth.data.infer import infer
from synth.data.source import open_source
from synth.errors import UserError
from synth.generators.layout import Encoded

ROWS = 4000


def make() -> tuple[pa.Table, Codec]:
    draw = np.random.default_rng(0)
    table = pa.table(
        {
            "age": draw.integers(18, 90, ROWS),
            "pay=net": pa.array(np.round(draw.lognormal(8, 1, ROWS), 2), mask=draw.random(ROWS) < 0.2),
            "gain": np.where(draw.random(ROWS) < 0.8, 0, draw.integers(1, 99_999, ROWS)),
            "x": draw.normal(size=ROWS),
            "class": draw.choice(["<=50K", ">50K", "a, b"], ROWS),
            "word": pa.array([f"w{k}" for k in draw.exponential(200, ROWS).astype(int)], mask=draw.random(ROWS) < 0.05),
            "day": pa.array(np.datetime64("2020-01-01") + draw.integers(0, 2000, ROWS)),
            "flag": draw.random(ROWS) < 0.3,
            "row_id": np.arange(ROWS),
        }
    )
    fit = Fit(infer(open_source(table), categorical=["word"]))
    for batch in table.to_batches():
        fit.update(batch)
    return table, fit.finish(ordered_up_to=256, atom_share=0.0025, bins=32)


TABLE, CODEC = make()
FRAME = TABLE.to_pandas()
CLAUSES: list[tuple[Any, Any]] = [
    ("age>=65", FRAME.age >= 65),
    ("age > 64.5", FRAME.age > 64.5),
    (["age>20", "age<=30"], FRAME.age.between(21, 30)),
    ("age in (20, 30)", FRAME.age.isin([20, 30])),
    ("age not in (20, 30)", ~FRAME.age.isin([20, 30])),
    ("pay=net >= 5000", FRAME["pay=net"] >= 5000),
    ("pay=net is missing", FRAME["pay=net"].isna()),
    ("'pay=net' is not missing", FRAME["pay=net"].notna()),
    ("gain=0", FRAME.gain == 0),
    ("gain!=0", FRAME.gain != 0),
    (["gain>0", "gain<500"], (FRAME.gain > 0) & (FRAME.gain < 500)),
    (["x>1.5"], FRAME.x > 1.5),
    ("class=>50K", FRAME["class"] == ">50K"),
    ('class=">50K"', FRAME["class"] == ">50K"),
    ("class != '<=50K'", FRAME["class"] != "<=50K"),
    ('class in ("a, b", >50K)', FRAME["class"].isin(["a, b", ">50K"])),
    ({"class": ">50K", "age": ">= 65"}, (FRAME["class"] == ">50K") & (FRAME.age >= 65)),
    ({"class": ["<=50K", ">50K"], "flag": True}, FRAME["class"].isin(["<=50K", ">50K"]) & FRAME.flag),
    ("flag = true", FRAME.flag),
    ("word=w3", FRAME.word == "w3"),
    ("word in (w1, w2, w77)", FRAME.word.isin(["w1", "w2", "w77"])),
    ("word is missing", FRAME.word.isna()),
    (["day>=2021-01-01", "day<2021-02-01"], FRAME.day.between(date(2021, 1, 1), date(2021, 1, 31))),
    ({"day": date(2021, 1, 1)}, FRAME.day == date(2021, 1, 1)),
]


@pytest.mark.parametrize(("where", "expected"), CLAUSES, ids=[str(c[0]) for c in CLAUSES])
def test_the_rows_that_meet_a_condition_are_those_that_pandas_finds(where: Any, expected: Any) -> None:
    wanted = parse(where, CODEC.table)
    batch = TABLE.combine_chunks().to_batches()[0]
    assert 0 < expected.sum() < ROWS
    np.testing.assert_array_equal(CODEC.meets(batch, wanted), expected)
    # In the encoded terms, rows that meet it may take the states that they have, and no share is out of [0, 1].
    states, low, high = CODEC.asked(wanted)
    encoded = CODEC.encode(batch.filter(pa.array(np.asarray(expected))))
    sizes = CODEC.layout.sizes
    first = np.cumsum([0, *sizes])[:-1]
    assert (states[encoded.cells + first] > 0).all() and (states >= 0).all() and (states <= 1).all()
    bounded = np.isfinite(low) | np.isfinite(high)
    values = encoded.values.astype(np.float32)[:, bounded]
    assert (values >= low[bounded] - 1e-5).all() and (values <= high[bounded] + 1e-5).all()


@pytest.mark.parametrize(("where", "expected"), CLAUSES, ids=[str(c[0]) for c in CLAUSES])
def test_whatever_a_generator_draws_within_them_decodes_to_rows_that_meet_them(where: Any, expected: Any) -> None:
    wanted = parse(where, CODEC.table)
    states, low, high = CODEC.asked(wanted)
    draw, rows = np.random.default_rng(1), 2000
    spans = np.split(states, np.cumsum(CODEC.layout.sizes)[:-1])
    cells = np.stack([draw.choice(np.flatnonzero(span), rows) for span in spans], 1)
    values = draw.normal(0, 3, (rows, CODEC.layout.values)).clip(low, high)
    batch = CODEC.decode(Encoded(cells, values.astype(np.float32)), 0, wanted)
    assert CODEC.meets(batch, wanted).all()
    assert batch.column("row_id").to_pylist() == list(range(rows))


def coder(name: str) -> Any:
    return next(c for c in CODEC.columns if c.name == name)


def test_the_columns_are_of_every_kind() -> None:
    assert coder("word").base and isinstance(coder("age"), Categories)
    assert isinstance(coder("x"), Numbers) and not coder("x").cells  # a value and no more
    assert len(coder("gain").upper) > 2 and len(coder("pay=net").cells) == 1


def test_a_bin_that_a_range_cuts_is_allowed_in_part() -> None:
    gain = coder("gain")
    for low, high in ((1, 700), (5000, 20_000), (90_000, 99_999)):
        asked = gain.asked(parse([f"gain>={low}", f"gain<={high}"], CODEC.table)["gain"])
        share = float(np.dot(asked.states, gain.shares))
        assert share == pytest.approx(((FRAME.gain >= low) & (FRAME.gain <= high)).mean(), rel=0.15)


def test_what_is_squeezed_into_a_range_keeps_its_order_and_its_shape() -> None:
    # All bins in proportion, and within them the marginal: what is asked for comes out as the data has it.
    pay = coder("pay=net")
    wanted = parse(["pay=net>4000", "pay=net<4400"], CODEC.table)["pay=net"]
    asked = pay.asked(wanted)
    score = np.linspace(asked.low, asked.high, 500)
    k = pay.decode(np.zeros((500, 1), int), score[:, None], wanted).to_numpy(zero_copy_only=False)
    assert (np.diff(k) >= 0).all() and k.min() < 4050 and k.max() > 4350
    gain = coder("gain")
    wanted = parse(["gain>5000", "gain<5200"], CODEC.table)["gain"]
    [state] = np.flatnonzero(gain.asked(wanted).states)
    scores = np.interp(np.linspace(gain._lower[state], gain.upper[state], 500), gain.knots, gain.normal)
    drawn = gain.decode(np.full((500, 1), state), scores[:, None], wanted).to_numpy()
    assert (np.diff(drawn) >= 0).all() and drawn.min() > 5000 and drawn.max() < 5200
    assert len(np.unique(drawn)) == FRAME.gain[FRAME.gain.between(5001, 5199)].nunique()


@examples(st.floats(-5, 5), st.floats(-5, 5))
def test_any_range_of_a_continuous_column_is_met_or_refused(a: float, b: float) -> None:
    low, high = sorted((a, b))
    wanted = parse([f"x>{low!r}", f"x<={high!r}"], CODEC.table)["x"]
    there = (FRAME.x > low) & (FRAME.x <= high)
    if not there.any():
        with pytest.raises(UserError, match="no row of the training table is so"):
            coder("x").asked(wanted)
        return
    asked = coder("x").asked(wanted)
    values = np.random.default_rng(0).normal(size=(50, 1)).clip(asked.low, asked.high)
    drawn = coder("x").decode(np.empty((50, 0), int), values, wanted).to_numpy()
    assert ((drawn > low) & (drawn <= high)).all()


@pytest.mark.parametrize("name", ["age", "x", "pay=net", "gain"])
def test_numbers_beyond_all_that_a_column_holds_are_compared_as_any_other(name: str) -> None:
    batch = TABLE.combine_chunks().to_batches()[0]
    there = batch.column(name).is_valid().to_numpy(zero_copy_only=False)
    for bound in ("1e400", "1e999999999", "2" * 5000):
        wanted = parse([f"{name}<{bound}", f"{name}>-{bound}", f"{name}!=1e-{len(bound)}99999"], CODEC.table)
        CODEC.asked(wanted)
        np.testing.assert_array_equal(CODEC.meets(batch, wanted), there)
    zero = parse(f"{name}>=0e999999999", CODEC.table)
    np.testing.assert_array_equal(CODEC.meets(batch, zero), there & (FRAME[name] >= 0))


def test_conditions_on_one_column_hold_together() -> None:
    [wanted] = parse(["age>=20", "age<30", "age!=25"], CODEC.table).values()
    assert [r.holds(Fraction(k)) for r in wanted.ranges for k in (20, 25)] == [True, False, False, False]
    assert str(wanted) == "age>=20 and age<30 and age!=25" and not wanted.missing
    assert Wanted() & wanted == wanted


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("agee>3", r"there is no column 'agee'. Did you mean 'age'\?"),
        ("class=>50k", r"'class' is never '>50k' in the training rows. Did you mean '>50K'\?"),
        ("word != w99999", r"'word' is never 'w99999'.*Did you mean 'w\d+'\?"),
        ("age>=200", "no row of the training table is so: 'age' has values from 18 to 89"),
        (["age>60", "age<50"], "age>60 and age<50: no row of the training table is so"),
        ("gain<0", "'gain' goes from 0 to 99"),
        ("age is missing", "and is never missing"),
        ("row_id=3", "nothing can be asked of 'row_id': ids are made up anew"),
        ("age~3", "'age~3' is no condition: write COLUMN=VALUE"),
        ("age", "is no condition"),
        ("", "there is no column ''"),
        ("age>abc", "'abc' is no number"),
        ("age>nan", "no number to compare with"),
        ("age>=65 and class=>50K", "a second condition is a clause of its own"),
        ("x>1e400", "'x' goes from"),
        ("x<=-1e999999999", "'x' goes from"),
        ("pay=net>1e999999999", "'pay=net' goes from"),
        ("age=1e-999999999", "'age' has values from 18 to 89"),
        (5, "5 is no condition: give a clause such as 'age>=65', a list of them"),
        (["age>3", None], "None\\] is no condition"),
        ("age in ()", "no values; write age in"),
        ("age in (1,,2)", "an empty value"),
        ("day>2020-13-45", "write an ISO date"),
        ("class>A", "'class' holds categories, which have no order"),
        ("flag=maybe", "'maybe' is no bool"),
    ],
)
def test_what_cannot_be_asked_is_explained(where: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CODEC.asked(parse(where, CODEC.table))
