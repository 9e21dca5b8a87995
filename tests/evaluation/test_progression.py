"""The report's section on the training."""

from __future__ import annotations

from synth.evaluation.progression import during_training
from synth.provenance.manifest import Check, Diversity, Watched


def watched(*coverages: float, left_out: int = 0, rare: float | None = None) -> Watched:
    real = Diversity(coverage=0.97, rare=rare, modes=1, tails=0.02, duplicates=0.01)
    shared = {"rare": rare, "modes": 0.9, "tails": 0.03, "duplicates": 0.02}
    checks = [Check(step=100 * (i + 1), loss=1 / (i + 1), coverage=c, **shared) for i, c in enumerate(coverages)]
    return Watched(part="select", rows=500, left_out=left_out, real=real, checks=checks)


def test_each_figure_has_a_chart_with_every_check_and_the_real_rows() -> None:
    html = during_training(watched(0.5, 0.93, 0.61, left_out=3))
    assert html.count("<svg") == 4 and "Rare states" not in html
    assert during_training(watched(0.5, rare=0.4)).count("<svg") == 5
    for said in (
        "step 100: 50.0%",
        "step 200: 93.0%",
        "step 300: 61.0%",
        "Coverage during training: from 50.0% to 61.0%",
    ):
        assert said in html
    assert "61.0%, real 97.0%" in html and "500 rows at a time" in html and "3 more hold" in html
    # Of 50, 93 and 61 % the second is drawn highest, and below the line of the real rows.
    heights = [float(dot.partition('"')[0]) for dot in html.split("<svg")[1].split('cy="')[1:]]
    assert heights[1] < heights[2] < heights[0]


def test_one_check_alone_is_drawn() -> None:
    html = during_training(watched(0.0))
    assert "nan" not in html and "more hold" not in html
