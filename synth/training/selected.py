"""What is decided on the rows of ``select``: how well they are told from a sample, and how many of them it covers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synth.data.codec import Codec
from synth.evaluation.fidelity import two_sample
from synth.evaluation.frame import Lens
from synth.evaluation.intervals import NORMAL_95, Estimate
from synth.generators.base import Draw
from synth.generators.layout import Encoded
from synth.sampling import Sampler
from synth.training.prepare import Watched
from synth.training.watch import Watch


@dataclass(frozen=True)
class Measured:
    """Of a sample against as many real rows: the area under boosted trees' ROC curve that tell them apart on held-out
    rows (``c2st``), and the share of ``rows`` real rows that are covered."""

    c2st: Estimate
    coverage: float
    rows: int

    @property
    def error(self) -> float:
        """Half of the 95 % interval of ``c2st``."""
        return self.c2st.value - self.c2st.low

    def improves(self, before: Measured) -> bool:
        """Whether the two are told apart less by more than the error of the difference, and no fewer rows are covered."""
        less = before.c2st.value - self.c2st.value
        spread = math.sqrt(sum(m.coverage * (1 - m.coverage) / m.rows for m in (self, before)))
        return less > math.hypot(self.error, before.error) and before.coverage - self.coverage <= NORMAL_95 * spread

    def __str__(self) -> str:
        return f"{self.c2st.value:.3f} ± {self.error:.3f}"


class Selected:
    """Real rows that nothing was learnt from, as the codec gives them back: what a sample could be at best.

    Samples are compared whole; for coverage, a half of the real rows is held against as many of the sample, and the other
    half stands in for it as the baseline, ``watch.real``.
    """

    def __init__(self, codec: Codec, watched: Watched, seed: int) -> None:
        self.codec, self.seed = codec, seed
        real = Encoded(*(np.concatenate(parts) for parts in zip(*watched.rows, strict=True)))
        self.rows = len(real.cells)
        self.half = self.rows // 2
        order = Draw("select", seed).permutation(self.rows).numpy()
        held, others = (Encoded(*(a[i] for a in real)) for i in (order[: self.half], order[self.half : 2 * self.half]))
        self.watch = Watch(codec.layout, held, others, np.random.default_rng(seed))
        self.real = pa.Table.from_batches([codec.decode(real)])

    def measure(self, sampler: Sampler) -> Measured:
        """Of as many rows from a sampler; not of those that are drawn for the certificate, which has the seed itself."""
        sample = sampler.table(self.rows, seed=self.seed + 1).combine_chunks()
        lens = Lens.fit(self.codec.table, {"select": self.real, "the sample": sample})
        rng = np.random.default_rng(self.seed)  # the same folds for each sample
        real, drawn = (
            lens.view(table, what, rng)[0] for what, table in (("select", self.real), ("the sample", sample))
        )
        found = two_sample(lens, real, drawn, rng)
        assert found is not None, "prepare watches enough rows"
        encoded = self.codec.encode(sample.slice(0, self.half).to_batches()[0])
        return Measured(found.tree, self.watch.look(encoded).coverage, self.half)
