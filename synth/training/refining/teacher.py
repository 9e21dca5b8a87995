"""A model that has learnt from real rows, and what it says of a release's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_predict

from synth.errors import UserError
from synth.evaluation import features
from synth.evaluation.frame import Lens
from synth.evaluation.learners import fitted
from synth.training.prepare import Prepared

FOLDS = 5
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
    have, out of fold.
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
        self.type = real.schema.field(self.target).type
        self.lens = Lens.fit(schema, {"the real rows": real})
        column = real[self.target].combine_chunks()
        if self.classes:
            encoded = column.dictionary_encode()
            self.values, y = encoded.dictionary, encoded.indices.to_numpy()
        else:
            self.decimals = schema[self.target].decimals
            y = pc.cast(column, pa.float64()).to_numpy()
            self.low, self.high, self.deviation = y.min(), y.max(), max(float(y.std()), 1e-12)
        self.model = self._fitted(real, y) if model is None else model
        if model is not None and self.classes:
            self.order = self._order(model)
        if not self.classes:
            guesses = self._folds(real, y) if model is None else self._predicted(real)
            order = np.argsort(guesses, kind="stable")
            self.guesses, self.errors = guesses[order], (y - guesses)[order]

    def __call__(self, rows: pa.Table) -> Said:
        """What it says of rows with targets."""
        column = rows[self.target].combine_chunks()
        if not self.classes:
            predicted = self._predicted(rows)
            y = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
            return Said(None, predicted, ((y - predicted) / self.deviation) ** 2)
        chances = self._chances(rows)
        own = pc.index_in(column, self.values).to_numpy(zero_copy_only=False).astype(np.int64)
        loss = -np.log(chances[np.arange(len(own)), own].clip(1e-12))
        return Said(chances, chances.argmax(1).astype(np.float64), loss)

    def unsure(self, known: pa.Table, rows: pa.Table) -> NDArray[np.float64]:
        """(rows,) nats: the entropy, for each of ``rows``, of boosted trees that have learnt from ``known`` rows alone."""
        assert self.classes, "numbers have no entropy"
        own = pc.index_in(known[self.target].combine_chunks(), self.values).to_numpy(zero_copy_only=False)
        return _entropy(self._fitted(known, own).predict_proba(self._features(rows)[0]))

    def targets(self, said: Said, power: float, rng: np.random.Generator) -> pa.Array:
        """Targets drawn anew: classes by their chances to this ``power``, numbers with errors divided by it."""
        if said.chances is not None:
            weights = said.chances**power
            cumulated = (weights / weights.sum(1, keepdims=True)).cumsum(1)
            state = (cumulated < rng.random((len(weights), 1))).sum(1).clip(max=weights.shape[1] - 1)
            return self.values.take(pa.array(state))
        first = np.searchsorted(self.guesses, said.predicted) - NEAR // 2
        near = (first + rng.integers(0, NEAR, len(first))).clip(0, len(self.errors) - 1)
        drawn = (said.predicted + self.errors[near] / power).clip(self.low, self.high)
        drawn = drawn if self.decimals is None else np.round(drawn, self.decimals)
        return pc.cast(pa.array(drawn), self.type, safe=False)

    def _fitted(self, rows: pa.Table, y: NDArray[Any]) -> Any:
        x, is_code = self._features(rows)
        return fitted("boosting", "classification" if self.classes else "regression", x, y, is_code, self.seed)

    def _folds(self, rows: pa.Table, y: NDArray[Any]) -> NDArray[np.float64]:
        x, _ = self._features(rows)
        guesses: NDArray[np.float64] = cross_val_predict(self.model, x, y, cv=FOLDS)
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

    def _order(self, model: Any) -> Sequence[int]:
        """Where the table's classes are among the model's."""
        if not (hasattr(model, "predict_proba") and hasattr(model, "classes_")):
            raise UserError(
                f"the feedback's model ({type(model).__name__}) has no predict_proba: give a fitted classifier"
            )
        known = {str(value): k for k, value in enumerate(model.classes_)}
        wanted = [str(value) for value in self.values.to_pylist()]
        if missing := [value for value in wanted if value not in known]:
            raise UserError(
                f"the feedback's model knows the classes {', '.join(known)}, and not {', '.join(missing)} of {self.target!r}"
            )
        return [known[value] for value in wanted]


def _entropy(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = -(chances * np.log(chances.clip(1e-12))).sum(1)
    return found
