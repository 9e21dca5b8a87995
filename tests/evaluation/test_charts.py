"""Pictures of what there is nothing to see in."""

from __future__ import annotations

from synth.evaluation import charts
from synth.evaluation.figures import Figure


def test_scores_that_are_all_no_better_than_chance_are_drawn() -> None:
    chance = Figure.model_construct(
        value=0.5, low=0.5, high=0.5, baseline=0.5, baseline_low=0.5, baseline_high=0.5, title="AUC", unit=""
    )
    assert "<svg" in charts.scores([("boosting", chance)], 0.5)
