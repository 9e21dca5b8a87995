"""What of a release's own rows is learnt from, as a model asks for it."""

from __future__ import annotations

import numpy as np
import pytest

from synth.training.refining.feedback import CAP, _practised, _rounds
from synth.training.refining.teacher import Teacher
from tests.training.refining.test_teacher import classes, prepared


def test_rows_are_drawn_by_their_score_and_no_row_without_end() -> None:
    score = np.concatenate([np.zeros(5000), np.ones(5000), [1e6]])
    counts = np.bincount(_practised(score, np.random.default_rng(0)), minlength=len(score))
    assert counts.sum() == len(score) and counts[-1] <= 4 * np.exp(2 * CAP)
    even = np.concatenate([np.zeros(5000), np.ones(5000)])
    counts = np.bincount(_practised(even, np.random.default_rng(0)), minlength=len(even))
    assert counts[5000:].sum() / counts[:5000].sum() == pytest.approx(np.exp(2), rel=0.1), "two deviations apart"


def test_practice_takes_what_a_learner_is_not_sure_of() -> None:
    rows = classes(4000)
    teacher, x = Teacher(prepared(rows, "y"), None, 0), np.array(rows["x"].to_pylist())
    taken = _rounds(teacher, rows, np.arange(len(rows)), np.random.default_rng(0))
    assert len(taken) == len(rows)
    first, later = taken[:1000], taken[1000:]
    assert len(np.unique(first)) == 1000, "as they come"
    assert np.abs(x[later]).mean() < 0.8 * np.abs(x[first]).mean(), "near nought classes overlap"
