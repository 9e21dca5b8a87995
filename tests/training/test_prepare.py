"""What the certificate is handed of a table with more rows than it looks at."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from synth.evaluation.certificate import evaluate
from synth.recipe import Recipe
from synth.training import prepare


def test_of_a_large_train_part_rows_are_drawn_and_copies_of_all_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MOST_EVALUATED", 60)
    rng = np.random.default_rng(0)
    table = pa.table({"x": np.round(rng.normal(size=600), 6), "c": rng.choice(["a", "b", "c"], 600)})
    recipe = Recipe(split=(0.7, 0.1, 0.1, 0.1), seed=3)
    sources, schema = prepare.open_sources(table, None, recipe)
    found = prepare.prepare(sources, schema, recipe)
    assert found.real.num_rows < 120
    assert found.keys.rows == sum(map(len, found.keys.blocks())) == found.rows["train"] > 350
    assert any(f"on {found.real.num_rows} of the {found.rows['train']} train rows" in note for note in found.notes)
    assert found.test.num_rows == found.rows["test"] or any("test rows" in note for note in found.notes)
    certificate = evaluate(found.real, table, found.test, schema, train_keys=found.keys)
    assert certificate.rows["train"] == found.rows["train"]
    assert certificate.figures["exact_copies"].value == pytest.approx(found.rows["train"] / 600)
