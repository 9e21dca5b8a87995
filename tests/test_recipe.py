"""Recipes are validated, and say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from synth.errors import UserError
from synth.recipe import Recipe, parse_setting, seconds


def test_yaml_round_trip(tmp_path: Path) -> None:
    recipe = Recipe.read(None, {"target": "y", "training.steps": 7, "diffusion.width": 64, "categorical": ["a"]})
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.yaml())
    assert Recipe.read(file, {}) == recipe
    assert Recipe.read(file, {"seed": 5}).sha256() != recipe.sha256()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"trainning": {}}, "unknown key 'trainning'; did you mean 'training'"),
        ({"training": {"learnig_rate": 1}}, "unknown key 'training.learnig_rate'; did you mean 'learning_rate'"),
        ({"training": {"steps": 5, "budget_s": 5}}, "give steps or budget_s, not both"),
        ({"training": {"batch": 10, "accumulate": 4}}, "batch=10 does not divide"),
        ({"training": {"workers": (4, 1)}}, "workers=4,1: the least come first, as in 1,4"),
        ({"training": {"workers": (0, 2)}}, "training.workers.*greater than or equal to 1"),
        ({"training": {"workers": (1, 0)}}, "training.workers.1=0: .*greater than or equal to 1"),
        ({"training": {"workers": "all"}}, "r.yaml': training.workers='all': .*valid integer"),
        ({"seed": 1, "training": {"workers": (4, 1)}}, "r.yaml': training: workers=4,1"),
        ({"training": {"batch": 8, "workers": 4, "accumulate": 2}}, "batch=8 leaves less than two rows.*16 or more"),
        ({"training": {"zero": 4}}, "training.zero"),
        ({"training": {1: 2}}, "training.1"),
        ({"split": [0.5, 0.2]}, "3 or 4 shares"),
        ({"diffusion": {"width": "wide"}}, "diffusion.width"),
        ({"family": "magic"}, "family"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, document: dict[str, object], message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=message):
        Recipe.read(file, {})


def test_a_length_on_the_command_line_replaces_the_files(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("training: {budget_s: 60}")
    training = Recipe.read(file, {"training.steps": 9}).training
    assert (training.steps, training.budget_s) == (9, None)


def test_two_lengths_on_the_command_line_are_refused() -> None:
    with pytest.raises(UserError, match="not both"):
        Recipe.read(None, {"training.steps": 9, "training.budget_s": 5.0})


def test_a_heading_with_nothing_under_it_takes_settings(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("training:\n")
    assert Recipe.read(file, {"training.steps": 9}).training.steps == 9


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("seed: 3", "seed.x", r"r\.yaml.*seed=3 is no mapping"),
        ("training: [1]", "training.steps", r"r\.yaml.*training=\[1\] is no mapping"),
    ],
)
def test_a_setting_inside_what_is_no_mapping_is_named(tmp_path: Path, text: str, key: str, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        Recipe.read(file, {key: 1})


@pytest.mark.parametrize("text", ["[1, 2", "- a\n- b", "\x00", "seed: 2024-13-45"])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"r\.yaml"):
        Recipe.read(file, {})


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("4m", 240), ("1h30m", 5400), ("0.5m", 30)])
def test_lengths_of_time(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "4 minutes", "-3s", "m"])
def test_no_length_of_time(text: str) -> None:
    with pytest.raises(UserError, match="length of time"):
        seconds(text)


def test_settings() -> None:
    assert parse_setting("diffusion.width=512") == ("diffusion.width", 512)
    assert parse_setting('target="a: b: c"') == ("target", "a: b: c")


@pytest.mark.parametrize("text", ["width", "seed=", "=5", " = 5", "seed=null"])
def test_a_setting_without_a_key_or_a_value_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"'{text}': write KEY=VALUE"):
        parse_setting(text)


@pytest.mark.parametrize("text", ["target=[a", "target=@x", "target=a: b: c", "target=2024-13-45"])
def test_a_setting_that_is_not_yaml_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--set 'target=.*is not YAML; put quotes"):
        parse_setting(text)


def test_a_family_trains_with_its_own_defaults_where_nothing_else_was_set() -> None:
    training = {"steps": 1, "workers": 200}
    given = Recipe.check({"family": "vae", "training": training | {"batch": 1000}}).suited(images=False).training
    assert (given.batch, given.learning_rate) == (1000, Recipe().vae.TRAINING["learning_rate"])
    with pytest.raises(UserError, match="batch=256 leaves less than two rows to each of workers=200"):
        Recipe.check({"family": "vae", "training": training}).suited(images=False)
