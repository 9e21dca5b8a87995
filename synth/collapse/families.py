"""The kinds of generators that a study can be of, each fitted to tables and drawing tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel

from synth.collapse.chain import Family, Model
from synth.collapse.coding import Coding
from synth.collapse.exact import Categorical, Kernel, Mixture
from synth.collapse.rows import Rows
from synth.errors import UserError
from synth.evaluation.frame import Lens
from synth.recipe import Recipe

EXACT = ("mixture", "kernel", "categorical")
NAMES = (*EXACT, "diffusion", "gan", "vae")
HEEDED = frozenset(  # by an exact family, too
    ("target", "categorical", "numerical", "datetime", "id", "exclude", "constraints", "broken", "split", "seed")
)
COMPONENTS, ROWS_EACH = 30, 40  # of a mixture at most, and the rows that each should have
FLOOR = 1e-3  # of variances, where a standard normal has 1
BINS = 20


def check(name: str) -> None:
    """UserError for what is no family."""
    if name not in NAMES:
        raise UserError(f"--family {name}: is none of {', '.join(NAMES)}")


def check_heeded(name: str, recipe: Recipe) -> None:
    """UserError for what a recipe sets and an exact family would pass over."""
    for key in sorted(recipe.model_fields_set - HEEDED) if name in EXACT else ():
        part = getattr(recipe, key)
        inner = sorted(part.model_fields_set) if isinstance(part, BaseModel) else []
        raise UserError(
            f"{f'{key}.{inner[0]}' if inner else key}: is of families that are trained, and {name} is fitted in moments: leave "
            "it out, or give --family diffusion, gan or vae"
        )


def exact(name: str, lens: Lens, real: pa.Table, size: int) -> Family[pa.Table]:
    """An exact family; what it keeps from generation to generation is chosen by all ``real`` rows that there are and by the
    ``size`` of a generation. UserError for a column that it cannot tell apart."""
    coding = Coding(lens, real)
    return OfTables(coding, _exact(name, coding, coding.rows(real), size))


def _exact(name: str, coding: Coding, real: Rows, size: int) -> Family[Rows]:
    width = real.numbers.shape[1]
    if name == "mixture":
        return Mixture(max(1, min(COMPONENTS, size // ROWS_EACH)), coding.sizes, FLOOR)
    if name == "kernel":
        # Silverman 1986, equation 4.14, for a standard normal of so many dimensions.
        factor = (4 / ((width + 2) * size)) ** (1 / (width + 4))
        return Kernel(factor * real.numbers.std(axis=0).clip(FLOOR**0.5), coding.sizes)
    edges = [np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1))) for column in real.numbers.T]
    edges = [e if len(e) > 1 else np.array([e[0] - 0.5, e[0] + 0.5]) for e in edges]
    return Categorical(coding.sizes, edges)


@dataclass(frozen=True)
class OfTables:
    """An exact family, fitted to tables as ``coding`` has them."""

    coding: Coding
    exact: Family[Rows]

    def fit(self, rows: pa.Table, weights: NDArray[np.float64], rng: np.random.Generator) -> Model[pa.Table]:
        return Drawing(self.coding, self.exact.fit(self.coding.rows(rows), weights, rng))

    def gather(self, parts: Sequence[pa.Table], rows: NDArray[np.intp]) -> pa.Table:
        return pa.concat_tables(parts).take(rows)


@dataclass(frozen=True)
class Drawing:
    """A model of such a family."""

    coding: Coding
    exact: Model[Rows]

    def sample(self, count: int, rng: np.random.Generator) -> pa.Table:
        return self.coding.table(self.exact.sample(count, rng))

    def log_density(self, rows: pa.Table) -> NDArray[np.float64] | None:
        """On the scale of normal scores: figures of one study compare, and no others."""
        return self.exact.log_density(self.coding.rows(rows))
