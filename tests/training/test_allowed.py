"""Rows that lost their origin are refused as real ones: end to end, from drawn files to the training that is not begun."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from synth.data.source import open_source
from synth.provenance import served
from synth.provenance.policy import PolicyError
from synth.recipe import Recipe
from synth.training import allowed
from synth.training.allowed import Rules
from synth.training.mixing import Given
from tests.command import run
from tests.serving.releases import _publish


def real_rows(count: int, seed: int = 1) -> pa.Table:
    draw = np.random.default_rng(seed)
    columns = {name: np.round(draw.normal(50, 15, count), 2) for name in ("height", "weight", "speed")}
    return pa.table({**columns, "member": draw.random(count) < 0.3})


def poisoned(real: pa.Table, drawn: pa.Table, share: float, out: Path) -> Path:
    """Real rows, of which so many were drawn, in any order, and nothing that says so."""
    count = round(share * len(real))
    rows = [*real.to_pylist()[count:], *drawn.to_pylist()[:count]]
    random.Random(0).shuffle(rows)
    pa.csv.write_csv(pa.Table.from_pylist(rows, real.schema.remove_metadata()), out)
    return out


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a release, whose rows are logged, and real rows."""
    monkeypatch.chdir(tmp_path)
    recipe = {"target": "member", "diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4}
    _publish(tmp_path / "g", real_rows(500, seed=0), Recipe.read(None, recipe), "people")
    pq.write_table(real_rows(4_000), "real.parquet")
    assert run(["sample", "g", "-n", "2500", "--out", "drawn.parquet"], monkeypatch) == 0
    return tmp_path


def test_a_twentieth_of_unlabelled_samples_is_recognised(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, drawn = pq.read_table("real.parquet"), pq.read_table("drawn.parquet")
    poisoned(real, drawn, 0.05, world / "poisoned.csv")
    assert run(["train", "poisoned.csv", "--out", "h", "--target", "member"], monkeypatch) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "poisoned.csv: was given as real rows, and" in told and "of 4,000 rows were drawn from 'people'" in told
    assert "a share of 0.01 (unlabelled). Give them by --synthetic, leave them out, or have the policy say" in told
    assert not (world / "h").exists()
    poisoned(real, drawn, 0.0, world / "clean.csv")
    assert allowed.check(Rules.read(), {"train": open_source("clean.csv"), "test": open_source("real.parquet")}) == []


def test_the_rule_says_how_many(world: Path) -> None:
    rows = poisoned(pq.read_table("real.parquet"), pq.read_table("drawn.parquet"), 0.05, world / "poisoned.csv")
    sources = {"train": open_source(str(rows))}
    for share in (0.06, 1):
        (world / "policy.yaml").write_text(f"unlabelled: {share}")
        assert allowed.check(Rules.read("policy.yaml"), sources) == []
    (world / "policy.yaml").write_text("unlabelled: 0")
    with pytest.raises(PolicyError, match=r"a share of 0 \(unlabelled\)"):
        allowed.check(Rules.read("policy.yaml"), sources)


def test_so_are_test_rows(world: Path) -> None:
    rows = poisoned(pq.read_table("real.parquet"), pq.read_table("drawn.parquet"), 0.5, world / "poisoned.csv")
    with pytest.raises(
        PolicyError, match=r"poisoned.csv: was given as real rows, and [\d,]+ of 4,000 rows were drawn"
    ) as refused:
        allowed.check(Rules.read(), {"train": open_source("real.parquet"), "test": open_source(str(rows))})
    assert "Leave them out" in str(refused.value) and "--synthetic" not in str(refused.value)
    with pytest.raises(PolicyError, match=r"\(unlabelled\). Leave them out, or"):
        allowed.check(Rules.read(mixed=False), {"train": open_source(str(rows))})


def test_a_watermark_is_enough_without_the_log(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARTESIAN_ROW_LOG", "off")
    assert run(["sample", "g", "-n", "2000", "--seed", "5", "--watermark", "--out", "marked.parquet"], monkeypatch) == 0
    poisoned(real_rows(2_000), pq.read_table("marked.parquet"), 0.5, world / "poisoned.csv")
    with pytest.raises(
        PolicyError, match=r"poisoned.csv: was given as real rows, and carries the watermark of 'people'"
    ):
        allowed.check(Rules.read(), {"train": open_source("poisoned.csv")})
    capsys.readouterr()
    assert run(["lineage", "poisoned.csv"], monkeypatch) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "known here: the watermark of 'people'" in told and "are heads, p = " in told


def test_rows_that_say_what_they_are_are_given_as_what_they_are(world: Path) -> None:
    sources = {"train": open_source("real.parquet"), "synthetic 1": open_source("drawn.parquet")}
    [note] = allowed.check(Rules.read(), sources, [Given("drawn.parquet")])
    assert "2,500 rows drawn from 'people'" in note


def test_what_was_recognised_is_told_in_every_format(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, drawn = pq.read_table("real.parquet"), pq.read_table("drawn.parquet")
    poisoned(real, drawn, 0.3, world / "poisoned.csv")
    capsys.readouterr()
    assert run(["lineage", "poisoned.csv", "--format", "card"], monkeypatch) == 0
    card = capsys.readouterr().out
    assert "synthetic: true" in card and "- synthetic" in card and "they are real" not in card
    assert "of 4,000 rows were drawn from 'people'" in card.replace("\\", "") and "generation depth 1 at least" in card
    assert run(["lineage", "poisoned.csv", "--format", "croissant"], monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["keywords"] == ["synthetic data"] and "of 4,000 rows were drawn from 'people'" in told["description"]
    assert run(["lineage", "real.parquet", "--format", "card"], monkeypatch) == 0
    assert "synthetic: false" in (card := capsys.readouterr().out) and "they are real" in card


def test_beside_rows_that_say_what_they_are_others_are_recognised(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "both").mkdir()
    drawn = pq.read_table("drawn.parquet")
    pq.write_table(drawn.replace_schema_metadata(None), world / "both" / "a.parquet")
    assert run(["sample", "g", "-n", "50", "--seed", "9", "--out", "both/b.parquet"], monkeypatch) == 0
    capsys.readouterr()
    assert run(["lineage", "both"], monkeypatch) == 0
    assert "known here: " in (told := " ".join(capsys.readouterr().out.split())) and "were drawn from 'people'" in told


def test_rows_that_say_so_as_data_are_not_taken_for_passed_off(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a policy that allows a training on samples alone; a folder with a file that says nothing is looked up."""
    (world / "policy.yaml").write_text("real: 0")
    rules = Rules.read("policy.yaml")
    [note] = allowed.check(rules, {"train": open_source("drawn.parquet")})
    assert "2,500 rows drawn from 'people'" in note
    pq.write_table(pq.read_table("drawn.parquet").replace_schema_metadata(None), "unsaid.parquet")
    assert run(["sample", "g", "-n", "100", "--seed", "9", "--out", "others.parquet"], monkeypatch) == 0
    with pytest.raises(PolicyError, match="was given as real rows, and"):
        allowed.check(rules, {"train": open_source(["others.parquet", "unsaid.parquet"])})


def test_a_log_that_cannot_be_read_is_told_and_bars_nothing(world: Path) -> None:
    [log] = served.logs()
    log.path.write_bytes(b"")
    [note] = allowed.check(Rules.read(), {"train": open_source("real.parquet")})
    assert f"{log.path}: is no log that this version reads" in note
