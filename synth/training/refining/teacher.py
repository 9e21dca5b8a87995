"""A model that has learnt from real rows, and what it says of a release's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_predict

from synth.errors import UserError
from synth.evaluation import features
from synth.evaluation.frame import MAX_CELLS, Lens
from synth.evaluation.learners import fitted
from synth.training.prepare import Prepared

FOLDS, TAUGHT = 5, 50_000
NEAR = 200  # real rows whose predictions are nearest: what their targets differ from these by stands for a row's own spread


@dataclass(frozen=True)
class Said:
    """Of n rows: by class ``chances`` (n, K), or None and what is ``predicted`` (n,) of a number; ``loss`` (n,) of the targets
    that they have, in nats or squared standard deviations of the target."""

    chances: NDArray[np.float64] | None
    predicted: NDArray[np.float64]
    loss: NDArray[np.float64]

    @property
    def entropy(self) -> NDArray[np.float64]:
        """(n,) nats; of classes alone."""
        assert self.chances is not None
        return _entropy(self.chances)


class Teacher:
    """Boosted trees that learn the target of real rows, or a ``model`` that has: one with ``predict_proba`` and ``classes_``,
    or ``predict`` for numbers, of a pandas frame of the other columns.

    Draws targets as it would expect them: classes by their chances, numbers with an error that real rows near in prediction
    have, of its own trees out of fold.
    """

    def __init__(self, table: Prepared, model: Any | None, seed: int) -> None:
        """UserError for a table without a target, and a model that does not answer for its classes."""
        schema, real = table.schema, table.real
        if schema.target is None or schema.task is None:
            raise UserError(
                "feedback is of a model that predicts a target, and the release has none: train one with --target"
            )
        self.target, self.seed, self.given = schema.target, seed, model
        self.classes = schema.task == "classification"
        real = real.filter(pc.is_valid(real[self.target]))
        most = min(TAUGHT, MAX_CELLS // max(len(schema.names), 1))
        if len(real) > most:
            real = real.take(np.sort(np.random.default_rng(seed).permutation(len(real))[:most]))
        self.type = real.schema.field(self.target).type
        self.lens = Lens.fit(schema, {"the real rows": real})
        if self.classes:
            encoded = real[self.target].combine_chunks().dictionary_encode()
            self.values, y = encoded.dictionary, encoded.indices.to_numpy()
        else:
            self.decimals, y = schema[self.target].decimals, self._numbers(real)
            self.low, self.high, self.deviation = y.min(), y.max(), max(float(y.std()), 1e-12)
        self.order = self._checked(model, real) if model is not None else None
        self.model = self._fitted(real, y) if model is None else model
        if not self.classes:
            guesses = self._folds(real, y) if model is None else self._predicted(real)
            order = np.argsort(guesses, kind="stable")
            self.guesses, self.errors = guesses[order], (y - guesses)[order]

    def judges(self, rows: pa.Table) -> NDArray[np.intp]:
        """Which rows it can say something of: those with a target that it knows."""
        column = rows[self.target].combine_chunks()
        known = pc.is_in(column, self.values) if self.classes else pc.is_valid(column)
        return np.flatnonzero(known.to_numpy(zero_copy_only=False))

    def __call__(self, rows: pa.Table) -> Said:
        """What it says of rows that it ``judges``."""
        if not self.classes:
            predicted = self._predicted(rows)
            return Said(None, predicted, ((self._numbers(rows) - predicted) / self.deviation) ** 2)
        chances, own = self._chances(rows), self._places(rows)
        loss = -np.log(chances[np.arange(len(own)), own].clip(1e-12))
        return Said(chances, chances.argmax(1).astype(np.float64), loss)

    def prior(self, rows: pa.Table) -> NDArray[np.float64]:
        """What boosted trees make of rows that it ``judges``, each out of a fold of them: chances (n, K) or predictions
        (n,)."""
        y = self._places(rows) if self.classes else self._numbers(rows)
        if not self.classes:
            return self._folds(rows, y)
        found = np.full((len(y), len(self.values)), 1e-6)
        x, _ = self._features(rows)
        for known, asked in KFold(FOLDS, shuffle=True, random_state=self.seed).split(x):
            model = self._fitted(rows.take(known), y[known])
            found[np.ix_(asked, model.classes_)] = model.predict_proba(x[asked])
        return found

    def unsure(self, known: pa.Table, rows: pa.Table) -> NDArray[np.float64]:
        """(rows,) nats: the entropy, for each of ``rows``, of boosted trees that have learnt from ``known`` rows alone."""
        assert self.classes, "numbers have no entropy"
        return _entropy(self._fitted(known, self._places(known)).predict_proba(self._features(rows)[0]))

    def targets(self, said: Said, prior: NDArray[np.float64], power: float, rng: np.random.Generator) -> pa.Array:
        """Targets drawn anew, p ∝ prior · model^power. Of classes; and of numbers, where both are as wide: about the mean that
        this gives, with errors that are narrower by √(1 + power)."""
        if said.chances is not None:
            weights = prior * said.chances**power
            cumulated = (weights / weights.sum(1, keepdims=True)).cumsum(1)
            state = (cumulated < rng.random((len(weights), 1))).sum(1).clip(max=weights.shape[1] - 1)
            return self.values.take(pa.array(state))
        first = np.searchsorted(self.guesses, said.predicted) - NEAR // 2
        near = (first + rng.integers(0, NEAR, len(first))).clip(0, len(self.errors) - 1)
        mean = (prior + power * said.predicted) / (1 + power)
        drawn = (mean + self.errors[near] / (1 + power) ** 0.5).clip(self.low, self.high)
        if pa.types.is_temporal(self.type):
            return pc.cast(pc.cast(pa.array(np.round(drawn).astype(np.int64)), _ticks(self.type)), self.type)
        drawn = drawn if self.decimals is None else np.round(drawn, self.decimals)
        return pc.cast(pa.array(drawn), self.type, safe=False)

    def _places(self, rows: pa.Table) -> NDArray[np.int64]:
        """Of targets that it knows, which class each is."""
        found = pc.index_in(rows[self.target].combine_chunks(), self.values)
        return found.to_numpy(zero_copy_only=False).astype(np.int64)

    def _numbers(self, rows: pa.Table) -> NDArray[np.float64]:
        """Targets that are numbers; ticks of points in time."""
        column = rows[self.target].combine_chunks()
        if pa.types.is_temporal(self.type):
            column = pc.cast(column, _ticks(self.type))
        return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)

    def _fitted(self, rows: pa.Table, y: NDArray[Any]) -> Any:
        x, is_code = self._features(rows)
        return fitted("boosting", "classification" if self.classes else "regression", x, y, is_code, self.seed)

    def _folds(self, rows: pa.Table, y: NDArray[Any]) -> NDArray[np.float64]:
        x, _ = self._features(rows)
        guesses: NDArray[np.float64] = cross_val_predict(
            clone(self._fitted(rows, y)), x, y, cv=KFold(FOLDS, shuffle=True, random_state=self.seed)
        )
        return guesses

    def _features(self, rows: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        frame, _ = self.lens.view(rows, "the rows", np.random.default_rng(self.seed))
        return features.coded(self.lens, frame, without=self.target)

    def _chances(self, rows: pa.Table) -> NDArray[np.float64]:
        if self.given is None:
            found: NDArray[np.float64] = self.model.predict_proba(self._features(rows)[0])
            return found
        return np.asarray(self.given.predict_proba(self._frame(rows)), np.float64)[:, self.order]

    def _predicted(self, rows: pa.Table) -> NDArray[np.float64]:
        given = self.given is not None
        return np.asarray(self.model.predict(self._frame(rows) if given else self._features(rows)[0]), np.float64)

    def _frame(self, rows: pa.Table) -> Any:
        return rows.drop_columns(self.target).to_pandas()

    def _checked(self, model: Any, rows: pa.Table) -> Sequence[int] | None:
        """Where the table's classes are among a given model's; UserError for one that does not answer."""
        wanted = "predict_proba" if self.classes else "predict"
        kind = type(model).__name__
        if not hasattr(model, wanted) or (self.classes and not hasattr(model, "classes_")):
            fitting = "classifier" if self.classes else "regressor"
            raise UserError(f"the feedback's model ({kind}) has no {wanted}: give a fitted {fitting}")
        try:
            getattr(model, wanted)(self._frame(rows.slice(0, 2)))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as e:
            raise UserError(
                f"the feedback's model ({kind}) does not answer for rows of this table without {self.target!r}: {e}; give one "
                "that was fitted on a pandas frame of its other columns"
            ) from e
        if not self.classes:
            return None
        known = {str(value): k for k, value in enumerate(model.classes_)}
        names = [str(value) for value in self.values.to_pylist()]
        if missing := [value for value in names if value not in known]:
            raise UserError(
                f"the feedback's model knows the classes {', '.join(known)}, and not {', '.join(missing)} of {self.target!r}"
            )
        return [known[value] for value in names]


def _ticks(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if kind.bit_width == 32 else pa.int64()


def _entropy(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = -(chances * np.log(chances.clip(1e-12))).sum(1)
    return found
