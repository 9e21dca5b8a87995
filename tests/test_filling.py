"""Gaps filled by a release: what is known stays, what is missing comes, and what was met is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from synth.data.codec import Fit
from synth.data.infer import infer
from synth.data.source import open_source
from synth.errors import UserError
from synth.filling import Filling
from synth.generators.families import build
from synth.generators.given import Given
from synth.recipe import Recipe
from synth.sampling import BLOCK, Sampler

ROWS = 1500
DRAW = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "age": DRAW.integers(18, 90, ROWS),
        "city": DRAW.choice(["Rome", "Oslo", "Bonn"], ROWS),
        "word": [f"w{k}" for k in DRAW.exponential(200, ROWS).astype(int)],
        "pay": np.round(DRAW.lognormal(8, 1, ROWS), 2),
        "gain": np.where(DRAW.random(ROWS) < 0.8, 0, DRAW.integers(1, 9999, ROWS)),
        "x": DRAW.normal(size=ROWS),
        "day": np.datetime64("2020-01-01") + DRAW.integers(0, 900, ROWS),
    }
)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    table = TABLE.copy()
    for name in ("pay", "word"):  # which the training rows miss, too
        table[name] = table[name].where(np.arange(ROWS) % 5 > 0)
    return untrained(table)


def untrained(table: pd.DataFrame, constraints: tuple[str, ...] = ()) -> Sampler:
    recipe = Recipe.read(None, {"diffusion.width": 32, "diffusion.blocks": 1, "diffusion.steps": 4})
    source = open_source(table)
    fit = Fit(infer(source, categorical=["word"] if "word" in table else [], constraints=constraints))
    for batch in source.batches():
        fit.update(batch)
    codec = fit.finish(**recipe.codec.model_dump())
    torch.manual_seed(0)
    generator = build(recipe, codec.layout)
    for parameter in generator.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Sampler(generator, codec)


def with_gaps() -> pd.DataFrame:
    gaps, draw = TABLE.copy(), np.random.default_rng(1)
    for name in gaps.columns:
        gaps[name] = gaps[name].mask(draw.random(ROWS) < 0.3)
    return gaps


def filled(sampler: Sampler, table: object, seed: int = 0) -> tuple[pa.Table, list[str]]:
    filling = Filling(sampler, open_source(table), seed)  # type: ignore[arg-type]
    return pa.Table.from_batches(filling.batches(), filling.schema), filling.notes


def test_what_is_known_stays_and_nothing_else_is_missing(sampler: Sampler) -> None:
    gaps = with_gaps()
    table, notes = filled(sampler, gaps)
    before = pa.Table.from_pandas(gaps, preserve_index=False)
    for name in gaps.columns:
        known = np.flatnonzero(gaps[name].notna())
        assert table[name].null_count == 0
        assert table[name].take(known).to_pylist() == before[name].take(known).to_pylist()
        assert f"'{name}': {ROWS - len(known):,} missing cells filled" in notes
    frame = table.to_pandas()
    assert frame["age"].between(18, 89).all() and set(frame["city"]) == {"Rome", "Oslo", "Bonn"}
    assert filled(sampler, gaps)[0].equals(table) and not filled(sampler, gaps, seed=1)[0].equals(table)


def test_what_is_tied_to_a_known_number_equals_it() -> None:
    draw = np.random.default_rng(2)
    bill, other = draw.integers(0, 10**6, (2, ROWS))
    table = pd.DataFrame({"bill": bill, "paid": np.where(draw.random(ROWS) < 0.5, bill, other)})
    model = untrained(table)
    gaps = table.astype("Int64").mask(draw.random((ROWS, 2)) < 0.4)
    gaps.loc[7, "bill"] = 5 * 10**6  # which the model does not know
    frame = filled(model, gaps)[0].to_pandas()
    for name in ("bill", "paid"):
        there = gaps[name].notna()
        assert frame[name].notna().all() and (frame[name] == gaps[name])[there].all()
    drawn = gaps["bill"].notna() & gaps["paid"].isna()
    assert (frame["bill"] == frame["paid"])[drawn].mean() > 0.1


def test_a_number_that_is_known_tells_of_the_column_that_it_may_be_tied_to() -> None:
    """Of large payments nearly all are the bill, of small ones few, and of none at all nobody knows."""
    draw, rows = np.random.default_rng(3), 8000
    bill, kind = draw.integers(1, 10**6, rows), draw.random(rows)
    paid = np.select([kind < 0.2, kind < 0.4], [bill, 0], draw.integers(1, 10**5, rows))
    table = pd.DataFrame({"bill": bill, "paid": paid})
    model = untrained(table)
    gaps = table.astype("Int64").assign(bill=table["bill"].astype("Int64").mask(draw.random(rows) < 0.9))
    gaps.loc[7] = [None, 5 * 10**6]  # which the model does not know
    known, frame = gaps["bill"].notna(), filled(model, gaps)[0].to_pandas()
    assert (frame["bill"] == gaps["bill"])[known].all() and (frame["paid"] == gaps["paid"]).all()
    equal, real = (frame["bill"] == frame["paid"])[~known], (table["bill"] == table["paid"])[~known]
    for low, high in ((1, 50_000), (1, 90_000), (120_000, 10**6)):
        among = gaps["paid"][~known].between(low, high)
        assert equal[among].mean() == pytest.approx(real[among].mean(), abs=0.04)
    assert equal[gaps["paid"][~known] > 120_000].mean() > 0.95
    assert not equal[gaps["paid"][~known] == 0].any() and not equal.loc[7]
    assert frame.equals(filled(model, gaps)[0].to_pandas())
    assert not frame["bill"].equals(filled(model, gaps, seed=1)[0].to_pandas()["bill"])


def test_a_column_of_a_constraint_is_left_to_be_drawn_anew() -> None:
    draw, rows, share = np.random.default_rng(4), 3000, []
    bill, other, fee = draw.integers(0, 10**6, (3, rows))
    table = pd.DataFrame({"bill": bill, "paid": np.where(draw.random(rows) < 0.5, bill, other), "fee": fee})
    gaps = table.astype("Int64").assign(bill=pd.array([None] * rows, "Int64"))
    for constraints in ((), ("bill + fee <= 2000000",)):
        frame = filled(untrained(table, constraints), gaps)[0].to_pandas()
        share.append((frame["bill"] == frame["paid"]).mean())
    assert share[0] == pytest.approx(0.5, abs=0.06) and share[1] < 0.01


def test_values_that_the_release_has_never_seen_are_kept_and_counted(sampler: Sampler) -> None:
    gaps = with_gaps()
    gaps.loc[3, ["city", "pay", "x"]] = ["Paris", 1e9, -77.5]
    gaps.loc[4, "city"] = "Lima"
    table, notes = filled(sampler, gaps)
    frame = table.to_pandas()
    assert frame.loc[3, ["city", "pay", "x"]].tolist() == ["Paris", 1e9, -77.5] and frame.loc[4, "city"] == "Lima"
    kept = "values that the training rows do not have were kept, and taken for unknown by the model"
    assert {f"'{name}': {count} {kept}" for name, count in (("city", 2), ("x", 1))} <= set(notes)
    assert any(note.startswith("'pay': ") and note.endswith(kept) for note in notes)


def test_columns_that_are_lacking_are_added_and_others_left_alone(sampler: Sampler) -> None:
    part = TABLE[["city", "age"]].assign(mine="kept", age=TABLE["age"].astype("int8"))
    part.loc[5, "mine"] = None
    table, notes = filled(sampler, part)
    assert table.column_names == ["city", "age", "mine", "word", "pay", "gain", "x", "day"]
    assert table["mine"].to_pylist() == ["kept"] * 5 + [None] + ["kept"] * (ROWS - 6)
    assert table["age"].to_pylist() == part["age"].tolist() and all(c.null_count == 0 for c in table.columns[3:])
    assert "'pay': the table has no such column; it was added" in notes
    assert "not learnt by the release, and left as they are: mine" in notes


def test_a_whole_row_can_be_missing_and_text_stays_text(sampler: Sampler, tmp_path: Path) -> None:
    file = tmp_path / "gaps.csv"
    file.write_text("city,age,x\nRome,,\n,,\n,41,0.5\n")
    table, _ = filled(sampler, str(file))
    assert table["city"][0].as_py() == "Rome" and table["age"][2].as_py() == 41 and table["x"][2].as_py() == 0.5
    assert not any(column.null_count for column in table.columns)


def test_the_model_is_told_what_is_known(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Given] = []
    plain = sampler.generator.sample

    def sample(rows: int, draw: object, given: Given) -> object:
        seen.append(given)
        return plain(rows, draw, given)  # type: ignore[arg-type]

    monkeypatch.setattr(sampler.generator, "sample", sample)
    filled(sampler, with_gaps())
    assert [len(given.low) for given in seen] == [BLOCK, ROWS - BLOCK]
    layout, gaps = sampler.codec.layout, with_gaps().iloc[:BLOCK]
    of = torch.arange(len(layout.cells)).repeat_interleave(torch.tensor(layout.sizes))
    known = seen[0].known_cells(of, len(layout.cells))
    names = [c.name for c in sampler.codec.columns for _ in c.cells]
    for name in ("age", "city", "gain"):
        np.testing.assert_array_equal(known[:, names.index(name)].numpy(), gaps[name].notna().to_numpy())
    values = [c.name for c in sampler.codec.columns if c.how == "numbers"]
    there = gaps["x"].notna().to_numpy()
    np.testing.assert_array_equal(seen[0].known_values[:, values.index("x")].numpy(), there)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"other": [1, 2]}), "has none of the columns that the release has learnt: age, city"),
        (pd.DataFrame({"age": ["old", "12"]}), "row 1: column 'age' should hold int64, but here stands 'old'"),
        (pd.DataFrame({"x": [1.0, np.inf]}), "row 2: column 'x' is inf"),
    ],
)
def test_a_table_that_cannot_be_filled_is_explained(sampler: Sampler, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(UserError, match=message):
        filled(sampler, table)
