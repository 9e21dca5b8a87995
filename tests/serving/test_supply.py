"""Fresh rows are new ones, each given out once, under the same request; and the time that may go into them is bounded."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from serving.monitor import supply as supply_module
from serving.monitor.supply import FREE, REQUESTS, SAVED, SHARE, Budget, Supply
from serving.monitor.view import View
from synth import release as releases
from synth.sampling import BLOCK, Sampler

OVER_40 = '{"where":"age>=40"}'
Make = Callable[..., Supply]


@pytest.fixture(scope="module")
def people_view(people: Path, sampler: Sampler) -> View:
    reference = releases.load(str(people)).reference
    assert reference is not None
    return View(sampler.schema, reference, sampler.codec.reduction.broken)


@pytest.fixture
def make(people_view: View, sampler: Sampler) -> Make:
    def make(seed: int = 99, earned: float = 1e9) -> Supply:
        budget = Budget()
        budget.earned = earned
        return Supply(sampler, people_view, seed, budget)

    return make


def features(view: View, sampler: Sampler, text: str, position: int, rows: int) -> np.ndarray:
    """Of rows of blocks that each have a seed of their own, from the one at ``position`` on."""
    request = None if not text else sampler.ask(where="age>=40")
    blocks = [sampler.batches(BLOCK, seed=99 + position + k, request=request) for k in range(-(-rows // BLOCK))]
    return np.concatenate([view(pa.Table.from_batches(block)).features for block in blocks])[:rows]


def test_each_row_is_given_out_once(make: Make, people_view: View, sampler: Sampler) -> None:
    supply = make()
    first = supply.position
    given = np.concatenate([supply.take("", rows) for rows in (1, 100, 1_500, 400)])
    assert np.array_equal(given, features(people_view, sampler, "", first, 2_001))


def test_rows_are_those_of_the_request(make: Make, people_view: View, sampler: Sampler) -> None:
    supply = make()
    first = supply.position
    assert np.array_equal(supply.take(OVER_40, 600), features(people_view, sampler, OVER_40, first, 600))
    assert np.array_equal(supply.take("", 10), features(people_view, sampler, "", first + 1, 10))
    assert np.array_equal(supply.take(OVER_40, 424), features(people_view, sampler, OVER_40, first, 1_024)[600:])


def test_a_request_that_was_forgotten_gets_new_rows(make: Make, people_view: View, sampler: Sampler) -> None:
    supply = make()
    supply.take(OVER_40, 5)
    for k in range(REQUESTS):
        supply.take(json.dumps({"where": f"age>={41 + k}"}), 1)
    assert OVER_40 not in supply.kept and len(supply.kept) == REQUESTS
    first = supply.position
    assert first == 1 + REQUESTS + 1
    assert np.array_equal(supply.take(OVER_40, 5), features(people_view, sampler, OVER_40, first, 5))


def test_fresh_rows_are_never_those_of_the_reference(make: Make, people_view: View, sampler: Sampler) -> None:
    """Nor where nothing is asked in so many words, and the release was certified by the monitor's own seed."""
    supply = make(seed=99)
    first = supply.position
    assert first == 1 and np.array_equal(supply.take('{"where":[]}', 50), features(people_view, sampler, "", 1, 50))
    assert not np.array_equal(features(people_view, sampler, "", 1, 50), features(people_view, sampler, "", 0, 50))


def test_the_first_rows_are_free_and_the_others_paid_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    supply = make(earned=0.0)
    assert len(supply.take("", FREE + 5)) == FREE and supply.budget.spent == 0.0
    assert len(supply.take("", 5)) == 0
    supply.budget.earned = 1.5 * supply.block_s
    assert len(supply.take("", 5)) == 0, "which is saved"
    assert len(supply.take("", 5, odd=True)) == 5 and supply.budget.spent > 0
    assert len(supply.take("", 10 * BLOCK, odd=True)) < 10 * BLOCK
    assert supply.budget.spent < supply.budget.earned + supply.block_s


def test_what_is_beyond_the_savings_is_spent_as_it_comes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.count()  # so that each block takes a second
    monkeypatch.setattr(supply_module.time, "thread_time", lambda: float(next(moments)))
    supply = make(earned=0.0)
    supply.take("", FREE)
    supply.budget.earned = SAVED / BLOCK + 1
    assert len(supply.take("", 5)) == 0
    supply.budget.earned += 0.5
    assert len(supply.take("", BLOCK + 5)) == BLOCK
    assert supply.budget.left == SAVED / BLOCK + 0.5


def test_a_budget_is_a_share_of_what_sampling_takes() -> None:
    budget = Budget()
    budget.earn(10.0)
    assert budget.left == pytest.approx(10 * SHARE)
    with budget.charged():
        deadline = time.thread_time() + 0.05
        while time.thread_time() < deadline:
            pass
        time.sleep(0.05)  # which costs nothing
    assert 0.05 <= budget.spent < 0.09
    with pytest.raises(KeyError), budget.charged():
        raise KeyError
    assert supply_module.SHARE == 0.05
