"""What a study refuses before it begins."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synth import release as releases
from synth.collapse.study import collapse
from synth.errors import UserError
from synth.provenance import keys, policy
from synth.provenance.origin import Signed
from synth.provenance.policy import Policy, PolicyError
from synth.recipe import Recipe
from synth.training.allowed import Rules
from tests.collapse.tables import mixed
from tests.command import run
from tests.serving.releases import people, publish


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


def test_what_is_told_of_lineage_is_in_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "releases" / "g")
    origin = Signed.of(
        releases.load(str(tmp_path / "releases" / "g")).manifest, seed=0, first=0, rows=600, key=None, asked={}
    )
    (tmp_path / "data").mkdir()
    pq.write_table(people().cast(origin.into(people().schema)), tmp_path / "data" / "rows.parquet")
    asked = str(tmp_path / "data" / "rows.parquet"), Recipe.read(None, {"target": "member"}), str(tmp_path / "study")
    monkeypatch.setattr("synth.collapse.study._run", lambda *_: None)
    with pytest.raises(PolicyError, match=r"--ancestors, or have the gap recorded by --allow-missing-parent"):
        collapse(*asked, name="kernel", generations=1, rules=Rules(Policy(real=0)))
    rules = Rules(Policy(real=0), [str(tmp_path / "releases")])
    study, _ = collapse(*asked, name="kernel", policies=("replace",), generations=1, rules=rules)
    assert [note for note in study.notes if "600 rows drawn from" in note]


def test_the_policy_of_lineage_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "absent.yaml")
    assert run(["collapse", "x.csv", "--out", str(tmp_path), "--lineage-policy", absent], monkeypatch) == 2
    assert "absent.yaml: no such file" in " ".join(capsys.readouterr().err.split())
