"""Whose rows a study's decisions are of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth import release as releases
from synth.provenance import keys, policy
from synth.provenance.origin import Signed
from synth.provenance.policy import Policy, PolicyError
from synth.recipe import Recipe
from synth.training.allowed import Rules
from synth.training.prepare import Prepared, open_sources, prepare
from tests.serving.releases import people, publish
from tuning.study import Wanted, split_key, tune


def table(seed: int, count: int = 400) -> pa.Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count).round(3)
    return pa.table({"x": x, "y": np.where(x + rng.normal(size=count) > 0, "up", "down")})


def prepared(rows: pa.Table, recipe: Recipe) -> Prepared:
    sources, schema = open_sources(rows, None, recipe)
    return prepare(sources, schema, recipe, keep=("select", "confirm"))


RECIPE = Recipe(target="y").resolved(test_apart=False)


def test_two_tables_of_one_schema_do_not_share_a_split_key() -> None:
    ours, theirs = prepared(table(0), RECIPE), prepared(table(1), RECIPE)
    assert ours.schema.arrow() == theirs.schema.arrow()
    assert split_key(ours, RECIPE) != split_key(theirs, RECIPE)


def test_the_same_rows_in_another_order_have_the_same_key() -> None:
    rows = table(0)
    mixed = rows.take(np.random.default_rng(5).permutation(len(rows)))
    assert split_key(prepared(rows, RECIPE), RECIPE) == split_key(prepared(mixed, RECIPE), RECIPE)


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": [0.6, 0.2, 0.1, 0.1]}])
def test_other_shares_or_another_seed_deal_other_rows(other: dict[str, object]) -> None:
    changed = RECIPE.model_copy(update=other)
    assert split_key(prepared(table(0), RECIPE), RECIPE) != split_key(prepared(table(0), changed), changed)


def test_the_parts_that_decide_share_no_row_with_train() -> None:
    found = prepared(table(0), RECIPE)
    parts = {"train": found.real, "test": found.test, **found.kept}
    rows = {name: {tuple(row.values()) for row in part.to_pylist()} for name, part in parts.items()}
    names = list(rows)
    for k, name in enumerate(names):
        for other in names[k + 1 :]:
            assert not rows[name] & rows[other], (name, other)
    assert sum(part.num_rows for part in parts.values()) == 400


def test_the_distinct_real_rows_that_a_policy_wants_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the table is there, which is before anything is asked of Ray."""
    monkeypatch.setattr("tuning.study.connected", nullcontext)
    keys.config_dir().mkdir(parents=True, exist_ok=True)
    (keys.config_dir() / policy.FILE).write_text("rows: 5000\n")
    wanted = Wanted(600.0, ("vae",), ("utility",), None, None)
    with pytest.raises(PolicyError, match=r"distinct real rows are learnt from, and the policy wants 5,000 \(rows\)"):
        tune(table(0), Recipe(target="y"), str(tmp_path / "tuned"), wanted)


def test_what_is_told_of_lineage_is_told_of_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a release are searched on, as the policy allows; the release lies elsewhere."""
    publish(tmp_path / "releases" / "g")
    origin = Signed.of(
        releases.load(str(tmp_path / "releases" / "g")).manifest, seed=0, first=0, rows=600, key=None, asked={}
    )
    (tmp_path / "data").mkdir()
    pq.write_table(people().cast(origin.into(people().schema)), tmp_path / "data" / "rows.parquet")
    notes = list[str]()

    def told(sources: object, schema: object, base: object, test_apart: bool, found: Sequence[str]) -> None:
        notes.extend(found)
        raise KeyError("enough")

    monkeypatch.setattr("tuning.study.connected", nullcontext)
    monkeypatch.setattr("tuning.study.room.nodes", lambda ray: [(1, 0)])
    monkeypatch.setattr("tuning.study.Table", told)
    asked = str(tmp_path / "data" / "rows.parquet"), Recipe(target="member"), str(tmp_path / "tuned")
    wanted = Wanted(600.0, ("vae",), ("utility",), None, None)
    with pytest.raises(PolicyError, match=r"Give real rows as DATA; or have the policy say real: 0$"):
        tune(*asked, wanted)
    with pytest.raises(PolicyError, match=r"--ancestors, or have the gap recorded by --allow-missing-parent"):
        tune(*asked, wanted, rules=Rules(Policy(real=0)))
    with pytest.raises(KeyError):
        tune(*asked, wanted, rules=Rules(Policy(real=0), [str(tmp_path / "releases")]))
    [note] = notes
    assert "600 rows drawn from" in note
