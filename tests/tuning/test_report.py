from __future__ import annotations

import re
from typing import get_args

import pytest

from tests.evaluation.test_report import checked
from tests.tuning.studies import Stage, study
from tuning.record import Look, Study
from tuning.report import render

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"
THREE = ("utility", "coverage", "privacy")


def section(html: str, heading: str) -> str:
    return html.split(f"<h2>{heading}</h2>")[1].split("<h2>")[0]


@pytest.mark.parametrize("stage", get_args(Stage))
def test_it_can_be_drawn_at_any_moment_and_fetches_nothing(stage: Stage) -> None:
    s = study(stage, objective=THREE)
    html = render(s)
    page = checked(html)
    assert not re.search(r"https?:|//|url\(|@import", html.replace("</", "<").replace("s3://", ""))
    assert not {"link", "iframe", "img", "object"} & {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert all(a.get("aria-label") or a.get("aria-hidden") for tag, a in page.tags if tag == "svg")
    assert ("Learning curves" in html) == (stage not in ("empty", "started"))
    trials = {a["data-trial"] for tag, a in page.tags if tag == "span" and "data-trial" in a}
    assert trials == {str(t.number) for t in s.trials}


def test_a_finished_study_shows_what_was_decided_and_how_far_to_trust_it() -> None:
    s = study(objective=THREE)
    html, chosen = render(s), next(f for f in s.finalists if f.released)
    finalists = section(html, "Finalists")
    assert "one standard error below the best" in finalists and "the default recipe" in finalists
    assert f"{chosen.value:.4f} ± {chosen.error:.4f}" in finalists
    assert len(re.findall(r'class="ring"', finalists)) == 1
    assert "flattered it by 0.0042" in section(html, "Optimism")
    curves = section(html, "Learning curves")
    assert curves.count('class="line"') - curves.count('viewBox="0 0 34 12"') == sum(
        bool(t.curve) and t.origin != "sampling" for t in s.trials
    )
    assert section(html, "Looks").count("<tr><th") == 1 + len(s.looks)
    assert "2 rows without a target were left out" in section(html, "Notes")
    front = section(html, "Pareto front")
    assert all(f"{a} against {b}" in front for a, b in (("coverage", "utility"), ("privacy", "utility")))
    assert "trained to the end" in section(html, "Expected and reached")


def test_one_objective_has_no_front_and_few_trials_no_importance() -> None:
    s = study("searching")
    s.trials = s.trials[:6]
    html = render(s)
    assert "Pareto" not in html
    assert "5 scored trials are too few to tell: it takes 8 or more." in section(html, "Importance of the knobs")


def hostile_study() -> Study:
    s = study(objective=THREE)
    trials = [t.model_copy(update={"why": HOSTILE, "failure": HOSTILE}) for t in s.trials]
    finalists = [f.model_copy(update={"why": HOSTILE}) for f in s.finalists]
    looks = [Look(part="test", what=HOSTILE, samples=1, at=s.created)]
    changes = {"data": HOSTILE, "target": HOSTILE, "release": HOSTILE, "notes": [HOSTILE], "id": HOSTILE,
               "real": {HOSTILE: 0.9}, "rows": {HOSTILE: 9}}  # fmt: skip
    return s.model_copy(update={"trials": trials, "finalists": finalists, "looks": looks, **changes})


def test_what_comes_from_outside_is_escaped() -> None:
    html = render(hostile_study())
    page = checked(html)
    assert [tag for tag, _ in page.tags].count("script") == 1 and "img" not in {tag for tag, _ in page.tags}
    assert html.count("&lt;script&gt;alert") > 50


def test_knobs_outside_the_space_and_beyond_its_ranges_are_drawn_and_told() -> None:
    s = study("searching")
    s.trials[0].knobs |= {"diffusion.expansion": 3, "diffusion.dropout": 0.6}
    del s.trials[2].knobs["training.ema"]  # as where it was fixed for part of the search
    html = render(s)
    checked(html)
    assert "expansion 3, dropout 0.6" in section(html, "Trials")


def test_trials_alike_in_everything_are_drawn() -> None:
    s = study("searching")
    s.trials = [s.trials[0].model_copy(update={"number": n}) for n in range(9)]
    checked(render(s))


def test_importance_is_drawn_where_a_forest_can_tell_and_else_it_is_said_that_none_can() -> None:
    told = section(render(study(trials=60)), "Importance of the knobs")
    assert "training.learning_rate" in told and "predicts 27% of the variance" in told
    assert "hardly predicts" in section(render(study(trials=16)), "Importance of the knobs")
