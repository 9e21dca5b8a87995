"""What counts as a collapse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import pytest

from synth.training.collapse import Collapse


def falls(coverages: Sequence[float], losses: Sequence[float | None] | None = None, rows: int = 1000) -> list[int]:
    """How many falls are counted after each check; losses improve by themselves."""
    collapse, counted = Collapse(), []
    for step, coverage in enumerate(coverages):
        loss = 1 / (step + 1) if losses is None else losses[step]
        collapse.seen(step, coverage, rows, 0.97, loss)
        counted.append(collapse.falls)
    return counted


def test_falls_are_counted_from_the_best_and_forgotten_when_it_is_reached_again() -> None:
    assert falls([0.5, 0.9, 0.7, 0.6, 0.65, 0.91, 0.8]) == [0, 0, 1, 2, 3, 0, 1]


def test_what_chance_does_is_no_fall() -> None:
    assert falls([0.9, 0.87, 0.87]) == [0, 0, 0]  # an error of 0.013 and a tenth of 0.9
    assert falls([0.9, 0.8, 0.8]) == [0, 1, 2]
    assert falls([0.9, 0.8, 0.8], rows=50) == [0, 0, 0]


def test_a_fall_while_the_loss_rises_is_no_collapse_and_in_a_game_the_loss_does_not_count() -> None:
    assert falls([0.9, 0.5, 0.4], [1.0, 1.1, 1.2]) == [0, 0, 0]
    assert falls([0.9, 0.5, 0.4], [None] * 3) == [0, 1, 2]


def test_who_never_learnt_has_nothing_to_lose() -> None:
    assert falls([0.2, 0.0, 0.0]) == [0, 0, 0]
    assert falls([0.3, 0.0, 0.0]) == [0, 1, 2]


@pytest.mark.parametrize(("coverage", "kept"), [(0.9, True), (0.88, True), (0.7, False)])
def test_the_newest_checkpoint_is_kept_while_the_coverage_is_at_its_best(coverage: float, kept: bool) -> None:
    collapse = Collapse()
    assert collapse.seen(100, 0.9, 1000, 0.97, 1.0)
    assert collapse.seen(200, coverage, 1000, 0.97, 0.5) == kept
    assert (collapse.best, collapse.step) == (0.9, 100)
    assert Collapse(**json.loads(json.dumps(asdict(collapse)))) == collapse  # as checkpoints keep it


def test_it_is_told_in_words() -> None:
    collapse = Collapse()
    for step, coverage in ((100, 0.93), (200, 0.7), (300, 0.61)):
        collapse.seen(step, coverage, 1000, 0.97, 1 / step)
    fall = "coverage fell from 0.93 (step 100) to 0.61 over 2 checks"
    assert collapse.describe(0.61, 1 / 300) == f"{fall} while the loss went from 0.01 to 0.003333"
    assert collapse.describe(0.61, None) == fall
