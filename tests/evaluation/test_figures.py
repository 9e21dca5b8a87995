from __future__ import annotations

import pytest

from synth.evaluation.figures import figure
from synth.evaluation.intervals import Estimate, share


@pytest.mark.parametrize(("hits", "as_good"), [(8, True), (40, False)])
def test_shares_near_nothing_are_compared_by_the_arms_between_them(hits: int, as_good: bool) -> None:
    # Fisher's exact test of 8 in 10,000 against 0 in 4,000: p = 0.11 two-sided; of 40 it is below 0.0001.
    assert figure("exact_copies", share(hits, 10_000), share(0, 4_000)).as_good_as_real is as_good


@pytest.mark.parametrize(
    ("name", "value", "as_good"),
    [
        ("utility", Estimate(0.98, 0.96, 1.01), True),
        ("utility", Estimate(0.98, 0.96, 0.99), False),
        ("utility", Estimate(1.05, 1.04, 1.06), True),
        ("c2st_tree", Estimate(1.05, 1.04, 1.06), False),
        ("shape_error", Estimate(1.05, 1.04, 1.06), False),
        ("shape_error", Estimate(0.95, 0.9, 0.96), True),
    ],
)
def test_a_figure_is_worse_where_its_interval_ends_on_the_wrong_side(name: str, value: Estimate, as_good: bool) -> None:
    assert figure(name, value, Estimate(1, 1, 1)).as_good_as_real is as_good


def test_of_a_larger_sample_the_value_at_equal_numbers_is_judged_and_is_as_uncertain_as_the_baseline() -> None:
    value, baseline = Estimate(0.5, 0.49, 0.51), Estimate(1.0, 0.8, 1.2)
    assert figure("shape_error", value, baseline, Estimate(1.25, 0, 0)).as_good_as_real
    assert not figure("shape_error", value, baseline, Estimate(1.3, 0, 0)).as_good_as_real
