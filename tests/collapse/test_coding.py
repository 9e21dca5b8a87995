"""From tables to what the exact families see, and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.special import ndtri
from scipy.stats import kstest

from synth.collapse.coding import MOST, Coding, Scores
from synth.collapse.rows import Rows
from synth.data.schema import Column, Schema
from synth.errors import UserError
from synth.evaluation.frame import Lens
from tests.collapse.tables import mixed, schema_of


@pytest.fixture(scope="module")
def real() -> pa.Table:
    return mixed(2_000, 0)


@pytest.fixture(scope="module")
def coding(real: pa.Table) -> Coding:
    return Coding(Lens.fit(schema_of(real), {"real": real}), real)


def test_rows_come_back_as_they_were(coding: Coding, real: pa.Table) -> None:
    back = coding.table(coding.rows(real))
    assert back.column_names == real.column_names
    for name in real.column_names:
        same = back[name].cast(real[name].type)
        assert pc.is_null(same).equals(pc.is_null(real[name])), name
        if name == "y":  # of full precision
            assert np.allclose(same.to_numpy(), real[name].to_numpy(), atol=1e-2)
        else:
            assert (pc.sum(pc.equal(same, real[name])).as_py() or 0) >= 0.995 * (len(real) - real[name].null_count), (
                name
            )


def test_numbers_are_standard_normal_and_gaps_are_categories(coding: Coding, real: pa.Table) -> None:
    rows = coding.rows(real)
    assert rows.numbers.shape == (2_000, 5) and rows.codes.shape == (2_000, 4)
    assert coding.sizes == [4, 3, 3, 2]  # of town, open and class with the missing one, and whether x is
    assert kstest(rows.numbers[:, 1], "norm").pvalue > 0.01
    assert (rows.codes[:, 3] == 1).sum() == real["x"].null_count > 0


@pytest.mark.parametrize("count", [100, 1_000])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_scores_have_the_variance_of_a_standard_normal_whatever_the_unit(count: int, scale: float) -> None:
    values = scale * np.random.default_rng(0).lognormal(size=count)
    scores = Scores.of(values)
    assert scores is not None
    found = scores(values)
    assert found.var() == pytest.approx(1, abs=0.05) and found.max() == pytest.approx(ndtri(1 - 0.5 / count), abs=1e-6)
    assert np.allclose(scores.back(found), values, rtol=0.02)


def test_numbers_that_are_all_the_same_come_back(coding: Coding) -> None:
    scores = Scores.of(np.full(50, 7.5))
    assert scores is not None and set(scores.back(scores(np.full(3, 7.5)))) == {7.5} == set(
        scores.back(np.array([-3.0, 3.0]))
    )


def test_what_lies_beyond_the_real_rows_comes_back_as_their_ends(coding: Coding, real: pa.Table) -> None:
    rows = coding.rows(real)
    far = Rows(np.where(np.arange(len(rows))[:, None] % 2, 9.0, -9.0) + 0 * rows.numbers, rows.codes)
    back = coding.table(far)
    assert pc.min_max(back["y"]).as_py() == pytest.approx(pc.min_max(real["y"]).as_py())
    assert pc.min_max(back["at"]).as_py() == pc.min_max(real["at"]).as_py()


def test_a_column_without_values_and_one_of_too_many_categories() -> None:
    table = pa.table({"x": pa.nulls(50, pa.float64()), "k": [str(k % 3) for k in range(50)]})
    columns = [
        Column(name="x", kind="numerical", dtype="double", nullable=True), Column(name="k", kind="categorical", dtype="string"),
    ]  # fmt: skip
    coding = Coding(Lens.fit(Schema(columns=columns), {"real": table}), table)
    assert coding.table(coding.rows(table)).equals(table)
    many = pa.table({"x": np.arange(MOST + 1.0), "k": [str(k) for k in range(MOST + 1)]})
    with pytest.raises(
        UserError, match=r"column 'k' has 1,001 categories, and the exact families take 1,000.*--exclude k"
    ):
        Coding(Lens.fit(Schema(columns=columns), {"real": many}), many)
