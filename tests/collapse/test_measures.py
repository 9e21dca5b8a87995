"""What a generation is measured by goes down when what it measures is lost, and not otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from synth.collapse.measures import FIGURES, Judge
from synth.evaluation.frame import Lens
from tests.collapse.tables import mixed, schema_of


@pytest.fixture(scope="module")
def judge() -> Judge:
    real = mixed(3_000, 0)
    return Judge(Lens.fit(schema_of(real), {"real": real}), real, mixed(1_500, 1), 0)


@pytest.fixture(scope="module")
def well(judge: Judge) -> dict[str, float]:
    """Of real rows of another draw."""
    return dict(judge(mixed(3_000, 2)))


def test_real_rows_are_as_real_rows(well: dict[str, float]) -> None:
    assert well.keys() == FIGURES.keys() - {"likelihood"}
    assert well["utility"] == pytest.approx(1, abs=0.02) and well["c2st"] == pytest.approx(0.5, abs=0.03)
    assert well["coverage"] > 0.95 and well["recall"] > 0.8 and well["rare"] == 1 and well["modes"] == 50
    assert well["variance"] == pytest.approx(1, abs=0.03)


def without_a_cloud(table: pa.Table) -> pa.Table:
    """The rarest of them, by its place."""
    x, y = pc.fill_null(table["x"], 0), table["y"]
    return table.filter(pc.invert(pc.and_(pc.greater(x, 5), pc.greater(y, 5))))


def without_rare(table: pa.Table) -> pa.Table:
    return table.filter(pc.not_equal(table["town"], "hamlet"))


def shuffled(table: pa.Table) -> pa.Table:
    """Columns that know nothing of each other."""
    rng = np.random.default_rng(0)
    return pa.table({name: table[name].take(rng.permutation(len(table))) for name in table.column_names})


@pytest.mark.parametrize(
    ("lose", "down", "same"),
    [
        (without_a_cloud, {"coverage", "modes", "c2st"}, {"rare"}),
        (without_rare, {"rare"}, {"utility", "coverage", "variance"}),
        (shuffled, {"utility", "c2st"}, {"rare", "variance"}),
    ],
)
def test_what_is_lost_is_seen(
    judge: Judge, well: dict[str, float], lose: Callable[[pa.Table], pa.Table], down: set[str], same: set[str]
) -> None:
    found = judge(lose(mixed(4_000, 3)))
    for name in down:
        assert FIGURES[name].worse * (found[name] - well[name]) > 0.03, name
    for name in same:
        assert found[name] == pytest.approx(well[name], abs=0.03), name


def test_of_a_table_without_a_target_there_is_no_utility_and_it_is_said() -> None:
    real = mixed(500, 0).select(["x", "y"])
    from synth.data.infer import infer
    from synth.data.source import open_source

    judge = Judge(Lens.fit(infer(open_source(real)), {"real": real}), real, mixed(300, 1).select(["x", "y"]), 0)
    found = judge(mixed(500, 2).select(["x", "y"]))
    assert "utility" not in found and "rare" not in found and found["coverage"] > 0.9
    assert any("no target is named" in note for note in judge.notes)
