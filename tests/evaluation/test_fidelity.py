from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from synth.data.schema import Column, Kind, Schema
from synth.evaluation import fidelity
from synth.evaluation.fidelity import Shape, Trend, shape, trend, two_sample
from synth.evaluation.frame import Frame, Lens
from synth.evaluation.learners import fitted


def views(schema: Schema, *tables: pa.Table) -> tuple[Lens, list[Frame]]:
    lens = Lens.fit(schema, {f"table {i}": t for i, t in enumerate(tables)})
    return lens, [lens.view(t, "", np.random.default_rng(i))[0] for i, t in enumerate(tables)]


def plain(**kinds: Kind) -> Schema:
    return Schema(columns=[Column(name=n, kind=k, dtype="double" if k == "numerical" else "string")
                           for n, k in kinds.items()])  # fmt: skip


def shapes(schema: Schema, real: pa.Table, sample: pa.Table) -> Shape:
    lens, (a, b) = views(schema, real, sample)
    return shape(lens, a, b)


def trends(schema: Schema, real: pa.Table, sample: pa.Table) -> Trend:
    lens, (a, b) = views(schema, real, sample)
    return trend(lens, a, [b], np.random.default_rng(0))[0]


def test_identical_tables_have_no_error_and_disjoint_ones_all_of_it(
    schema: Schema, people: Callable[..., pa.Table]
) -> None:
    table = people(300, 0)
    assert shapes(schema, table, table).mean.value == 0
    assert trends(schema, table, table).mean.value == pytest.approx(0, abs=1e-12)
    kinds = plain(x="numerical", c="categorical", d="categorical")
    one = pa.table({"x": [1.0, 2.0], "c": ["a", "b"], "d": ["a", "b"]})
    other = pa.table({"x": [8.0, 9.0], "c": ["y", "z"], "d": ["y", "z"]})
    assert shapes(kinds, one, other).columns.tolist() == [100, 100, 100]
    assert trends(kinds, one, other).mean.value == 100


def test_shape_by_hand() -> None:
    real = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "c": ["a", "a", "b", None]})
    sample = pa.table({"x": [1.0, 1.0, 3.0, 9.0], "c": ["a", "b", "b", "z"]})
    # At 1 a quarter of the real and half of the synthetic numbers are seen, above 4 a quarter is left. Categories:
    # (|.5-.25| + |.25-.5| + |.25-0| + |0-.25|) / 2.
    assert shapes(plain(x="numerical", c="categorical"), real, sample).columns.tolist() == [25, 50]


def test_the_number_error_is_the_kolmogorov_smirnov_statistic() -> None:
    rng = np.random.default_rng(0)
    a, b = np.round(rng.normal(size=800), 1), np.round(rng.normal(0.3, 1.2, 500), 1)
    found = shapes(plain(x="numerical"), pa.table({"x": a}), pa.table({"x": b}))
    assert found.mean.value == pytest.approx(100 * ks_2samp(a, b).statistic)
    assert found.mean.low < found.mean.value < found.mean.high


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_a_missing_share_counts_wherever_the_numbers_lie(value: float) -> None:
    real = pa.table({"x": pa.array([0.0, 1.0] * 5)})
    sample = pa.table({"x": pa.array([value] * 4 + [None] * 6)})
    assert shapes(plain(x="numerical"), real, sample).mean.value >= 60 - 1e-9
    empty = pa.table({"x": pa.array([None] * 10, pa.float64())})
    assert shapes(plain(x="numerical"), real, empty).mean.value == 100
    assert shapes(plain(x="numerical"), empty, empty).mean.value == 0


def test_trend_by_hand() -> None:
    kinds = plain(x="numerical", y="numerical", c="categorical")
    real = pa.table({"x": [0.0, 1.0, 9.0, 10.0], "y": [0.0, 1.0, 9.0, 10.0], "c": ["a", "a", "b", "b"]})
    sample = pa.table({"x": [0.0, 1.0, 9.0, 10.0], "y": [10.0, 9.0, 1.0, 0.0], "c": ["a", "b", "b", "b"]})
    found = trends(kinds, real, sample)
    errors = {(a, b): found.errors[i, j] for i, a in enumerate(found.names) for j, b in enumerate(found.names)}
    assert errors["x", "y"] == pytest.approx(100)  # correlations 1 and -1
    assert errors["x", "c"] == pytest.approx(25)  # the row (1, a) became (1, b)
    assert errors["y", "c"] == pytest.approx(75)  # of 9 and 10, one bin and both b, one is still b
    assert found.mean.value == pytest.approx((100 + 25 + 75) / 3)


def test_an_outlier_does_not_move_the_bins() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    real = pa.table({"x": x, "c": np.where(x > 0, "up", "down").tolist()})
    odd = pa.table({"x": np.append(x, 1e6), "c": [*real["c"].to_pylist(), "up"]})
    assert trends(plain(x="numerical", c="categorical"), real, odd).mean.value < 0.1


def test_a_constant_column_has_no_trend_in_real_and_loses_it_in_the_sample() -> None:
    kinds = plain(x="numerical", y="numerical")
    varied = pa.table({"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]})
    flat = pa.table({"x": [1.0, 2.0, 3.0], "y": [5.0, 5.0, 5.0]})
    assert np.isnan(trends(kinds, flat, varied).errors).all()
    assert trends(kinds, varied, flat).mean.value == 50


def test_a_classifier_cannot_tell_one_distribution_but_a_shifted_one(
    schema: Schema, people: Callable[..., pa.Table]
) -> None:
    shifted = people(1500, 2)
    income = shifted.column_names.index("income")
    shifted = shifted.set_column(income, "income", pa.array(np.random.default_rng(0).normal(-50, 1, 1500)))
    lens, (real, same, other) = views(schema, people(1500, 0), people(1500, 1), shifted)
    equal = two_sample(lens, real, same, np.random.default_rng(0))
    apart = two_sample(lens, real, other, np.random.default_rng(0))
    assert equal is not None
    assert apart is not None
    assert equal.tree.value == pytest.approx(0.5, abs=0.05)
    assert equal.logistic.value == pytest.approx(0.5, abs=0.05)
    assert apart.tree.value > 0.99
    assert max(apart.betrayal, key=lambda name: apart.betrayal[name]) == "income"
    assert two_sample(lens, real.take(np.arange(5)), same, np.random.default_rng(0)) is None


def test_the_interval_of_a_two_sample_test_holds_a_half_for_two_samples_of_one_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Logistic alone, for speed: the trees of the same folds have the same interval.
    monkeypatch.setattr(fidelity, "fitted", lambda learner, *rest: fitted("linear", *rest))
    monkeypatch.setattr(fidelity, "_betrayal", lambda *rest: {})
    names = [f"x{i}" for i in range(6)]
    kinds = Schema(columns=[Column(name=n, kind="numerical", dtype="double") for n in names])
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        a, b = (pa.table(dict(zip(names, rng.normal(size=(6, 100)), strict=True))) for _ in range(2))
        lens, (real, sample) = views(kinds, a, b)
        found = two_sample(lens, real, sample, rng)
        assert found is not None
        held += found.logistic.low <= 0.5 <= found.logistic.high
    assert held >= 90  # of 100 at 95 %


def test_many_pairs_are_measured_on_fewer_rows_and_categories_and_a_note_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"c{i}" for i in range(8)]
    kinds = plain(**dict.fromkeys(names, "categorical"))
    rng = np.random.default_rng(0)
    a, b = (pa.table({n: [f"k{v}" for v in rng.integers(0, 12, 400)] for n in names}) for _ in range(2))
    whole = trends(kinds, a, b)
    assert whole.notes == []
    monkeypatch.setattr(fidelity, "MANY_PAIRS", 27)
    monkeypatch.setattr(fidelity, "PAIRED_ROWS", 300)
    monkeypatch.setattr(fidelity, "PAIRED_CATEGORIES", 5)
    lens, (real, sample) = views(kinds, a, b)
    said: list[float] = []
    cut = trend(lens, real, [sample], rng, said.append)[0]
    assert "300 rows of each table" in cut.notes[0]
    assert "beyond the 5 commonest" in cut.notes[1]
    assert cut.mean.value < whole.mean.value  # fewer cells, less noise
    assert said == sorted(said)
    assert len(said) == 8
    assert max(said) < 1


class Sure:
    """A tree that looks at one column, and counts how often it is asked."""

    def __init__(self, column: int) -> None:
        self.column, self.asked = column, 0

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.stack([1 - x[:, self.column], x[:, self.column]], axis=1)


@pytest.mark.parametrize(("columns", "most"), [(20, 21), (200, 201), (2_000, 250)])
def test_what_gives_a_wide_table_away_is_found_by_few_predictions(columns: int, most: int) -> None:
    rng = np.random.default_rng(0)
    fake = np.repeat([False, True], 100)
    x = rng.random((200, columns))
    x[:, columns - 7] = np.where(fake, 0.9, 0.1)
    tree = Sure(columns - 7)
    lost = fidelity._betrayal(tree, x, fake, [f"x{i}" for i in range(columns)], rng)
    assert max(lost, key=lambda name: lost[name]) == f"x{columns - 7}" and lost[f"x{columns - 7}"] > 0.4
    assert tree.asked <= most and (len(lost) == columns or columns > fidelity.PROBED)
