"""Judges of real rows let likely ones pass, of each class as many; and rows that lie apart say more than as many by chance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from synth.data.infer import infer
from synth.data.schema import Schema
from synth.data.source import open_source
from synth.errors import UserError
from synth.evaluation.neighbours import nearest
from synth.training.chosen import spread, verified


def rows(count: int, seed: int, rare: float = 0.1) -> pa.Table:
    """A rare class and a frequent one, which both other columns tell apart."""
    rng = np.random.default_rng(seed)
    kind = (rng.random(count) < rare).astype(int)
    return pa.table(
        {
            "size": 4.0 * kind + rng.normal(size=count),
            "colour": np.where(rng.random(count) < 0.9, np.array(["red", "blue"])[kind], "green"),
            "kind": np.array(["common", "rare"])[kind],
        }
    )


def schema_of(table: pa.Table, target: str | None = "kind") -> Schema:
    return infer(open_source(table), target=target)


def mislabelled(table: pa.Table, share: float, seed: int) -> tuple[pa.Table, NDArray[np.bool_]]:
    wrong = np.random.default_rng(seed).random(len(table)) < share
    kinds = np.array(table["kind"].to_pylist())
    swapped = np.where(wrong, np.where(kinds == "rare", "common", "rare"), kinds)
    return table.set_column(2, "kind", pa.array(swapped)), wrong


def test_wrong_rows_are_found_and_no_class_dies_out() -> None:
    real, (made, wrong) = rows(1500, 0), mislabelled(rows(2000, 1), 0.2, 2)
    passed = verified(schema_of(real), real, made, 0.3, np.random.default_rng(3))
    kinds = np.array(made["kind"].to_pylist())
    for kind in ("common", "rare"):
        assert passed[kinds == kind].mean() == pytest.approx(0.3, abs=0.02), "each class keeps its share"
    assert wrong[passed].mean() < 0.4 * wrong.mean()
    again = verified(schema_of(real), real, made, 0.3, np.random.default_rng(3))
    assert np.array_equal(passed, again)


def test_a_class_that_no_real_row_has_does_not_pass() -> None:
    real, made = rows(1500, 0), rows(500, 1)
    other = made.set_column(2, "kind", pa.array(["other"] * 20 + made["kind"].to_pylist()[20:]))
    passed = verified(schema_of(real), real, other, 0.9, np.random.default_rng(0))
    assert not passed[:20].any() and passed[20:].mean() > 0.85


def test_numbers_are_verified_by_quantile_and_rows_without_a_target_by_isolation() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1200)
    real = pa.table({"x": x, "y": 2 * x + 0.1 * rng.normal(size=1200)})
    wrong = rng.random(1200) < 0.2
    made = pa.table({"x": x, "y": 2 * x + 0.1 * rng.normal(size=1200) + np.where(wrong, 3 * rng.normal(size=1200), 0)})
    passed = verified(schema_of(real, "y"), real, made, 0.7, np.random.default_rng(1))
    assert wrong[passed].mean() < 0.6 * wrong.mean()
    far = pa.table({"x": np.where(wrong, 9.0, x), "y": made["y"]})
    assert not verified(schema_of(real, None), real, far, 0.7, np.random.default_rng(1))[wrong].any()


def test_rows_that_lie_apart_are_chosen_class_by_class_and_noise_last() -> None:
    real, made = rows(1500, 0), rows(3000, 1)
    sizes = np.array(made["size"].to_pylist())
    sizes[:10] = 1e3  # noise, which is farthest from everything
    made = made.set_column(0, "size", pa.array(sizes))
    schema = schema_of(real)
    chosen = spread(schema, real, made, 0.1, np.random.default_rng(0))
    kinds = np.array(made["kind"].to_pylist())
    for kind in ("common", "rare"):
        assert chosen[kinds == kind].mean() == pytest.approx(0.1, abs=0.01)
    assert not chosen[:10].any()
    mine = sizes[chosen & (kinds == "common")][:, None]
    chance = sizes[10:][kinds[10:] == "common"][: len(mine), None]
    assert np.median(nearest(mine, mine, 2)[:, 1]) > 2 * np.median(nearest(chance, chance, 2)[:, 1])


def test_the_rarest_class_is_known_to_each_judge_and_gaps_pass_as_others_do() -> None:
    real, made = rows(400, 0, rare=0.0), rows(600, 1)
    one = real.slice(0, 1).set_column(2, "kind", pa.array(["rare"]))
    known = pa.concat_tables([real, one])
    kinds = [*made["kind"].to_pylist()[:500], *[None] * 100]
    gaps = made.set_column(2, "kind", pa.array(kinds))
    for seed in range(4):
        passed = verified(schema_of(known), known, gaps, 0.5, np.random.default_rng(seed))
        for kind in ("common", "rare", None):
            mask = np.array([value == kind for value in kinds])
            assert passed[mask].mean() == pytest.approx(0.5, abs=0.06), kind


def test_of_rows_with_many_twins_a_share_is_chosen_all_the_same() -> None:
    rng = np.random.default_rng(0)
    kinds = pa.table({name: np.array(list("abc"))[rng.integers(0, 3, 2000)] for name in ("x", "y", "kind")})
    chosen = spread(schema_of(kinds), kinds, kinds, 0.5, np.random.default_rng(1))
    assert chosen.mean() == pytest.approx(0.5, abs=0.01)
    distinct = {tuple(row.values()) for row in kinds.filter(pa.array(chosen)).to_pylist()}
    assert len(distinct) == 27


def test_a_table_of_the_target_alone_cannot_be_verified() -> None:
    alone = rows(400, 0).select(["kind"])
    with pytest.raises(UserError, match=r"--verify: rows have no column beside 'kind'"):
        verified(schema_of(alone), alone, alone, 0.5, np.random.default_rng(0))
