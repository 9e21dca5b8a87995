"""Conditions, balance and rare events, from what a person writes to the rows that come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synth import parts
from synth.asking import key
from synth.data.conditions import Wanted
from synth.errors import UserError
from synth.sampling import BLOCK, Sampler
from tests.untrained import untrained


def make(noise: float) -> Sampler:
    draw = np.random.default_rng(0)
    table = pa.table(
        {
            "age": draw.integers(18, 90, 900),
            "city": draw.choice(["Rome", "Oslo", "Bonn"], 900, p=[0.6, 0.3, 0.1]),
            "pay": pa.array(np.round(draw.lognormal(8, 1, 900), 2), mask=draw.random(900) < 0.2),
            "gain": np.where(draw.random(900) < 0.8, 0, draw.integers(1, 9999, 900)),
            "x": draw.normal(size=900),
            "row_id": np.arange(900),
        }
    )
    return untrained(table, noise)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    """A network that has learnt nothing and depends on everything: what is asked for must hold all the same."""
    return make(0.1)


@pytest.fixture(scope="module")
def fresh() -> Sampler:
    """A network as it begins: each column by itself, as the training rows have it."""
    return make(0.0)


def drawn(sampler: Sampler, rows: int = BLOCK, **options: Any) -> pd.DataFrame:
    table = sampler.table(rows, seed=1, request=sampler.ask(**options))
    assert table.schema.equals(sampler.arrow(sampler.ask(**options)))
    return table.to_pandas()


def test_every_row_meets_what_is_asked(sampler: Sampler) -> None:
    frame = drawn(sampler, where=["city in (Rome, Oslo)", "age>=65", "pay>2000", "pay<=3000", "gain>5000", "x<-0.5"])
    assert frame["city"].isin(["Rome", "Oslo"]).all() and (frame["age"] >= 65).all() and (frame["x"] < -0.5).all()
    assert ((frame["pay"] > 2000) & (frame["pay"] <= 3000)).all() and (frame["gain"] > 5000).all()
    assert frame["row_id"].tolist() == list(range(BLOCK)) and frame["x"].nunique() > 50


def test_row_i_depends_on_the_seed_the_request_and_i_alone(sampler: Sampler) -> None:
    request = sampler.ask(where="age>=65", balance="city")
    whole = sampler.table(2 * BLOCK, seed=7, request=request)
    part = pa.Table.from_batches(sampler.batches(9, seed=7, first=BLOCK - 4, request=request))
    assert part.equals(whole.slice(BLOCK - 4, 9).combine_chunks())
    again = sampler.ask(where=["age>=65"], balance="city")
    assert again == request and sampler.ask(where="age>65", balance="city") != request
    assert sampler.ask() is None


def test_how_likely_a_condition_is_comes_with_the_request(fresh: Sampler) -> None:
    request = fresh.ask(where=["city=Bonn", "x>1"])
    assert request is not None and request.weights is None and "city=Bonn and x>1: " in request.told[0]
    column = fresh.codec.columns[1]
    assert column.name == "city"
    bonn = column.counts[column.shown.index("Bonn")] / sum(column.counts)
    assert fresh._chance(request.kinds[0], 64).mean == pytest.approx(bonn * 0.16, rel=0.15)
    with pytest.raises(UserError, match=r"too rare: .* of the model's rows, 1 row in [\d,]+, .*ask for less at once"):
        fresh.ask(where=["age=89", "city=Bonn", "x>2.5", "gain>9900"])


def test_classes_come_in_equal_shares_and_weigh_what_they_are(sampler: Sampler) -> None:
    frame = drawn(sampler, 3 * BLOCK, balance="city")
    shares = frame["city"].value_counts(normalize=True)
    assert len(shares) == 3 and shares.between(0.33, 0.337).all()
    weighted = frame.groupby("city")["_weight"].sum() / len(frame)
    assert weighted["Rome"] == pytest.approx(0.6, abs=0.05) and weighted["Bonn"] == pytest.approx(0.1, abs=0.05)
    assert frame["_weight"].mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("balance", ["city: Rome=0.2, Bonn=0.8", {"city": {"Rome": 0.2, "Bonn": 0.8}}])
def test_classes_come_in_given_shares_under_a_condition(sampler: Sampler, balance: Any) -> None:
    frame = drawn(sampler, balance=balance, where="age<40")
    assert (frame["age"] < 40).all()
    assert frame["city"].value_counts(normalize=True).to_dict() == pytest.approx({"Rome": 0.2, "Bonn": 0.8}, abs=2e-3)
    assert frame["_weight"].mean() == pytest.approx(1, abs=0.01)


def test_a_rare_event_comes_so_many_times_as_often_and_weighs_as_much_less(fresh: Sampler) -> None:
    event = ["city=Bonn", "age>=60"]
    request = fresh.ask(rare=event, boost=8, where="x>0")
    assert request is not None and "95 % confidence interval" in request.told[0] and "effective" in request.told[1]
    frame = fresh.table(8 * BLOCK, seed=3, request=request).to_pandas()
    plain = fresh.table(8 * BLOCK, seed=3, request=fresh.ask(where="x>0")).to_pandas()
    rare, usual = ((f["city"] == "Bonn") & (f["age"] >= 60) for f in (frame, plain))
    assert (frame["x"] > 0).all()
    assert rare.mean() / usual.mean() == pytest.approx(8, rel=0.25)
    assert (frame["_weight"][rare] == 1 / 8).all() and frame["_weight"][~rare].nunique() == 1
    assert frame["_weight"].mean() == pytest.approx(1, abs=0.02)
    assert (rare * frame["_weight"]).mean() == pytest.approx(usual.mean(), rel=0.25)
    weight = frame["_weight"]
    effective = weight.sum() ** 2 / (weight**2).sum() / len(weight)
    assert float(request.told[1].rpartition(" is ")[2].split("%")[0]) == pytest.approx(100 * effective, abs=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": "age"}, "'age' is numerical; only classes can be balanced"),
        ({"balance": "citi"}, "Did you mean 'city'"),
        ({"balance": "city: Rome"}, "write COLUMN, or COLUMN: CLASS=SHARE"),
        ({"balance": "city: Rome=0.5"}, "the shares sum to 0.5"),
        ({"balance": "city: Rome=1, Oslo=0"}, "leave out the classes"),
        ({"balance": "city: Roma=0.5, Oslo=0.5"}, "Did you mean 'Rome'"),
        ({"balance": "city: Rome=0.5, Rome=0.5"}, "the share of Rome is given twice"),
        ({"balance": {"city": {"Rome": 0.5, " Rome": 0.5}}}, "the share of Rome is given twice"),
        ({"balance": {}}, "give one column"),
        ({"balance": {"city": {"Rome": "half"}}}, "give one column"),
        ({"balance": "city", "where": "city=Rome", "rare": "age>80", "boost": 2}, "give one of them"),
        ({"rare": "age>80", "boost": 0.5}, "--boost 0.5: how many times as often"),
        ({"rare": "age>80", "boost": 500}, "--boost 500: .*at most [\\d.]+ times as often"),
        ({"rare": "age>80", "boost": float("nan")}, "--boost nan"),
        ({"rare": [], "boost": 2}, "names no event"),
        ({"boost": 2}, "--boost 2: of which event"),
        ({"rare": "age>800", "boost": 2}, "no row of the training table is so"),
    ],
)
def test_what_cannot_be_drawn_is_explained_before_it_is(
    sampler: Sampler, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler.generator, "sample", None)
    with pytest.raises(UserError, match=message):
        sampler.ask(**options)


def test_the_column_of_weights_takes_no_ones_name(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    request = sampler.ask(balance="city")
    monkeypatch.setattr(type(sampler.schema), "names", [*sampler.schema.names, "_weight"])
    assert sampler.arrow(request).names[-1] == "_weight_"


def test_parts_of_another_request_are_not_mixed_in(sampler: Sampler, tmp_path: Any) -> None:
    release: Any = SimpleNamespace(manifest=SimpleNamespace(id="ab"), schema=sampler.schema)
    (tmp_path / parts.MARKER).write_text(f'{{"release": "ab", "seed": 1, "rows": 5, "part": {parts.PART}}}')
    with pytest.raises(UserError, match=r"parts of another request \(asked None\)"):
        parts.sample(release, 5, str(tmp_path), seed=1, request=sampler.ask(balance="city"))


def test_a_request_is_the_same_however_it_is_written_and_in_every_process(sampler: Sampler) -> None:
    """A set of 0 and 8 prints in the order in which they came, as sets of words do in the order of each process."""
    one, other = (Wanted(names=frozenset(names)) for names in ([0, 8], [8, 0]))
    assert one == other and repr(one) != repr(other) and key([{"k": one}]) == key([{"k": other}])
    assert key([{"k": one}]) != key([{"k": Wanted(other_than=one.names or frozenset())}]) != key([{"k": Wanted()}])
    spelled = (["age>=65", "city in (Rome, Oslo)"], ["city in ('Oslo','Rome')", "age >= 65.0"])
    first, second = (sampler.ask(where=list(where)) for where in spelled)
    assert first is not None and second is not None and first.key == second.key
    assert sampler.table(20, request=first).equals(sampler.table(20, request=second))
    boosted = [sampler.ask(rare=event, boost=boost) for event, boost in (("x > 1", 2), ("x>1.0", 2.0))]
    assert boosted[0] is not None and boosted[1] is not None
    assert (boosted[0].key, boosted[0].weights) == (boosted[1].key, boosted[1].weights)
