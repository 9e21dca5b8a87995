"""From tables to the rows of the exact families and back: numbers by their normal scores, categories by their codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from sklearn.preprocessing import QuantileTransformer

from synth.collapse.rows import Rows
from synth.data.schema import arrow_type
from synth.errors import UserError
from synth.evaluation.frame import Lens

QUANTILES = 1_000
MOST = 1_000  # categories of a column: a density over more of them is more holes than rows


class Coding:
    """Fitted on real rows: what a number is among them says where it lies on the scale of a standard normal, on which ties
    share a point and come back as what they were. Whether a number is missing is a category of its own.

    UserError for a column of more categories than can be told apart here.
    """

    def __init__(self, lens: Lens, real: pa.Table) -> None:
        self.lens = lens
        for name, vocabulary in zip(lens.code_names, lens.vocabularies, strict=True):
            if vocabulary.known > MOST:
                raise UserError(
                    f"column '{name}' has {vocabulary.known:,} categories, and the exact families take {MOST:,}; leave it out: "
                    f"--exclude {name}, or take --family diffusion"
                )
        numbers = lens.read(real, "the real rows")[0]
        gaps = np.isnan(numbers)
        self.gaps = np.flatnonzero(gaps.any(axis=0))
        self.scores = [Scores.of(column[~np.isnan(column)]) for column in numbers.T]
        self.sizes = [len(v.values) + 1 for v in lens.vocabularies] + [2] * len(self.gaps)

    def rows(self, table: pa.Table) -> Rows:
        """The rows of a table that has the compared columns."""
        numbers, codes = self.lens.read(table, "the rows")
        missing = np.isnan(numbers)
        scored = np.zeros(numbers.shape)
        for i, scores in enumerate(self.scores):
            if scores is not None:
                scored[~missing[:, i], i] = scores(numbers[~missing[:, i], i])
        return Rows(scored, np.hstack([codes, missing[:, self.gaps].astype(np.int32)]))

    def table(self, rows: Rows) -> pa.Table:
        """Such rows as a table with the compared columns, in the schema's types."""
        columns, own = dict[str, pa.Array](), len(self.lens.code_names)
        missing = np.zeros(rows.numbers.shape, bool)
        missing[:, self.gaps] = rows.codes[:, own:] == 1
        for i, (name, scores) in enumerate(zip(self.lens.number_names, self.scores, strict=True)):
            if scores is None:  # no real row has a value
                columns[name] = pa.nulls(len(rows), self._type(name))
            else:
                columns[name] = self._numbers(name, scores.back(rows.numbers[:, i]), missing[:, i])
        for j, (name, vocabulary) in enumerate(zip(self.lens.code_names, self.lens.vocabularies, strict=True)):
            codes = rows.codes[:, j]
            columns[name] = vocabulary.values.take(pa.array(codes - 1, mask=codes == 0)).cast(self._type(name))
        return pa.table({name: columns[name] for name in self.lens.schema.names if name in columns})

    def _type(self, name: str) -> pa.DataType:
        return arrow_type(self.lens.schema[name].dtype)

    def _numbers(self, name: str, values: NDArray[np.float64], missing: NDArray[np.bool_]) -> pa.Array:
        column, kind = self.lens.schema[name], self._type(name)
        if column.kind == "datetime":
            moments = pa.array(np.rint(values * 1e6).astype(np.int64), pa.int64(), mask=missing)
            return moments.cast(pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None)).cast(
                kind, safe=False
            )
        if column.decimals is not None and column.decimals < 15:
            values = np.round(values, column.decimals)
        return pa.array(values, pa.float64(), mask=missing).cast(kind, safe=False)


@dataclass(frozen=True)
class Scores:
    """Numbers to normal scores and back, by their quantiles among so many ``rows``; the k-th of n has that of the share
    (k − ½)/n. Before, numbers are brought to [0, 1], as scikit-learn takes what is 1e-7 apart for equal."""

    low: float
    span: float
    quantiles: QuantileTransformer
    rows: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Scores | None:
        """Of values, of which there may be none."""
        if not len(values):
            return None
        low, span = float(values.min()), float(np.ptp(values)) or 1.0
        quantiles = QuantileTransformer(n_quantiles=min(QUANTILES, len(values)), subsample=None, random_state=0)
        return cls(low, span, quantiles.fit((values[:, None] - low) / span), len(values))

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(values):
            return values
        shares = self.quantiles.transform((values[:, None] - self.low) / self.span)[:, 0]
        return np.asarray(ndtri((shares * (self.rows - 1) + 0.5) / self.rows))

    def back(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        shares = ((ndtr(scores) * self.rows - 0.5) / max(self.rows - 1, 1)).clip(0, 1)
        return np.asarray(self.low + self.span * self.quantiles.inverse_transform(shares[:, None])[:, 0])
