"""The project's own generators as families of a study: each generation is a training run on Ray Train, from the schema on."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster import storage
from synth.collapse.chain import Model
from synth.data.codec import Codec, Fit
from synth.data.schema import Schema
from synth.evaluation.copies import Keys
from synth.generators.layout import Encoded
from synth.recipe import Recipe
from synth.sampling import Sampler
from synth.training import workers
from synth.training.parting import narrow
from synth.training.prepare import MOST_WATCHED, Prepared, Watched
from synth.training.synthetic import weighed

RUNS = "runs"  # the folder of a study that holds those that are at work


@dataclass(frozen=True)
class Trained:
    """``recipe`` holds for every generation but for its seed; ``schema`` is of the compared columns; runs lie in the study's
    ``folder`` while they are at work, and the cluster is ``embedded`` in the driver or not."""

    recipe: Recipe
    schema: Schema
    folder: str
    embedded: bool

    def fit(self, rows: pa.Table, weights: NDArray[np.float64], rng: np.random.Generator) -> Model[pa.Table]:
        """Rows of one weight are one kind, which makes up its share of every batch. JobError where the training fails."""
        import ray

        recipe = self.recipe.model_copy(update={"seed": int(rng.integers(2**31))})
        # Chains of several policies have the same seeds, and are at work at once.
        run = storage.join(self.folder, f"{RUNS}/{secrets.token_hex(8)}")
        storage.write_bytes(storage.join(run, storage.RUN_MARKER), b"{}")  # so that it may be taken away
        try:
            table = self._prepared(recipe, rows, weights, rng)
            gpus = float(ray.cluster_resources().get("GPU", 0) > 0)
            facts = workers.fit(ray, recipe, table, run, lambda *_: None, embedded=self.embedded, each=(1.0, gpus))
        finally:
            storage.remove_tree(run)
        return Network(Sampler.of(recipe, table.codec, facts["weights"]), rows.schema)

    def gather(self, parts: Sequence[pa.Table], rows: NDArray[np.intp]) -> pa.Table:
        return pa.concat_tables(parts).take(rows)

    def _prepared(
        self, recipe: Recipe, rows: pa.Table, weights: NDArray[np.float64], rng: np.random.Generator
    ) -> Prepared:
        each = np.unique(weights[weights > 0])
        kinds = [rows.filter(pa.array(weights == weight)) for weight in each]
        fits = [Fit(self.schema) for _ in kinds]
        for fit, kind in zip(fits, kinds, strict=True):
            for batch in kind.to_batches():
                fit.update(batch)
        codec = weighed(fits, each).finish(**recipe.codec.model_dump())
        first, *others = [_encoded(kind, codec) for kind in kinds]
        shares = [float(weight * len(kind)) for weight, kind in zip(each, kinds, strict=True)]
        counted = np.flatnonzero(weights)
        seen = rows.take(np.sort(rng.permutation(counted)[:MOST_WATCHED]))
        return Prepared(
            schema=self.schema, codec=codec, encoded=first, real=rows, test=rows.slice(0, 0),
            keys=Keys(lambda: iter(()), 0), watched=Watched(_encoded(seen, codec), "train", 0), rows={"train": len(rows)},
            sources={}, mixed=list(zip(shares[1:], others, strict=True)),
        )  # fmt: skip


def _encoded(rows: pa.Table, codec: Codec) -> list[Encoded]:
    return [narrow(codec.encode(batch), codec) for batch in rows.to_batches() if batch.num_rows]


@dataclass(frozen=True)
class Network:
    """What a run has learnt, drawing tables of ``arrow``'s columns."""

    sampler: Sampler
    arrow: pa.Schema

    def sample(self, count: int, rng: np.random.Generator) -> pa.Table:
        return self.sampler.table(count, seed=int(rng.integers(2**62))).select(self.arrow.names).cast(self.arrow)

    def log_density(self, rows: pa.Table) -> NDArray[np.float64] | None:
        """None: it is not known."""
        return None
