"""Cures by their names, and models that come as files: no code in them, and what is wrong with one is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from synth.errors import UserError
from synth.training.refining.discriminator import Discriminator
from synth.training.refining.feedback import CRITERIA, Feedback
from synth.training.refining.named import cure
from synth.training.refining.neon import Neon
from synth.training.refining.sims import Sims


def own(x: Any) -> Any:
    return x


def fitted(*steps: Any) -> Any:
    rng = np.random.default_rng(0)
    return make_pipeline(*steps, LogisticRegression()).fit(rng.normal(size=(50, 2)), rng.integers(0, 2, 50))


def test_cures_by_their_names(tmp_path: Path) -> None:
    assert isinstance(cure(None, None, ()), Discriminator) and isinstance(
        cure("discriminator", None, ()), Discriminator
    )
    assert isinstance(cure("neon", None, ()), Neon) and isinstance(cure("sims", None, ()), Sims)
    trained = cure(None, "train", ())
    assert isinstance(trained, Feedback) and trained.model is None and trained.criteria == ("targets", "practice")
    chosen = cure("feedback", None, ["loss"])
    assert isinstance(chosen, Feedback) and chosen.criteria == ("loss",)
    path = tmp_path / "model.skops"
    model = fitted(StandardScaler())
    skops.io.dump(model, path)
    read = cure(None, str(path), ())
    assert isinstance(read, Feedback)
    x = np.ones((3, 2))
    assert np.array_equal(read.model.predict_proba(x), model.predict_proba(x))  # type: ignore[union-attr]
    assert cure(None, model, CRITERIA).model is model  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("by", "feedback", "criteria", "said"),
    [
        (
            "neom",
            None,
            (),
            r"--by 'neom' is unknown; cures: discriminator, neon, sims, gradients, feedback. Did you mean 'neon'\?",
        ),
        ("neon", "train", (), "do not go with --by neon: leave them out"),
        (
            None,
            "train",
            ("entropi",),
            "--criterion 'entropi' is unknown; criteria: targets, practice, entropy, loss, hardness",
        ),
        (
            None,
            "nowhere.skops",
            (),
            r"--feedback nowhere.skops: there is no such file; give a model .* skops.io.dump, or train",
        ),
    ],
)
def test_what_is_no_cure_is_named(by: str | None, feedback: str | None, criteria: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        cure(by, feedback, criteria)


def test_a_file_with_functions_of_somebody_or_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(fitted(FunctionTransformer(own)), path)
    with pytest.raises(UserError, match=r"holds types that are not scikit-learn's own: .*own"):
        cure(None, str(path), ())
    path.write_bytes(b"PK\x03\x04 no model")
    with pytest.raises(UserError, match=r"is no model that skops reads .*; write it by skops.io.dump"):
        cure(None, str(path), ())
