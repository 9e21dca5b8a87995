"""What a generation learns from, by policy."""

from __future__ import annotations

import numpy as np
import pytest

from synth.collapse.policies import Policy
from synth.collapse.rows import Rows
from synth.errors import UserError
from synth.training.mixing import golden

REAL = Rows.of_numbers(np.arange(100.0)[:, None])
DRAWN = [Rows.of_numbers(1_000.0 * (k + 1) + np.arange(100.0)[:, None]) for k in range(3)]


def learnt(text: str, drawn: list[Rows] = DRAWN) -> tuple[np.ndarray, np.ndarray]:
    chosen, weights = Policy.parse(text).learnt(len(REAL), [len(rows) for rows in drawn], np.random.default_rng(0))
    assert len(chosen) == len(weights) and weights.sum() == pytest.approx(1)
    return Rows.joined([REAL, *drawn]).take(chosen).numbers[:, 0], weights


@pytest.mark.parametrize(
    ("text", "own", "latest", "all"),
    [
        ("replace", 0, 100, 100), ("mix:0.1", 10, 90, 100), ("mix:1", 100, 0, 100), ("accumulate", 100, 100, 400),
        ("real", 100, 0, 100), ("real:0.25", 25, 0, 25),
    ],
)  # fmt: skip
def test_rows_are_counted(text: str, own: int, latest: int, all: int) -> None:
    rows, weights = learnt(text)
    assert ((rows < 1_000).sum(), (rows >= 3_000).sum(), len(rows)) == (own, latest, all)
    assert len(set(rows)) == all and np.ptp(weights) == 0


def test_a_subsample_is_of_all_that_there_is() -> None:
    rows, _ = learnt("accumulate-subsample")
    assert len(set(rows)) == 100 and set(rows // 1_000) == {0, 1, 2, 3}


@pytest.mark.parametrize(("text", "weight"), [("fresh:golden", 0.618034), ("fresh", 0.618034), ("fresh:0.3", 0.3)])
def test_new_rows_are_weighed(text: str, weight: float) -> None:
    rows, weights = learnt(text)
    assert len(rows) == 200 and weights[rows < 1_000].sum() == pytest.approx(weight)


def test_of_more_drawn_rows_each_counts_less() -> None:
    more = [Rows.joined([DRAWN[0]] * 9)]
    rows, weights = learnt("fresh:golden", more)
    assert weights[rows < 1_000].sum() == pytest.approx(golden(1 / 9)) == pytest.approx(0.2824, abs=1e-3)


@pytest.mark.parametrize(
    "text", ["replace", "mix:0.1", "fresh:golden", "fresh:0.3", "accumulate-subsample", "real:0.5", "real"]
)
def test_a_policy_is_written_as_it_is_read(text: str) -> None:
    assert str(Policy.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "mixed:0.1", "mix", "mix:0", "mix:1.5", "mix:-1", "mix:x", "mix:nan", "replace:0.5", "fresh:0", "mix:golden"],
)
def test_what_is_no_policy_is_told_what_is(text: str) -> None:
    with pytest.raises(UserError, match="--policy"):
        Policy.parse(text)
