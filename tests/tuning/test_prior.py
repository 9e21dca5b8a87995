from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from synth.recipe import Recipe
from tests.tuning.world import table, worth
from tuning import space
from tuning.memory import Past, Point, Tried
from tuning.prior import Prior, matched
from tuning.surrogate import Surrogate, rank_of

FAMILIES = ["diffusion", "vae"]


@pytest.fixture(scope="module")
def wide(pasts: list[Past]) -> Prior:
    """What is known of a wide table, which none of the past ones is."""
    return Prior(pasts, table(0.83), FAMILIES, seconds=20)


def test_ranks_are_shares_of_what_is_better() -> None:
    assert rank_of([3, 1, 2], [3, 1, 2]).tolist() == pytest.approx([1 / 6, 5 / 6, 1 / 2])
    assert rank_of([9, 2.5, 0], [3, 1, 2]).tolist() == pytest.approx([0, 1 / 3, 1])
    assert rank_of([1, 1], [1, 1]).tolist() == [0.5, 0.5]
    assert rank_of([math.nan, 5, math.nan], [math.nan, 5, math.nan]).tolist() == pytest.approx([2 / 3, 1 / 6, 2 / 3])


def test_the_portfolio_covers_data_sets_that_want_different_recipes(study: Callable[..., Past]) -> None:
    """Two recipes are best on half of the tables each; a third is second everywhere, and adds nothing to them."""
    rng = np.random.default_rng(0)
    left, right, middle, poor = (space.random_knobs("diffusion", rng) for _ in range(4))
    scores = {0: (1.0, 0.2, 0.9), 1: (0.2, 1.0, 0.9)}
    pasts = [
        replace(
            study(0.5, seed),
            trials=tuple(
                Tried(knobs, "drawn", 0, "done", (Point(20, 1, value, 0),))
                for knobs, value in zip((left, right, middle, poor), (*scores[seed % 2], 0.0), strict=True)
            ),
        )
        for seed in range(4)
    ]
    found = Prior(pasts, table(0.5), ["diffusion"], seconds=20).portfolio(3, among=[poor, middle, right, left])
    assert found[0].knobs == middle or found[0].knobs in (left, right)
    assert {str(s.knobs) for s in found[1:]} | {str(found[0].knobs)} >= {str(left), str(right)}
    assert poor not in [s.knobs for s in found]
    assert {s.origin for s in found} == {"portfolio"}


def test_without_a_memory_the_defaults_come_first_and_then_chance(defaults: dict[str, space.Knobs]) -> None:
    empty = Prior([], table(0.5), ["vae", "gan"], seconds=20)
    assert [s.knobs for s in empty.portfolio(5)] == [defaults["vae"], defaults["gan"]]
    assert empty.portfolio(1)[0].origin == "default" and empty.portfolio(1)[0].expected is None
    told = [(defaults["vae"], 0.9), (defaults["gan"], math.nan)]
    found = empty.propose(np.random.default_rng(0), 3, told)
    assert len({str(s.knobs) for s in found}) == 3
    assert all(s.knobs["family"] in ("vae", "gan") and s.expected is None for s in found)
    assert empty.recommend().near == [] and empty.recommend().matters == {}


def test_a_past_of_failures_alone_is_no_memory(study: Callable[..., Past]) -> None:
    lost = study(0.5, 0, count=1)
    assert Prior([lost], table(0.5), FAMILIES, seconds=20).surrogate is None


def test_it_learns_what_a_table_it_has_not_seen_wants(wide: Prior, pasts: list[Past]) -> None:
    narrow = Prior(pasts, table(0.15), FAMILIES, seconds=20)
    rng = np.random.default_rng(7)
    for prior, where in ((wide, 0.83), (narrow, 0.15)):
        drawn = [space.random_knobs(FAMILIES[k % 2], rng) for k in range(60)]
        chance = np.mean([worth(where, knobs) for knobs in drawn])
        proposed = [worth(where, s.knobs) for s in prior.propose(rng, 5, [])]
        assert np.mean(proposed) > chance + 0.1, where
        assert max(worth(where, s.knobs) for s in prior.portfolio(3)) > 0.95
        expected, _ = prior.expected_ranks(drawn)
        assert np.corrcoef(expected, [worth(where, knobs) for knobs in drawn])[0, 1] < -0.6


def test_the_value_is_predicted_with_an_error_that_holds(wide: Prior) -> None:
    rng = np.random.default_rng(8)
    drawn = [space.random_knobs(FAMILIES[k % 2], rng) for k in range(60)]
    found = wide.expected(drawn)
    missed = np.array([value - worth(0.83, k) for k, (value, _) in zip(drawn, found, strict=True)])
    errors = np.array([error for _, error in found])
    assert (np.abs(missed) <= 2 * errors).mean() > 0.85
    assert errors.max() < 0.25
    # After a tenth of the time a trial stands a tenth lower in this world, and that is expected of it.
    assert wide.surrogate is not None
    early = wide.surrogate.values(wide.features, drawn, 2.0)[0]
    assert np.mean([v for v, _ in found] - early) == pytest.approx(0.1, abs=0.05)


def test_this_studys_results_change_what_is_proposed(wide: Prior) -> None:
    """Diffusion fails on this table, whatever was learnt elsewhere."""
    rng = np.random.default_rng(9)
    before = wide.propose(rng, 6, [])
    assert sum(s.knobs["family"] == "diffusion" for s in before) >= 5
    told = [(s.knobs, math.nan) for s in before]
    told += [(space.random_knobs("vae", rng), 0.8 + 0.01 * k) for k in range(8)]
    after = wide.propose(rng, 6, told)
    assert sum(s.knobs["family"] == "vae" for s in after) >= 4


def test_nothing_is_proposed_twice(wide: Prior) -> None:
    rng = np.random.default_rng(10)
    pool = [space.random_knobs("vae", rng) for _ in range(6)]
    told = [(knobs, 0.5) for knobs in pool[:3]]
    found = wide.propose(rng, 9, told, among=pool)
    assert sorted(str(s.knobs) for s in found) == sorted(str(knobs) for knobs in pool[3:])
    assert wide.propose(rng, 1, told, running=pool[3:], among=pool) == []
    (last,) = wide.propose(rng, 9, told, running=pool[4:], among=pool)
    assert last.knobs == pool[3]
    assert len({str(s.knobs) for s in wide.portfolio(50)}) == len(wide.portfolio(50)) > 10


def test_what_is_fixed_stays(pasts: list[Past]) -> None:
    fixed = {"training.batch": 128, "diffusion.width": 300, "gan.width": 64}
    prior = Prior(pasts, table(0.5), ["diffusion"], seconds=20, fixed=fixed)
    found = [*prior.portfolio(5), *prior.propose(np.random.default_rng(0), 5, []), prior.recommend().suggestion]
    for suggestion in found:
        assert suggestion.knobs["family"] == "diffusion"
        assert (suggestion.knobs["training.batch"], suggestion.knobs["diffusion.width"]) == (128, 300)
        assert "gan.width" not in suggestion.knobs
        assert space.recipe_of(Recipe(), suggestion.knobs).diffusion.width == 300
    assert "training.batch" not in prior.recommend().matters


def test_a_recommendation_says_what_it_rests_on(wide: Prior) -> None:
    found = wide.recommend()
    assert worth(0.83, found.suggestion.knobs) > 0.9
    value, error = found.suggestion.expected or (0, 0)
    assert abs(value - worth(0.83, found.suggestion.knobs)) < 3 * error
    assert {features["log_columns"] for _, features in found.near[:2]} == {0.8, 0.85}
    assert next(iter(found.matters)) == "training.learning_rate"
    first, like, matters, expected = found.reasons()
    assert "8 remembered data sets" in first
    assert like.startswith("Those most like this one: 2,000 rows × 2 columns, 0 of them numbers, 1 classes to predict")
    assert "training.learning_rate=" in matters
    assert f"{value:.3f} ±" in expected


def test_only_the_order_of_this_studys_values_speaks() -> None:
    expected = np.array([0.2, 0.1, 0.7, 0.4])
    assert matched([1.0, 3.0, 2.0, math.nan], expected).tolist() == pytest.approx([0.4, 0.1, 0.2, 0.7])
    assert matched([-100, 5, 4, -math.inf], expected).tolist() == pytest.approx([0.4, 0.1, 0.2, 0.7])
    assert matched([2.0, 2.0, 1.0, 1.0], expected).tolist() == pytest.approx([0.15, 0.15, 0.55, 0.55])
    assert matched([0.3], np.array([0.6])).tolist() == [0.6]


def test_one_data_set_is_enough_to_begin_with(pasts: list[Past]) -> None:
    """Nothing says how it errs on another table, so the spread of all values stands for it."""
    found = Surrogate(pasts[:1])
    values = [point.value for trial in pasts[0].trials for point in trial.curve]
    _, error = found.values(pasts[0].features, [pasts[0].trials[0].knobs], 20)
    assert error[0] > 0.3 * np.std(values)
    assert found.rank_error == pytest.approx(0.3, abs=0.1)
