from __future__ import annotations

import pytest

from synth.recipe import Recipe
from tests.tuning.studies import Stage, study
from tuning import space, words


def test_what_differs_most_from_the_default_comes_first() -> None:
    usual = space.knobs_of(Recipe(family="vae"))
    knobs = usual | {"vae.units": 16, "training.decay": usual["training.decay"] + 0.01, "vae.expansion": 3}
    assert list(words.differing(knobs, usual)) == ["vae.expansion", "vae.units", "training.decay"]
    assert words.differing(usual, usual) == {}


def test_knobs_are_told_in_few_words() -> None:
    s = study("searching")
    usual = words.defaults(s)
    assert words.settings(s.trials[0], usual) == "as the default"
    assert words.settings(s.trials[9], usual) == "target_temperature 0.7"
    many = s.trials[1].model_copy(update={"knobs": usual["vae"] | {"vae.units": 16, "vae.rungs": 2, "vae.width": 96}})
    assert words.settings(many, usual, 2).endswith(" and 1 more")


def test_the_default_is_what_was_set_for_the_study() -> None:
    s = study("searching").model_copy(update={"recipe": {"training": {"batch": 512}, "vae": {"width": 96}}})
    assert words.defaults(s)["vae"]["training.batch"] == 512
    assert words.defaults(s)["vae"]["vae.width"] == 96


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("empty", "No trial has begun yet."),
        ("started", "No trial has been scored yet (4 trials: 2 running, 2 waiting)."),
        ("searching", "Nothing is released yet. The best of "),
        ("confirming", "2 finalists scored on confirm so far; none is released yet."),
        ("released", "Released: trial "),
    ],
)
def test_the_headline_says_where_the_study_is(stage: Stage, told: str) -> None:
    assert words.headline(study(stage)).startswith(told)


def test_the_headline_says_by_how_much_the_default_is_beaten_beside_the_error() -> None:
    s = study()
    chosen = next(f for f in s.finalists if f.released)
    default = next(f for f in s.finalists if f.trial == 0)
    chosen.value, chosen.error, default.value, default.error = 0.95, 0.03, 0.93, 0.04
    default.behind_error = 0.005  # much less than of either, as hard rows are hard for both
    beaten = "It is better than the default recipe by 0.0200 ± 0.0050 (one standard error) on confirm."
    assert words.headline(s).endswith(beaten)
    default.value = 0.946
    assert "is not told apart from the default recipe: better by 0.0040 ± 0.0050" in words.headline(s)
    chosen.released, default.released = False, True
    assert f"It is the default recipe: the best other, trial {chosen.trial}, is not told apart" in words.headline(s)
    s.finalists.remove(default)
    chosen.released = True
    assert "The default recipe was not scored on confirm." in words.headline(s)


def test_optimism_is_told_in_either_direction() -> None:
    s = study()
    s.released = {"select": 0.95, "test": 0.9462}
    assert words.optimism(s).endswith("it is 0.9462: the search flattered it by 0.0038.")
    s.released = {"select": 0.9462, "test": 0.95}
    assert "it did better by 0.0038 where nothing was chosen" in words.optimism(s)
    assert words.optimism(study("searching")).startswith("Not known yet")


def test_what_a_terminal_would_obey_is_not_passed_on() -> None:
    assert words.line("a\x1b[31m\nb\tc\u202e") == "a [31m b c"
    assert words.clock(187.4) == "3:07" and words.clock(-5) == "0:00"
