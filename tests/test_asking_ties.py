"""Ranges of a column that often equals another: how likely they are, the rows that come, and what these weigh."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synth import asking
from synth.asking import Request
from synth.data.conditions import parse
from synth.errors import UserError
from synth.sampling import BLOCK, Sampler
from tests.data.test_ties import bills
from tests.untrained import untrained

LARGE = "payment>=100000"  # of which a tenth of the rows is tied, and a thousandth is not


BILLS = bills(20_000)
BILLS = BILLS.filter(pc.not_equal(BILLS["bill"], 0))  # of which no payment is made


@pytest.fixture(scope="module")
def fresh() -> Sampler:
    return untrained(BILLS, 0.0)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return untrained(BILLS, 0.1)


@pytest.fixture(scope="module")
def chained() -> Sampler:
    """Each column is the one before it in a third of the rows."""
    draw, columns = np.random.default_rng(0), [np.random.default_rng(1).integers(0, 10**6, 6000)]
    for _ in range(8):
        columns.append(np.where(draw.random(6000) < 1 / 3, columns[-1], draw.integers(0, 10**6, 6000)))
    return untrained(pa.table({f"c{i}": column for i, column in enumerate(columns)}), 0.0)


def asked(sampler: Sampler, **options: Any) -> Request:
    request = sampler.ask(**options)
    assert request is not None
    return request


def chance(sampler: Sampler, where: Any) -> asking.Chance:
    return asking._find(sampler.codec, sampler._chance, parse(where, sampler.schema), 2048).chance


def large(table: pa.Table) -> np.ndarray:
    return np.nan_to_num(table["payment"].to_numpy()) >= 100_000


@pytest.mark.parametrize("where", [LARGE, ["payment>=2000", "payment<50000"], [LARGE, "bill<300000"]], ids=str)
def test_a_range_is_as_likely_as_it_is_in_the_table(fresh: Sampler, where: Any) -> None:
    """Bills and payments depend on each other by their ties alone, and so do they for a network as it begins."""
    share = fresh.codec.meets(BILLS.combine_chunks().to_batches()[0], parse(where, fresh.schema)).mean()
    found = chance(fresh, where)
    error = math.hypot(found.error, (share * (1 - share) / BILLS.num_rows) ** 0.5)
    assert share > 0.01 and found.mean == pytest.approx(share, abs=3 * error)


def test_the_chances_of_alternatives_add_up_with_their_errors(sampler: Sampler) -> None:
    wanted = parse(LARGE, sampler.schema)
    each = [sampler._chance(way, 512) for way in sampler.codec.ways(wanted)]
    found = asking._find(sampler.codec, sampler._chance, wanted, 512)
    assert len(each) == 2 and found.chance.mean == sum(one.mean for one in each)
    assert found.chance.error**2 == pytest.approx(sum(one.error**2 for one in each))
    assert found.shares == pytest.approx([one.mean / found.chance.mean for one in each])


def test_rows_come_as_asked_and_tied_as_often_as_the_model_has_them(sampler: Sampler) -> None:
    request = asked(sampler, where=LARGE)
    assert request.weights is None and sum(request.shares) == pytest.approx(1)
    drawn = sampler.table(4 * BLOCK, seed=2, request=request)
    assert large(drawn).all()
    equal = drawn["payment"].to_numpy() == drawn["bill"].to_numpy()
    assert request.shares[1] > 0.8 and equal.mean() == pytest.approx(
        request.shares[1], abs=0.01
    )  # no payment is above all that there were
    assert len(set(drawn["payment"].to_numpy()[equal])) > BLOCK
    part = pa.Table.from_batches(sampler.batches(9, seed=2, first=BLOCK - 4, request=request))
    assert part.equals(drawn.slice(BLOCK - 4, 9).combine_chunks())


@pytest.mark.parametrize("where", [None, "word=a"])
def test_a_rare_range_weighs_what_it_is(fresh: Sampler, where: Any) -> None:
    plain = fresh.table(16 * BLOCK, seed=1, request=fresh.ask(where=where) if where else None)
    request = asked(fresh, rare=LARGE, boost=4, where=where)
    drawn = fresh.table(8 * BLOCK, seed=2, request=request)
    event, weight = large(drawn), drawn["_weight"].to_numpy()
    assert event.mean() / large(plain).mean() == pytest.approx(4, rel=0.15)
    assert (weight[event] == 0.25).all() and len(set(weight[~event])) == 1 and weight[~event][0] > 1
    assert weight.mean() == pytest.approx(1, abs=0.03)


def test_classes_under_a_range_weigh_what_they_are(fresh: Sampler) -> None:
    drawn = fresh.table(4 * BLOCK, seed=2, request=asked(fresh, where=LARGE, balance="word: a=0.2, b=0.8"))
    word, weight = np.asarray(drawn["word"]), drawn["_weight"].to_numpy()
    assert large(drawn).all() and (word == "a").mean() == pytest.approx(0.2, abs=0.002)
    usual = fresh.table(4 * BLOCK, seed=3, request=asked(fresh, where=LARGE))
    share = (np.asarray(usual["word"]) == "a").mean()
    assert (weight * (word == "a")).mean() == pytest.approx(share, abs=0.04)
    assert weight.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    "where",
    ["payment=0", "payment is missing", "payment is not missing", "payment>=0", "bill<=20000", [LARGE, "bill<90000"]],
    ids=str,
)
def test_what_can_be_in_one_way_is_asked_for_as_it_is(where: Any) -> None:
    codec = untrained(bills(4000), 0.0).codec
    wanted = parse(where, codec.table)
    [way] = codec.ways(wanted)
    assert way is wanted and asking.key([way]) == asking.key([wanted])


def test_chains_of_ties_are_followed(chained: Sampler) -> None:
    where = "c2>=900000"
    ways = chained.codec.ways(parse(where, chained.schema))
    assert [{name: wanted.tied for name, wanted in way.items()} for way in ways] == [
        {"c2": False}, {"c2": True, "c1": False}, {"c2": True, "c1": True, "c0": None},
    ]  # fmt: skip
    keys = {asking.key([way]) for way in ways}
    assert len(keys) == 3
    request = asked(chained, where=where)
    assert request.shares == pytest.approx((2 / 3, 2 / 9, 1 / 9), abs=0.04)
    assert chance(chained, where).mean == pytest.approx(0.1, rel=0.1)
    assert min(chained.table(BLOCK, request=request)["c2"].to_pylist()) >= 900_000


def test_too_many_ways_are_refused(chained: Sampler) -> None:
    with pytest.raises(
        UserError, match=r"c8>500000: these columns often equal others, .* ask for less at once"
    ) as refused:
        chained.ask(where="c8>500000")
    assert refused.value.part == "where"
