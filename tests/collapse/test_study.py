"""What a study refuses before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from synth.collapse.study import collapse
from synth.errors import UserError
from synth.provenance import keys, policy
from synth.provenance.policy import PolicyError
from synth.recipe import Recipe
from tests.collapse.tables import mixed


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"training.budget_s": 60.0}, r"training.budget_s: is of families that are trained, and kernel is fitted in moments"),
        ({"diffusion.width": 64}, r"diffusion.width: is of families .*leave it out, or give --family diffusion, gan or vae"),
        ({"family": "gan"}, r"family: is of families that are trained"),
    ],
)  # fmt: skip
def test_what_an_exact_family_would_pass_over_is_refused(
    settings: dict[str, object], told: str, tmp_path: Path
) -> None:
    recipe = Recipe.read(None, {"target": "class"} | settings)
    with pytest.raises(UserError, match=told):
        collapse(mixed(600, 0), recipe, str(tmp_path / "study"), name="kernel")


def test_the_distinct_real_rows_that_a_policy_wants_are_counted(tmp_path: Path) -> None:
    keys.config_dir().mkdir(parents=True, exist_ok=True)
    (keys.config_dir() / policy.FILE).write_text("rows: 5000\n")
    recipe = Recipe.read(None, {"target": "class", "seed": 3, "split": [0.6, 0.2, 0.1, 0.1]})
    with pytest.raises(PolicyError, match=r"distinct real rows are learnt from, and the policy wants 5,000 \(rows\)"):
        collapse(mixed(600, 0), recipe, str(tmp_path / "study"), name="kernel", generations=1)
    assert not (tmp_path / "study").exists()
