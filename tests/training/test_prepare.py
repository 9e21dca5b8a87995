"""What the certificate is handed of a table with more rows than it looks at."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synth.data.images import png
from synth.errors import UserError
from synth.evaluation.certificate import evaluate
from synth.recipe import Recipe
from synth.training import prepare
from synth.training.stored import Reader, Stored


def test_more_workers_than_rows_are_refused() -> None:
    table = pa.table({"x": np.arange(40) * 1.5, "c": ["a", "b"] * 20})
    recipe = Recipe.read(None, {"training.workers": 200, "split": [0.5, 0, 0, 0.5]})
    sources, schema = prepare.open_sources(table, None, recipe)
    with pytest.raises(UserError, match=r"--workers 200: there are \d\d training rows"):
        prepare.prepare(sources, schema, recipe)


@pytest.mark.parametrize("hold", [0, 1, 1024])
def test_the_choice_between_holding_and_streaming_is_by_size(hold: int) -> None:
    table = pa.table({"x": np.arange(200_000), "c": ["a", "b"] * 100_000, "spare": pa.nulls(200_000, pa.string())})
    recipe = Recipe.read(None, {"training.hold_mib": hold, "exclude": ["spare"]}).resolved(test_apart=False)
    held, told = prepare.is_held(prepare.open_train(table, None, recipe), recipe)
    assert held is (hold == 1024)  # 1.5 MiB
    assert told.startswith("200,000 rows × 2 columns, 2 MiB when encoded") and ("held" in told) is held
    assert held or f"training.hold_mib={hold}" in told


def images(folder: Path, rows: int = 300) -> Path:
    """Digits in three folders, and one file that is none."""
    draw = np.random.default_rng(0)
    for k in range(rows):
        (folder / str(k % 3)).mkdir(exist_ok=True, parents=True)
        (folder / str(k % 3) / f"{k:03}.png").write_bytes(png(draw.integers(0, 256, (4, 5, 1), dtype=np.uint8)))
    (folder / "0" / "torn.png").write_bytes(b"")
    return folder


def test_images_go_all_the_way_to_encoded_pixels(tmp_path: Path) -> None:
    recipe = Recipe.read(None, {}).resolved(test_apart=True)
    fresh = images(tmp_path / "test", 120)
    sources, schema = prepare.open_sources(images(tmp_path / "train"), fresh, recipe)
    found = prepare.prepare(sources, schema, recipe)
    assert isinstance(found.encoded, list) and found.codec.layout.image == (1, 4, 5) and schema.target == "label"
    values = np.concatenate([part.values for part in found.encoded])
    assert values.dtype == np.uint8 and len(values) == found.rows["train"] == found.real.num_rows == found.keys.rows
    assert sum(found.rows[part] for part in ("train", "select", "confirm")) == 300 and found.test.num_rows == 120
    assert found.real["image"].to_pylist() == [row.tobytes() for row in values]
    assert [note.split(":")[0] for note in found.notes] == [
        "1 of 301 images cannot be read and were left out", str(fresh)
    ]  # fmt: skip
    back = [found.codec.decode(part) for part in found.encoded]
    assert pa.Table.from_batches(back).equals(found.real)


def test_images_that_are_stored_are_those_that_are_held(tmp_path: Path) -> None:
    recipe = Recipe.read(None, {}).resolved(test_apart=False)
    sources, schema = prepare.open_sources(images(tmp_path / "train"), None, recipe)
    held = prepare.prepare(sources, schema, recipe)
    stored = prepare.prepare(sources, schema, recipe, store=str(tmp_path / "encoded"))
    assert isinstance(held.encoded, list) and isinstance(stored.encoded, Stored)
    records = Reader(stored.encoded).read(0, stored.encoded.rows)
    assert records["values"].dtype == np.uint8
    assert np.array_equal(records["values"], np.concatenate([part.values for part in held.encoded]))
    assert np.array_equal(records["cells"], np.concatenate([part.cells for part in held.encoded]))


def test_images_are_held_by_the_size_of_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = prepare.open_train(images(tmp_path), None, Recipe(split=(0.7, 0.1, 0.1, 0.1)))
    for size, mib in ((None, 0), (256, 19)):
        told = "4 × 1" if size is None else "256 × 1"
        for hold in (0, 1024):
            recipe = Recipe.read(None, {"training.hold_mib": hold, "image.size": size})
            held, sentence = prepare.is_held(source, recipe)
            assert held is (hold == 1024) and f"{told}, {mib} MiB when decoded" in sentence
    monkeypatch.setattr(prepare, "EVALUATED_BYTES", 20 * 50)
    recipe = Recipe.read(None, {}).resolved(test_apart=False)
    sources, schema = prepare.open_sources(tmp_path, None, recipe)
    found = prepare.prepare(sources, schema, recipe)
    assert found.real.num_rows < 90 < found.rows["train"] and f"on {found.real.num_rows} of the" in found.notes[1]


def test_encoded_rows_that_are_given_away_are_let_go() -> None:
    table = pa.table({"x": np.random.default_rng(0).normal(size=400), "c": ["a", "b"] * 200})
    recipe = Recipe(split=(0.7, 0.1, 0.1, 0.1))
    found = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
    assert isinstance(found.encoded, list)
    rows = weakref.ref(found.encoded[0].values)
    found.encoded.clear()
    gc.collect()
    assert rows() is None and found.keys.rows == sum(map(len, found.keys.blocks()))


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


def test_of_a_wide_table_fewer_rows_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "EVALUATED_VALUES", 60 * 40)
    rng = np.random.default_rng(0)
    table = pa.table({f"x{i}": rng.normal(size=600).round(3) for i in range(40)})
    recipe = Recipe(split=(0.7, 0.1, 0.1, 0.1))
    found = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
    assert 30 < found.real.num_rows < 100 < found.keys.rows == found.rows["train"]
    assert any(f"on {found.real.num_rows} of the {found.rows['train']} train rows" in note for note in found.notes)


def _orders() -> pa.Table:
    draw = np.random.default_rng(0)
    price, count = draw.integers(1, 20, 1000), draw.integers(1, 5, 1000)
    total = price * count
    total[:7] += 1
    return pa.table({"price": price, "count": count, "total": total, "row_id": [f"r{i}" for i in range(1000)]})


def test_a_constraint_that_real_rows_break_is_refused_with_their_share_unless_told() -> None:
    recipe = Recipe.read(None, {"constraints": ["total = price * count", "row_id ~ r\\d+"], "split": [0.5, 0, 0, 0.5]})
    sources, schema = prepare.open_sources(_orders(), None, recipe)
    with pytest.raises(
        UserError, match=r"'total = price \* count' is broken by 7 of 1,000 rows \(0\.70%\).*broken=0\.007"
    ):
        prepare.prepare(sources, schema, recipe)
    told = recipe.model_copy(update={"broken": 0.007})
    found = prepare.prepare(sources, schema, told)
    assert (
        "the constraint 'total = price * count' is broken by 7 of 1,000 rows (0.70%); these rows were left out"
        in found.notes
    )
    assert sum(found.rows.values()) == 993 and [c.name for c in found.codec.columns] == ["price", "count"]
    assert found.codec.decode(found.encoded[0]).num_rows == len(found.encoded[0].cells)


def test_the_ids_of_real_rows_are_tested_too() -> None:
    recipe = Recipe.read(None, {"constraints": ["row_id ~ r\\d\\d"], "split": [0.5, 0, 0, 0.5]})
    with pytest.raises(UserError, match="broken by 910 of 1,000 rows"):
        prepare.prepare(*prepare.open_sources(_orders(), None, recipe), recipe)


def test_contradictory_constraints_are_found_before_any_row_is_split() -> None:
    recipe = Recipe.read(None, {"constraints": ["price >= 10", "price * 2 <= 10"], "split": [0.5, 0, 0, 0.5]})
    with pytest.raises(UserError, match="no row can satisfy 'price >= 10' and 'price \\* 2 <= 10'"):
        prepare.open_sources(_orders(), None, recipe)


def watched(rows: int, split: tuple[float, ...], **settings: object) -> tuple[prepare.Prepared, np.ndarray]:
    rng = np.random.default_rng(0)
    table = pa.table(
        {"x": rng.normal(size=rows).round(6), "c": [str(i) if i < 80 else "c" for i in rng.permutation(rows)]}
    )
    recipe = Recipe.model_validate({"split": split, "seed": 5, **settings})
    found = prepare.prepare(*prepare.open_sources(table, None, recipe), recipe)
    return found, np.concatenate([part.values for part in found.watched.rows])


def test_training_is_watched_on_rows_of_select_that_can_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    found, values = watched(2000, (0.4, 0.5, 0, 0.1))
    assert found.watched.part == "select" and values.dtype == np.float32
    # Of 80 categories that one row has each, about 40 are in select, where no training row has their like.
    assert 20 < found.watched.left_out < 60
    assert len(values) + found.watched.left_out == found.rows["select"]
    trained = {float(x) for part in found.encoded for x in part.values[:, 0]}  # type: ignore[union-attr]
    assert not trained & {float(x) for x in values[:, 0]}
    monkeypatch.setattr(prepare, "MOST_WATCHED", 100)
    drawn, fewer = watched(2000, (0.4, 0.5, 0, 0.1))
    assert 60 < len(fewer) + drawn.watched.left_out < 140
    assert np.array_equal(fewer, watched(2000, (0.4, 0.5, 0, 0.1))[1])
    assert {float(x) for x in fewer[:, 0]} < {float(x) for x in values[:, 0]}
    # Both are bounded: their number, and what they take.
    monkeypatch.setattr(prepare, "WATCHED_BYTES", 8 * 30)
    assert 10 < sum(map(len, watched(2000, (0.4, 0.5, 0, 0.1))[1:])) < 60


@pytest.mark.parametrize("split", [(0.9, 0, 0, 0.1), (0.8, 0.1, 0, 0.1)])
def test_where_select_has_few_rows_training_is_watched_on_rows_of_train(split: tuple[float, ...]) -> None:
    found, values = watched(1000, split)
    assert found.watched.part == "train" and found.watched.left_out == 0 and len(values) == found.rows["train"]
