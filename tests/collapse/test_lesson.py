"""What a study is said to teach."""

from __future__ import annotations

import math

import pytest

from synth.collapse import lesson
from synth.collapse.record import Asked, Chain, Study
from synth.collapse.report import render

COURSES = {
    "replace": [1.0, 0.97, 0.93], "mix:0.1": [1.0, 0.985, 0.95], "mix:0.5": [1.0, 0.99, 0.985],
    "accumulate": [1.0, 0.999, 0.99], "real": [1.0, 1.001, 0.999],
}  # fmt: skip


def study(
    courses: dict[str, list[float]] = COURSES,
    *,
    figure: str = "utility",
    seeds: int = 2,
    upto: int = 3,
    noise: float = 0.0,
) -> Study:
    """Of courses that each seed follows, but for noise of either sign."""
    asked = Asked(family="mixture", policies=list(courses), generations=2, seeds=seeds, rows=500, seed=0)

    def figures(policy: str, seed: int) -> list[dict[str, float]]:
        strays = [0.0] + [noise * (-1) ** seed] * 2
        return [{figure: (0.9 + 0.001 * seed) * (v + e)} for v, e in zip(courses[policy][:upto], strays, strict=False)]

    found = [Chain(policy=p, seed=s, figures=figures(p, s), seconds=[1.0] * upto) for p, s in asked.chains]
    return Study(
        data="<b>x</b>.csv",
        target="y",
        asked=asked,
        rows={"real": 900},
        real={figure: 0.95},
        notes=["<i>note"],
        found=found,
    )


def test_generations_that_are_borne_are_counted_up_to_the_first_that_is_not() -> None:
    found = study(COURSES | {"fresh:golden": [1.0, 0.9, 1.0]})
    assert [lesson.borne(found, p) for p in found.asked.policies] == [0, 1, 2, 2, 2, 0]


@pytest.mark.parametrize(("noise", "count"), [(0.0, 1), (0.02, 1), (0.04, 2)])
def test_what_is_no_more_than_chance_is_borne(noise: float, count: int) -> None:
    """0.95 ± 0.04 may as well be 0.98; of two seeds the error is how far each is from their mean."""
    assert lesson.borne(study({"mix:0.1": COURSES["mix:0.1"]}, noise=noise), "mix:0.1") == count


@pytest.mark.parametrize(
    ("courses", "between"),
    [
        (COURSES, (0.1, 0.5)),
        ({k: v for k, v in COURSES.items() if k != "mix:0.1"}, (0.0, 0.5)),
        ({k: v for k, v in COURSES.items() if k == "mix:0.5"}, (None, 0.5)),
        (COURSES | {"replace": [1.0, 1.0, 0.99], "mix:0.1": [1.0, 1.0, 1.0]}, (None, 0.0)),
        (COURSES | {"mix:0.5": [1.0, 0.9, 0.9]}, None),
        (COURSES | {"mix:0.5": [1.0, 0.9, 1.0]}, None),  # lost on the way, though not at the end
        (COURSES | {"replace": [1.0, 1.0, 0.99]}, (0.1, 0.5)),  # a smaller share that does better does so by chance
    ],
)
def test_the_share_of_real_rows_lies_between_the_last_that_fails_and_the_first_that_does_not(
    courses: dict[str, list[float]], between: tuple[float | None, float] | None
) -> None:
    assert lesson.needed(study(courses)) == between


def test_it_is_said_in_words() -> None:
    said = " ".join(lesson.sentences(study()))
    assert "Within 2% of the utility of generation 0: replace bears 0 of 2 (-7.0% at the last)" in said
    assert "mix:0.1 bears 1 of 2 (-5.0% at the last)" in said
    assert "All 2 generations keep within 2% of the utility of generation 0 under mix:0.5 and accumulate." in said
    assert "A share of real rows of 10 % is too small for that, and 50 % is enough." in said
    assert "it strays by 0.1% at most and bears 2 of 2: so much is chance" in said


def test_without_a_target_coverage_decides() -> None:
    found = study(figure="coverage")
    assert lesson.headline(found) == "coverage" and "of the coverage of generation 0" in lesson.sentences(found)[0]


def test_the_page_says_it_and_escapes_what_comes_from_outside() -> None:
    page = render(study())
    assert "replace bears 0 of 2" in page and "<b>x</b>" not in page and "&lt;i&gt;note" in page
    assert page.count('class="course"') == 2 * len(COURSES)  # in the picture and in its key
    assert ">0<small> / 2</small>" in page, "the least that is borne"


@pytest.mark.parametrize("upto", [0, 1])
def test_a_study_that_has_just_begun_has_a_page_too(upto: int) -> None:
    page = render(study(upto=upto))
    assert ("No generation has been measured yet." in page) == (upto == 0)


def test_one_seed_has_no_error() -> None:
    found = study(seeds=1)
    curve = found.curve("replace", "utility")
    assert curve is not None and all(map(math.isnan, curve.error)) and found.curve("replace", "rare") is None
    assert lesson.borne(found, "replace") == 0 and lesson.borne(found, "accumulate") == 2
    page = render(found)
    assert 'class="area"' not in page and "±" not in page.split("The last generation</h2>")[1].split("<table")[1]
