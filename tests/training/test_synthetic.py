"""What is left out of synthetic tables, how they are weighed, and what of them reaches the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.data.codec import Codec, Fit
from synth.data.infer import infer
from synth.data.schema import Schema
from synth.data.source import open_source
from synth.errors import UserError
from synth.recipe import Recipe
from synth.training import prepare
from synth.training.mixing import Given
from synth.training.prepare import Prepared
from synth.training.synthetic import weighed


def table(rows: int, first: int, cities: str) -> pa.Table:
    numbers = [0.5 * k for k in range(first, first + rows)]
    return pa.table({"x": numbers, "city": [cities[k % len(cities)] for k in range(rows)]})


def prepared(folder: Path, real: pa.Table, *synthetic: pa.Table, **keys: object) -> Prepared:
    paths = [folder / f"{k}.parquet" for k in range(1 + len(synthetic))]
    for path, made in zip(paths, (real, *synthetic), strict=True):
        pq.write_table(made, path)
    recipe = Recipe.check(keys).resolved(test_apart=False)
    given = [Given(str(path)) for path in paths[1:]]
    source = prepare.open_train(str(paths[0]), None, recipe)
    sources, schema = prepare.describe(source, None, recipe, synthetic=given)
    return prepare.prepare(sources, schema, recipe, synthetic=given)


def test_synthetic_rows_are_training_rows_and_no_others(tmp_path: Path) -> None:
    found = prepared(tmp_path, table(400, 0, "ab"), table(100, 900, "abc"), table(300, 5_000, "a"), mix=0.25)
    assert [share for share, _ in found.mixed] == pytest.approx([0.75 / 4, 0.75 * 3 / 4])
    assert [sum(len(part.cells) for part in parts) for _, parts in found.mixed] == [100, 300]
    assert found.rows["train"] + found.rows["select"] + found.rows["confirm"] + found.rows["test"] == 400
    assert len(found.real) == found.rows["train"] and set(found.test["city"].to_pylist()) == {"a", "b"}
    city = next(column for column in found.codec.columns if column.name == "city")
    assert "c" in city.values, "what only synthetic rows hold is known"
    assert any("of each batch 25.0% are real rows" in note for note in found.notes)


def test_twins_of_real_rows_that_are_held_out_are_not_learnt_from(tmp_path: Path) -> None:
    real = table(400, 0, "ab")
    found = prepared(tmp_path, real, pa.concat_tables([real, table(50, 900, "ab")]))
    held = found.rows["select"] + found.rows["confirm"] + found.rows["test"]
    [(_, parts)] = found.mixed
    assert held > 50 and sum(len(part.cells) for part in parts) == 450 - held
    assert f"synthetic 1: {held} rows are those of real rows that are held out, and were left out" in found.notes
    with pytest.raises(
        UserError, match=r"no row of it is left to learn from: .* are those of real rows that are held out"
    ):
        prepared(tmp_path, real, prepared(tmp_path, real).test)


def test_missing_values_where_no_real_row_misses_any_are_refused(tmp_path: Path) -> None:
    gaps = table(50, 900, "ab").set_column(1, "city", pa.array(["a", None] * 25))
    with pytest.raises(UserError, match=r"column 'city' misses 25 values, such as in row 1 .* and no real row does"):
        prepared(tmp_path, table(400, 0, "ab"), gaps)


def test_what_real_rows_do_not_look_like_is_told(tmp_path: Path) -> None:
    made = pa.table({"x": [900.5, 901.25, 902.125, None], "city": ["a", "c", "d", "c"]})
    real = pa.concat_tables([table(400, 0, "ab"), pa.table({"x": pa.nulls(2, pa.float64()), "city": ["a", "b"]})])
    notes = prepared(tmp_path, real, made, table(100, 900, "ab")).notes
    assert [note for note in notes if "decimals" in note] == [
        "synthetic 1: 2 values of 'x' have more than the 1 decimals of the real rows, and were rounded to them"
    ]
    assert [note for note in notes if "no real row has" in note] == [
        "synthetic 1: 'city' has 2 values that no real row has, such as 'c', in 3 rows; they are learnt, and will be drawn"
    ]


@pytest.mark.parametrize(
    ("weights", "share"), [([1.0, 1.0], 0.18), ([9.0, 1.0], 0.5), ([1.0, 9.0], 0.12), ([1.0, 1e-9], 0.83)]
)
def test_a_codec_shows_marginals_as_batches_do(weights: list[float], share: float) -> None:
    """Of 100 rows of which nine tenths are a, and 900 of which a tenth is; a row counts a hundred times at most."""
    kinds = [pa.table({"k": ["a"] * a + ["b"] * b}) for a, b in ((90, 10), (90, 810))]
    schema = infer(open_source(pa.concat_tables(kinds)))
    fits = [Fit(schema) for _ in kinds]
    for fit, kind in zip(fits, kinds, strict=True):
        for batch in kind.to_batches():
            fit.update(batch)
    codec = weighed(fits, np.array(weights)).finish(**Recipe().codec.model_dump())
    assert shares_of(codec, schema)["a"] == pytest.approx(share, abs=0.03)
    again = weighed(fits, np.array(weights)).finish(**Recipe().codec.model_dump())
    assert again == codec, "what is merged is as it was"


def shares_of(codec: Codec, schema: Schema) -> dict[str, float]:
    column = codec.columns[0]
    counts = np.array(column.counts, float)  # type: ignore[union-attr]
    return dict(zip(column.values, counts / counts.sum(), strict=True))  # type: ignore[union-attr]
