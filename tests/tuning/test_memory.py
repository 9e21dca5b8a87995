from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.errors import UserError
from tuning import features, memory, space
from tuning.memory import Past, default_store, packed, recall, remember, shipped, unpacked
from tuning.record import Rung, Scored, Study, Trial


@pytest.fixture
def record(defaults: dict[str, space.Knobs]) -> Study:
    score = Scored(utility=0.97, error=0.01, coverage=0.9, copying=0.02, value=0.95)
    rungs = [
        Rung(seconds=2.5, step=10, draws=1, score=score.model_copy(update={"value": 0.5}), error=0.0),
        Rung(seconds=30.0, step=120, draws=2, score=score, error=0.004),
    ]
    trials = [
        Trial(number=0, origin="default", knobs=defaults["diffusion"], state="done", curve=rungs),
        Trial(number=1, origin="portfolio", knobs=defaults["gan"], state="stopped", curve=rungs[:1], seed=3),
        Trial(number=2, origin="tpe", knobs=defaults["vae"], state="failed", failure="diverged at /home/me/secret.csv"),
        Trial(number=3, origin="tpe", knobs=defaults["vae"], state="running", curve=rungs[:1]),
    ]
    return Study(
        id="s1", created=datetime(2026, 3, 1, tzinfo=UTC), data="/home/me/secret.csv", key="abc", recipe={}, target="income",
        task="regression", rows={"train": 10}, features=dict.fromkeys(features.NAMES, 0.5), real={"r2": 0.4},
        objective=["utility"], budget_s=60, slots=1, rungs=[2.5, 30.0], trials=trials,
    )  # fmt: skip


def test_a_study_is_remembered_as_it_went(tmp_path: Path, record: Study, defaults: dict[str, space.Knobs]) -> None:
    store = str(tmp_path / "studies")
    assert recall(store) == []
    remember(store, record)
    (past,) = recall(store)
    assert (past.study, past.key, past.created) == ("s1", "abc", record.created)
    assert past.features == record.features
    done, stopped, failed = past.trials  # and not the one that is still running
    assert done.knobs == defaults["diffusion"] and done.family == "diffusion" and done.origin == "default"
    assert (done.value, done.seconds, done.utility, done.coverage, done.copying) == (0.95, 30.0, 0.97, 0.9, 0.02)
    assert [(p.seconds, p.step, p.value, p.error) for p in done.curve] == [
        (2.5, 10, 0.5, 0.0),
        (30.0, 120, 0.95, 0.004),
    ]
    assert (stopped.state, stopped.seed, stopped.value, stopped.failed) == ("stopped", 3, 0.5, False)
    assert failed.failed and math.isnan(failed.value) and failed.seconds == 0 and failed.curve == ()


def test_what_goes_on_is_remembered_in_place_of_what_was(tmp_path: Path, record: Study) -> None:
    for trials in (record.trials[:1], record.trials):
        remember(str(tmp_path), record.model_copy(update={"trials": trials}))
    later = record.model_copy(update={"id": "s0", "created": datetime(2026, 4, 1, tzinfo=UTC)})
    remember(str(tmp_path), later)
    remember(str(tmp_path), record.model_copy(update={"id": "none", "trials": record.trials[3:]}))
    assert [(past.study, len(past.trials)) for past in recall(str(tmp_path))] == [("s1", 3), ("s0", 3)]
    assert len(list(tmp_path.iterdir())) == 2


def test_neither_place_nor_names_of_the_data_are_in_it(tmp_path: Path, record: Study) -> None:
    remember(str(tmp_path), record)
    text = str(pq.read_table(tmp_path / "s1.parquet").to_pylist())
    assert "diffusion.width" in text
    assert "secret" not in text and "income" not in text


def test_a_store_may_be_an_object_store_or_one_file_of_many_studies(
    tmp_path: Path, record: Study, pasts: list[Past]
) -> None:
    remember("memory://studies/mine", record)
    assert [past.study for past in recall("memory://studies/mine")] == ["s1"]
    (tmp_path / "many.parquet").write_bytes(packed(pasts))
    found = recall(str(tmp_path / "many.parquet"))
    assert [replace(past, trials=past.trials[:-1]) for past in found] == [
        replace(past, trials=past.trials[:-1]) for past in pasts
    ]
    assert all(past.trials[-1].failed for past in found)


def test_what_is_no_store_of_this_version_is_named(tmp_path: Path, pasts: list[Past]) -> None:
    place = tmp_path / "odd.parquet"
    place.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UserError, match=r"odd\.parquet: is no Parquet file, or a damaged one; move it out"):
        recall(str(tmp_path))
    whole = packed(pasts)
    place.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        recall(str(place))
    pq.write_table(pa.table({"x": [1]}), place)
    with pytest.raises(UserError, match="holds no studies"):
        recall(str(tmp_path))
    table = pq.read_table(pa.BufferReader(whole))
    at = table.column_names.index("version")
    pq.write_table(table.set_column(at, "version", pa.array([2] * len(table), pa.int32())), place)
    with pytest.raises(UserError, match="of version 2, and this is version 1; move it"):
        recall(str(tmp_path))


def test_no_altered_byte_is_taken_for_a_study(pasts: list[Past]) -> None:
    """Or it is one that changes nothing, such as the name of the program that wrote the file."""
    rng, whole = np.random.default_rng(0), packed(pasts[:1])
    known = repr(unpacked(whole, "whole"))
    refused = 0
    for place in rng.integers(0, len(whole), 60):
        altered = bytearray(whole)
        altered[place] ^= 1 << rng.integers(8)
        try:
            assert repr(unpacked(bytes(altered), "altered")) == known
        except UserError as e:
            refused += "altered: " in str(e)
    assert refused > 20


def test_the_shipped_prior_needs_no_data() -> None:
    found = shipped()
    assert len(found) >= 15
    assert all(set(past.features) == set(features.NAMES) for past in found)
    assert {trial.family for past in found for trial in past.trials} <= set(space.TABLES)
    assert all(trial.value < 2 for past in found for trial in past.trials if not trial.failed)
    assert unpacked(packed(found), "again")[0].trials[0] == found[0].trials[0]


def test_the_default_store_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.STORE, "s3://bucket/studies")
    assert default_store() == "s3://bucket/studies"
    monkeypatch.delenv(memory.STORE)
    assert default_store().endswith("studies") and "artesian" in default_store()
