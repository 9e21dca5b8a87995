"""The arithmetic of restricted drawing, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from synth.generators.base import Draw
from synth.generators.given import (
    Given,
    choose,
    draw_state,
    draw_states,
    log_mass_between,
    log_masses,
    normal_between,
)

SIZES = (2, 5, 3)
OF = torch.arange(3).repeat_interleave(torch.tensor(SIZES))


def some(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits as far apart as networks' are, and states of which each cell may take some, one of them in part."""
    logits = 30 * Draw("logits").normal(rows, sum(SIZES))
    states = (Draw("states").uniform(rows, sum(SIZES)) < 0.5).float()
    states[:, [1, 4, 8]] = 1.0
    states[:, 5] *= 0.25
    return logits, states


def test_masses_side_by_side_equal_those_of_each_cell() -> None:
    logits, states = some(50)
    expected = [
        (part.double().softmax(1) * share).sum(1)
        for part, share in zip(logits.split(SIZES, 1), states.split(SIZES, 1), strict=True)
    ]
    masses = log_masses(logits, states, OF, 3).double().exp()
    torch.testing.assert_close(masses, torch.stack(expected, 1), rtol=1e-4, atol=0)


def test_states_are_drawn_in_proportion_and_never_where_they_are_not_allowed() -> None:
    probabilities = torch.tensor([0.3, 0.7, 0.1, 0.2, 0.3, 0.15, 0.25, 0.5, 0.3, 0.2])
    states = torch.tensor([1.0, 1, 0, 1, 0.5, 1, 0, 0, 1, 0])
    rows = 4000
    drawn = draw_states(
        probabilities.log().expand(rows, -1), states.expand(rows, -1), Draw(1).stratified(rows, 3), OF
    )  # fmt: skip
    counts = torch.stack([torch.bincount(drawn[:, c], minlength=5)[:5] for c in range(3)]).float() / rows
    torch.testing.assert_close(counts[0, :2], probabilities[:2], atol=2e-3, rtol=0)
    torch.testing.assert_close(counts[1], torch.tensor([0, 0.2, 0.15, 0.15, 0]) / 0.5, atol=2e-3, rtol=0)
    assert counts[2].tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("point", [0.0, 1 - 2**-24])
def test_no_rounding_leads_to_a_state_that_is_not_allowed(point: float) -> None:
    logits, states = some(2000)
    drawn = draw_states(logits, states, torch.full((2000, 3), point), OF)
    first = torch.tensor([0, 2, 7])
    assert bool((states.gather(1, drawn + first) > 0).all())
    assert bool(((drawn >= 0) & (drawn < torch.tensor(SIZES))).all())


def test_one_cell_tells_the_mass_it_was_drawn_from() -> None:
    logits, states = some(50)
    drawn, mass = draw_state(logits[:, 2:7], states[:, 2:7], Draw(2).uniform(50, 1)[:, 0])
    torch.testing.assert_close(mass, log_masses(logits, states, OF, 3)[:, 1], rtol=1e-4, atol=1e-4)
    assert bool((states[:, 2:7].gather(1, drawn[:, None]) > 0).all())


def test_the_best_of_weighted_candidates_is_a_draw_from_the_condition() -> None:
    # Two equal coins, each restricted alone, of which the second depends on the first: p(1|0) = 0.1, p(1|1) = 0.9.
    rows, candidates = 20_000, 16
    coin = (Draw(3).uniform(rows, candidates) < 0.5).long()
    mass = torch.where(coin == 1, 0.9, 0.1).log()  # that the second coin shows 1
    kept = coin.gather(1, choose(mass, Draw(4).uniform(rows, 1)[:, 0])[:, None])
    assert float(kept.float().mean()) == pytest.approx(0.9, abs=0.03)  # biased by the sixteenth at most
    assert float(mass.exp().mean()) == pytest.approx(0.5, abs=0.01)  # the probability of the condition


@pytest.mark.parametrize(("low", "high"), [(-math.inf, -1.0), (0.5, 0.6), (5.0, math.inf), (-8.0, -7.9), (7.9, 8.0)])
def test_a_bounded_normal_number_lies_between_its_bounds(low: float, high: float) -> None:
    u = Draw(5).stratified(5000, 1)[:, 0]
    drawn = normal_between(torch.full((5000,), low), torch.full((5000,), high), u)
    assert low <= float(drawn.min()) and float(drawn.max()) <= high and bool(drawn.isfinite().all())
    density = lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    mass = 0.5 * math.erfc(low / math.sqrt(2)) - 0.5 * math.erfc(high / math.sqrt(2)) if low > 0 else (
        0.5 * math.erfc(-high / math.sqrt(2)) - 0.5 * math.erfc(-low / math.sqrt(2))
    )  # fmt: skip
    assert float(drawn.mean()) == pytest.approx((density(low) - density(high)) / mass, rel=2e-3)
    assert float(log_mass_between(torch.tensor(low), torch.tensor(high))) == pytest.approx(math.log(mass), rel=1e-3)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_a_bounded_normal_number_is_finite_wherever_its_bounds_are(uniform: float) -> None:
    inf = math.inf
    low, high = torch.tensor([-inf, -inf, 1.0, 60.0, 60.0, -inf]), torch.tensor([inf, 1.0, inf, inf, 61.0, -60.0])
    drawn = normal_between(low, high, torch.full((6,), uniform))
    assert bool(((low <= drawn) & (drawn <= high) & drawn.isfinite()).all())
    assert drawn[3:].tolist() == [60.0, 60.0, -60.0]  # beyond any number's share, all lies at the nearer bound


def test_what_never_comes_has_no_mass_and_is_drawn_only_where_nothing_else_is_allowed() -> None:
    logits = torch.tensor([[0.0, -math.inf, -math.inf, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    states = torch.ones(1, 10)
    states[0, 0] = 0
    assert log_masses(logits, states, OF, 3).tolist() == [[-math.inf, 0.0, 0.0]]
    for point in (0.0, 0.5, 1 - 2**-24):
        first, second, _ = draw_states(logits, states, torch.full((1, 3), point), OF)[0].tolist()
        assert first == 1 and second != 0
    assert choose(torch.full((1, 4), -math.inf), torch.tensor([0.6])).tolist() == [2]


def test_what_is_known_free_and_bounded() -> None:
    states = torch.ones(2, sum(SIZES))
    states[0, 2:6] = 0
    states[1, 8] = 0.5
    inf = math.inf
    given = Given(states, torch.tensor([[1.0, -inf], [0.0, -inf]]), torch.tensor([[1.0, inf], [inf, inf]]))
    assert given.known_cells(OF, 3).tolist() == [[False, True, False], [False, False, False]]
    assert given.free_cells(OF, 3).tolist() == [[True, False, True], [True, True, False]]
    assert given.known_values.tolist() == [[True, False], [False, False]]
    assert given.bounded_values.tolist() == [[False, False], [True, False]]
