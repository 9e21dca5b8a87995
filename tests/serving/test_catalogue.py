"""A name stands for a version: by shares while one is tried out, as it did before, and after a restart."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.catalogue import HISTORY, Catalogue, UnknownError
from serving.settings import Served
from synth.errors import UserError

SEEDS = 20_000


def catalogue(versions: int = 3, **aliases: dict[int, float]) -> Catalogue:
    places = {k: f"place {k}" for k in range(1, versions + 1)}
    return Catalogue({"adult": Served(versions=places, aliases=aliases), "births": Served(versions={4: "b"})})


def restored(into: Catalogue, state: dict[str, Any]) -> Catalogue:
    into.restore(json.loads(json.dumps(state)))
    return into


def test_a_name_alone_is_its_default_alias_which_is_the_latest_version() -> None:
    assert str(catalogue().find("adult", 0)) == str(catalogue().find("adult:production", 0)) == "adult@3"
    found = catalogue(production={1: 1}).find("adult", 0)
    assert (found.name, found.number, found.place, str(found)) == ("adult", 1, "place 1", "adult@1")
    assert str(catalogue().find("births", 0)) == "births@4"


def test_shares_are_met_and_a_seed_decides() -> None:
    made = catalogue(beta={1: 70, 2: 25, 3: 5})  # as people write them, and not as parts of 1
    found = Counter(made.find("adult:beta", seed).number for seed in range(SEEDS))
    for number, share in ((1, 0.7), (2, 0.25), (3, 0.05)):
        assert abs(found[number] / SEEDS - share) < 5 * (share * (1 - share) / SEEDS) ** 0.5
    for seed in range(200):
        assert made.find("adult:beta", seed) == catalogue(beta={1: 0.7, 2: 0.25, 3: 0.05}).find("adult:beta", seed)


def test_who_is_drawn_into_a_trial_is_not_in_every_trial() -> None:
    made = catalogue(one={1: 1, 2: 1}, two={1: 1, 2: 1})
    same = sum(made.find("adult:one", s).number == made.find("adult:two", s).number for s in range(2_000))
    assert 800 < same < 1_200


@given(st.dictionaries(st.integers(1, 3), st.floats(1e-3, 1), min_size=1), st.integers(0, 2**63 - 1))
def test_only_what_has_a_share_is_found(shares: dict[int, float], seed: int) -> None:
    made = catalogue()
    made.assign("adult", "beta", shares)
    assert made.find("adult:beta", seed).number in shares


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("adults", "adults: there is no such generator; there are adult, births"),
        ("adult@4", "adult@4: there is no such version; there are adult@1, adult@2, adult@3"),
        ("adult@", "adult@: there is no such version"), ("adult@²", "there is no such version"),
        ("adult@-1", "there is no such version"), ("adult@1:beta", "there is no such version"),
        ("adult:beta", "adult:beta: there is no such alias; there are adult:production"),
        ("../adult", "there is no such generator"), ("", "there is no such generator"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_said_with_what_there_is(wanted: str, message: str) -> None:
    with pytest.raises(UnknownError, match=message.replace("²", ".")):
        catalogue().find(wanted, 0)


def test_a_version_is_promoted_and_the_alias_rolled_back_step_by_step() -> None:
    made = catalogue(production={1: 1})
    made.assign("adult", "production", {1: 9, 2: 1})
    made.assign("adult", "beta", {3: 1})
    made.assign("adult", "production", {2: 1})
    made.assign("adult", "production", {2: 5})  # the same: no change
    assert made.find("adult", 0).number == 2
    assert made.roll_back("adult", "production") == {1: 0.9, 2: 0.1}
    assert made.roll_back("adult", "production") == {1: 1.0}
    with pytest.raises(UnknownError, match="adult:production: has not been changed"):
        made.roll_back("adult", "production")
    assert made.find("adult:beta", 0).number == 3
    with pytest.raises(UnknownError, match="adult:beta: has not been changed"):
        made.roll_back("adult", "beta")


def test_only_so_many_changes_are_remembered() -> None:
    made = catalogue()
    for k in range(HISTORY + 50):
        made.assign("adult", "production", {1 + k % 2: 1})
    assert len(made.past["adult"]) == HISTORY


@pytest.mark.parametrize("shares", [{7: 1}, {1: 0}, {1: -1, 2: 3}, {}, {1: float("nan")}, {1: 1e308, 2: 1e308}])
def test_shares_that_cannot_be_change_nothing(shares: dict[int, float]) -> None:
    made = catalogue()
    with pytest.raises(UserError, match="alias 'production'"):
        made.assign("adult", "production", shares)
    with pytest.raises(UnknownError, match="there is no such generator"):
        made.assign("adults", "production", {1: 1})
    assert made.find("adult", 0).number == 3 and not made.past


def test_a_restart_goes_on_from_what_was_assigned_and_can_go_back() -> None:
    made = catalogue(production={1: 1})
    made.assign("adult", "production", {2: 0.5, 1: 0.5})
    made.assign("adult", "production", {2: 1})
    made.assign("adult", "beta", {3: 1})
    found = restored(catalogue(production={1: 1}), made.state())
    assert (found.find("adult", 0).number, found.find("adult:beta", 0).number) == (2, 3)
    assert found.roll_back("adult", "production") == {1: 0.5, 2: 0.5}
    assert found.roll_back("adult", "production") == {1: 1.0}


def test_after_a_restart_what_names_an_unknown_version_is_dropped() -> None:
    made = catalogue()
    made.assign("adult", "beta", {2: 1})
    made.assign("adult", "gamma", {1: 1, 3: 1})
    made.assign("adult", "gamma", {1: 1})
    made.assign("births", "beta", {4: 1})
    found = Catalogue({"adult": Served(versions={1: "a", 2: "b"})})
    restored(found, made.state())
    assert found.find("adult", 0).number == 2 and found.find("adult:beta", 0).number == 2
    assert found.find("adult:gamma", 0).number == 1
    with pytest.raises(UnknownError):  # it stood for version 3, too
        found.roll_back("adult", "gamma")


@pytest.mark.parametrize("aliases", [{}, {"production": {1: 1}}])
def test_who_edits_the_settings_is_not_overruled_by_an_old_state(aliases: dict[str, dict[int, float]]) -> None:
    made = catalogue(**aliases)
    made.assign("adult", "production", {2: 1})
    assert restored(catalogue(4, production={3: 1}), made.state()).find("adult", 0).number == 3
    assert restored(catalogue(4, **aliases), made.state()).find("adult", 0).number == 2


def test_a_new_version_is_the_latest_unless_another_was_promoted() -> None:
    made = catalogue()
    assert restored(catalogue(4), made.state()).find("adult", 0).number == 4
    made.assign("adult", "production", {1: 1})
    assert restored(catalogue(4), made.state()).find("adult", 0).number == 1
    made.roll_back("adult", "production")
    assert restored(catalogue(4), made.state()).find("adult", 0).number == 4
    made.assign("adult", "production", {3: 1})  # what it stands for by itself, but now somebody means it
    assert restored(catalogue(4), made.state()).find("adult", 0).number == 3
