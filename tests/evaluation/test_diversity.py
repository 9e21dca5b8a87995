from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from synth.data.schema import Column, Schema
from synth.evaluation.diversity import categories, clouds, manifolds, ranges
from synth.evaluation.frame import Frame, Lens

MODES = Schema(columns=[Column(name=n, kind="numerical", dtype="double") for n in ("x", "y")])


def modes(rows: int, seed: int, kept: int = 8) -> pa.Table:
    """Rows around the first ``kept`` of eight points on a circle."""
    rng = np.random.default_rng(seed)
    angle = rng.integers(0, kept, rows) * np.pi / 4
    x, y = np.cos(angle) + rng.normal(0, 0.02, rows), np.sin(angle) + rng.normal(0, 0.02, rows)
    return pa.table({"x": x, "y": y})


def views(schema: Schema, *tables: pa.Table) -> tuple[Lens, list[Frame]]:
    lens = Lens.fit(schema, {f"table {i}": t for i, t in enumerate(tables)})
    return lens, [lens.view(t, "", np.random.default_rng(i))[0] for i, t in enumerate(tables)]


def test_dropped_modes_lower_recall_and_coverage_but_not_density() -> None:
    lens, (real, fresh, half) = views(MODES, modes(800, 0), modes(800, 1), modes(800, 2, kept=4))
    found = clouds(lens, real, [fresh, half], np.random.default_rng(0))
    assert found is not None
    whole, dropped = found
    assert whole.coverage.value > 0.9
    assert whole.beta_recall.value == pytest.approx(50, abs=8)
    assert whole.density.value == pytest.approx(1, abs=0.15)
    assert dropped.coverage.value == pytest.approx(0.5, abs=0.06)
    assert dropped.beta_recall.value < whole.beta_recall.value - 10
    # Precision, as density counts it, sees nothing: what is drawn is real enough.
    assert dropped.density.value > whole.density.value - 0.15


def test_noise_lowers_precision_and_density() -> None:
    noise = np.random.default_rng(9).uniform(-3, 3, (2, 800))
    lens, (real, fresh, far) = views(MODES, modes(800, 0), modes(800, 1), pa.table({"x": noise[0], "y": noise[1]}))
    found = clouds(lens, real, [fresh, far], np.random.default_rng(0))
    assert found is not None
    assert found[1].alpha_precision.value < found[0].alpha_precision.value - 30
    assert found[1].density.value < 0.1
    assert clouds(lens, real.take(np.arange(5)), [fresh], np.random.default_rng(0)) is None


def test_density_counts_ties_which_tables_of_categories_are_full_of() -> None:
    names = [f"c{i}" for i in range(12)]
    schema = Schema(columns=[Column(name=n, kind="categorical", dtype="string") for n in names])

    def draw(seed: int) -> pa.Table:
        rng = np.random.default_rng(seed)
        return pa.table({n: rng.choice(["a", "b", "c"], 600) for n in names})

    lens, (real, sample) = views(schema, draw(0), draw(1))
    found = clouds(lens, real, [sample], np.random.default_rng(0))
    assert found is not None
    # One-hot rows are at √2 times the root of the columns in which they differ: integers, without rounding.
    apart = [(real.codes[:, None] != other.codes[None]).sum(axis=2) for other in (real, sample)]
    radius = np.sort(apart[0], axis=1)[:, 5]
    assert found[0].density.value == pytest.approx((apart[1] <= radius[:, None]).sum() / 5 / 600)
    assert found[0].coverage.value == pytest.approx((apart[1].min(axis=1) <= radius).mean())


def test_lost_categories_are_counted_and_named(schema: Schema, people: Callable[..., pa.Table]) -> None:
    lens, (_, fresh, poor) = views(schema, people(4000, 0), people(4000, 1), people(4000, 2, towns=8))
    whole, lost = categories(lens, fresh), categories(lens, poor)
    assert whole.all is not None
    assert lost.all is not None
    assert lost.rare is not None
    assert whole.all.value == 1
    assert lost.all.value == pytest.approx(10 / 12)  # ten towns and two answers, two towns lost
    assert lost.rare.value == 0
    assert [lens.vocabularies[0].label(code) for code in lost.absent[0]] == ["town 8", "town 9"]
    assert lost.by_column.tolist() == [0.8, 1.0]


def test_a_category_seen_once_is_not_asked_for() -> None:
    schema = Schema(columns=[Column(name="c", kind="categorical", dtype="string")])
    lens, (_, sample) = views(schema, pa.table({"c": ["a", "a", "once"]}), pa.table({"c": ["a", "a"]}))
    found = categories(lens, sample)
    assert found.all is not None
    assert found.all.value == 1
    assert found.rare is None


def test_range_coverage_by_hand() -> None:
    real = pa.table({"x": [0.0, 10.0], "y": [0.0, 10.0]})
    lens, (_, sample) = views(MODES, real, pa.table({"x": [2.0, 7.0], "y": [-5.0, 50.0]}))
    found = ranges(lens, sample)
    assert found is not None
    assert found.value == pytest.approx((0.5 + 1) / 2)
    flat, (_, sample) = views(MODES, pa.table({"x": [1.0], "y": [1.0]}), real)
    assert ranges(flat, sample) is None


def test_precision_and_recall_of_features_by_their_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 3)), rng.normal(size=(80, 3)) * 0.5 + 0.5
    found = manifolds(x, [x, y], np.random.default_rng(0))
    apart = {name: np.linalg.norm(a[:, None] - b, axis=2) for name, (a, b) in
             {"xx": (x, x), "yy": (y, y), "xy": (x, y)}.items()}  # fmt: skip
    radius = {name: np.sort(apart[name], axis=1) for name in ("xx", "yy")}
    assert found[1].precision.value == pytest.approx((apart["xy"] <= radius["xx"][:, 3:4]).any(axis=0).mean())
    assert found[1].recall.value == pytest.approx((apart["xy"] <= radius["yy"][:, 3]).any(axis=1).mean())
    assert found[1].density.value == pytest.approx((apart["xy"] <= radius["xx"][:, 5:6]).sum() / 5 / 80)
    assert found[1].coverage.value == pytest.approx((apart["xy"].min(axis=1) <= radius["xx"][:, 5]).mean())
    assert (found[0].precision.value, found[0].recall.value, found[0].coverage.value) == (1, 1, 1)
    assert 0 < found[1].recall.value < found[1].precision.value
