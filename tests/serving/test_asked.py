"""What comes over the wire is what it says: no text is a number, and what is asked is passed on as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.asked import LONGEST, SEEDS, Asked, Job, Samples
from serving.problems import Problem
from serving.settings import Limits


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0), ("n", -1), ("n", 1.5), ("n", "5"), ("n", True), ("n", None), ("n", float("nan")), ("n", [1]),
        ("seed", -1), ("seed", SEEDS), ("seed", "1"), ("seed", False), ("seed", 0.5),
        ("first", -1), ("first", SEEDS), ("first", "0"), ("first", True),
        ("boost", 0.5), ("boost", "2"), ("boost", True), ("boost", float("nan")), ("boost", float("inf")), ("boost", 1e7),
        ("format", "xml"), ("format", "CSV"), ("format", 1), ("rows", 5), ("N", 5),
        ("where", 3), ("where", "x" * (LONGEST + 1)), ("where", ["x" * (LONGEST + 1)]), ("where", {"a": {"b": 1}}),
        ("balance", ["a"]), ("balance", {"a": 1}), ("balance", {"a": {"b": "1"}}), ("balance", {"a": {"b": True}}),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_by_its_field(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        Samples.model_validate({"n": 5} | {field: value})
    assert {error["loc"][0] for error in refused.value.errors()} == {field}


@pytest.mark.parametrize(("n", "rows"), [(5, 5), (5.0, 5), (1e6, 1_000_000), (10**12, 10**12)])
def test_a_whole_number_may_be_written_as_json_writes_any(n: float, rows: int) -> None:
    assert Samples.model_validate({"n": n}).n == rows


def test_what_is_refused_says_what_it_should_be() -> None:
    with pytest.raises(ValidationError, match='is "5", and should be a whole number, such as 100'):
        Samples.model_validate({"n": "5"})
    with pytest.raises(ValidationError, match="is true, and should be a whole number"):
        Samples.model_validate({"n": 5, "seed": True})


def test_types_of_values_stay_what_they_were() -> None:
    where = {"a": True, "b": 1, "c": 1.5, "d": "1", "e": None, "f": [1, "1", None, False], "g": 2**70}
    asked = Asked.model_validate({"where": where})
    assert asked.words == {"where": where}
    assert json.loads(asked.text) == {"where": where}
    assert [type(v) for v in json.loads(asked.text)["where"].values()] == [type(v) for v in where.values()]


@given(st.permutations([("where", ["a=1", "b=2"]), ("rare", {"c": 1}), ("boost", 2.0)]))
def test_the_text_of_a_request_does_not_depend_on_the_order_of_its_fields(fields: list[tuple[str, Any]]) -> None:
    assert Asked.model_validate(dict(fields)).text == '{"boost":2.0,"rare":{"c":1},"where":["a=1","b=2"]}'


def test_where_nothing_is_asked_the_text_is_empty() -> None:
    assert Samples(n=5).text == Samples(n=5, where=None, boost=1.0, seed=3, first=4, format="csv").text == ""
    assert Job(n=5, out="x").words == {}


@pytest.mark.parametrize(
    ("asked", "clauses"),
    [({}, 0), ({"where": "a=1"}, 1), ({"where": ["a=1"] * 5, "rare": {"a": 1, "b": 2}}, 7), ({"balance": "a"}, 1)],
)
def test_clauses_are_counted_and_bounded(asked: dict[str, Any], clauses: int) -> None:
    found = Asked.model_validate(asked)
    assert found.clauses == clauses
    found.check(Limits(clauses=max(clauses, 1)))
    if clauses > 1:
        with pytest.raises(
            Problem, match=f"{clauses} clauses: at most {clauses - 1} are understood; ask for less"
        ) as found_:
            found.check(Limits(clauses=clauses - 1))
        assert found_.value.status == 422
