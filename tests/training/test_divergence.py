"""What counts as divergence, and how often a run is tried again."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from synth.training.divergence import Divergence


@pytest.mark.parametrize(("loss", "diverged"), [(1.0, False), (19.9, False), (20.1, True), (math.nan, True)])
def test_a_loss_is_held_against_the_first(loss: float, diverged: bool) -> None:
    divergence = Divergence()
    assert not divergence.seen(2.0)
    assert divergence.seen(loss) == diverged
    assert divergence.first == 2.0


def test_a_first_loss_that_is_no_number_is_no_measure() -> None:
    divergence = Divergence()
    assert divergence.seen(math.inf) and divergence.first is None
    assert divergence.describe(1, math.inf) == "step 1: the loss was inf"


def test_a_loss_against_other_networks_may_be_of_any_size_but_must_be_a_number() -> None:
    divergence = Divergence()
    assert not any(divergence.seen(loss, relative=True) for loss in (0.001, 50.0, -50.0))
    assert divergence.seen(math.nan, relative=True)


def test_each_return_is_slower_and_two_are_all() -> None:
    divergence = Divergence()
    shares = []
    while not divergence.exhausted:
        shares.append(divergence.share)
        divergence.returns += 1
    assert [*shares, divergence.share] == pytest.approx([1, 1 / 3, 1 / 9])
    assert Divergence(**asdict(divergence)) == divergence  # as checkpoints keep it
