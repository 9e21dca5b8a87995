"""Families by their names, fitted to tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from synth.collapse.families import EXACT, check, exact
from synth.errors import UserError
from synth.evaluation.frame import Lens
from tests.collapse.tables import mixed, schema_of


@pytest.fixture(scope="module")
def real() -> pa.Table:
    return mixed(1_500, 0)


@pytest.fixture(scope="module")
def lens(real: pa.Table) -> Lens:
    return Lens.fit(schema_of(real), {"real": real})


@pytest.mark.parametrize("name", EXACT)
def test_tables_are_fitted_and_drawn_the_same_again_from_a_seed(name: str, lens: Lens, real: pa.Table) -> None:
    drawn = []
    for _ in range(2):
        rng = np.random.default_rng(1)
        model = exact(name, lens, real, len(real)).fit(real, np.full(len(real), 1 / len(real)), rng)
        drawn.append(model.sample(1_000, rng))
    assert drawn[0].equals(drawn[1]) and drawn[0].schema.types == [
        lens.schema.arrow().field(n).type for n in lens.schema.names
    ]
    density = model.log_density(mixed(500, 2))
    assert density is not None and np.isfinite(density).all()
    assert abs(np.mean(drawn[0]["count"].to_numpy()) - 40) < 1.5
    assert 0.05 < drawn[0]["x"].null_count / 1_000 < 0.15


def test_a_mixture_is_surer_of_real_rows_than_columns_apart(lens: Lens) -> None:
    real, fresh = mixed(6_000, 3), mixed(1_000, 2)
    even = np.full(len(real), 1 / len(real))
    said = {}
    for name in ("mixture", "categorical"):
        density = exact(name, lens, real, len(real)).fit(real, even, np.random.default_rng(0)).log_density(fresh)
        assert density is not None
        said[name] = density.mean()
    assert said["mixture"] > said["categorical"] + 0.5


def test_rows_are_gathered_as_if_laid_end_to_end(lens: Lens, real: pa.Table) -> None:
    made = exact("kernel", lens, real, 100)
    drawn = made.fit(real, np.full(len(real), 1 / len(real)), np.random.default_rng(0)).sample(
        5, np.random.default_rng(1)
    )
    real = real.cast(drawn.schema)
    found = made.gather([real.slice(0, 10), drawn], np.array([14, 0, 10]))
    assert found.to_pylist() == [
        part.to_pylist()[0] for part in (drawn.slice(4, 1), real.slice(0, 1), drawn.slice(0, 1))
    ]


def test_what_is_no_family_is_told_which_are() -> None:
    with pytest.raises(
        UserError, match="--family forest: is none of mixture, kernel, categorical, diffusion, gan, vae"
    ):
        check("forest")
