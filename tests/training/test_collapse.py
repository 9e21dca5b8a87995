"""What counts as a collapse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import pytest

from synth.provenance.manifest import Diversity
from synth.training.collapse import Collapse, Modes


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


def watched(figures: Sequence[tuple[float, float]], rows: int = 1000, modes: int = 50) -> tuple[list[int], str | None]:
    """How many checks the (coverage, modes) have been stuck for after each, and what the run has come to."""
    seen, stuck, real = Modes(), [], diversity(0.97, 1.0)
    for number, (coverage, share) in enumerate(figures, start=1):
        found = diversity(coverage, share)
        seen.seen(number, found, real, rows, modes, number / len(figures))
        stuck.append(seen.stuck)
    return stuck, seen.describe(found, real, 3)


def diversity(coverage: float, modes: float) -> Diversity:
    return Diversity(coverage=coverage, rare=None, modes=modes, tails=None, duplicates=0.01)


# As (coverage, modes) at ten checks; those of the grid are of GANs of 25 Gaussians, with the cures and without, shortened.
RUNS: dict[str, list[tuple[float, float]]] = {
    "grid, cured, stopped early": [
        (0.05, 0.86), (0.06, 0.94), (0.09, 0.90), (0.07, 0.94), (0.12, 0.96), (0.16, 0.94), (0.20, 0.96), (0.20, 0.98),
        (0.23, 0.96), (0.21, 0.98)],
    "grid, plain": [
        (0.07, 0.92), (0.11, 0.86), (0.17, 0.78), (0.17, 0.74), (0.22, 0.76), (0.25, 0.72), (0.28, 0.68), (0.34, 0.70),
        (0.35, 0.64), (0.36, 0.62)],
    "four modes from the start": [(0.08, 0.10)] * 3 + [(0.10, 0.10), (0.11, 0.08), (0.10, 0.10)] + [(0.11, 0.10)] * 4,
    "a few, one after the other": [
        (0.03, 0.04), (0.05, 0.06), (0.04, 0.06), (0.06, 0.06), (0.08, 0.10), (0.13, 0.14), (0.18, 0.22), (0.26, 0.34),
        (0.33, 0.40), (0.40, 0.46)],
    "all at once, and late": [(0.01, 0.04)] * 6 + [(0.02, 0.04), (0.30, 0.40), (0.70, 0.90), (0.90, 1.0)],
    "few at first, then all": [
        (0.02, 0.04), (0.05, 0.10), (0.20, 0.34), (0.45, 0.60), (0.70, 0.86)] + [(0.85, 0.96), (0.93, 1.0)] * 2 + [(0.94, 1.0)],
    "blur": [(0.0, 0.9), (0.0, 1.0), (0.01, 0.96)] + [(0.02, 1.0)] * 7,
    "modes lost while the rest improves": [(0.6, 1.0)] + [(0.7, 0.9), (0.72, 0.8)] * 2 + [(0.74, 0.7)] * 5,
    "well": [(0.5, 0.9), (0.8, 1.0)] + [(0.95, 1.0), (0.96, 0.98)] * 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("run", "most", "came_to"),
    [
        ("grid, cured, stopped early", 0, "most was not learnt"),
        ("grid, plain", 0, "a collapse, since they had 92% of the modes at step 1"),  # and it gains by going on
        ("four modes from the start", 5, "a collapse onto few modes"),
        ("a few, one after the other", 0, "a collapse onto few modes"),
        ("all at once, and late", 2, None),
        ("few at first, then all", 0, None),
        ("blur", 0, "most was not learnt"),
        ("modes lost while the rest improves", 0, "a collapse, since they had 100% of the modes at step 1"),
        ("well", 0, None),
    ],
)
def test_few_modes_that_stay_few_are_a_collapse_and_a_slow_start_is_none(
    run: str, most: int, came_to: str | None
) -> None:
    stuck, ends_with = watched(RUNS[run])
    assert max(stuck) == most and ends_with == came_to


def test_of_few_rows_chance_is_no_rise_and_of_few_modes_no_fall() -> None:
    assert watched([(0.03, 0.2), (0.05, 0.2)] * 5, rows=100, modes=5)[0][-1] == 5
    assert watched([(0.5, 1.0)] + [(0.5, 0.8)] * 9, rows=100, modes=5)[1] is None


def test_what_is_remembered_of_modes_is_kept_as_json() -> None:
    seen = Modes()
    seen.seen(5, diversity(0.1, 0.2), diversity(0.9, 1.0), 1000, 50, 0.5)
    assert seen.since == 5 and Modes(**json.loads(json.dumps(asdict(seen)))) == seen
