"""What is decided on real rows that nothing was learnt from: how well they are told from a sample, how many of them it covers,
and how well models that learn from it do on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synth.data.codec import Codec
from synth.errors import UserError
from synth.evaluation.fidelity import two_sample
from synth.evaluation.frame import Lens
from synth.evaluation.intervals import NORMAL_95, Estimate
from synth.evaluation.utility import Downstream, UnmeasuredError, Utility
from synth.generators.base import Draw
from synth.generators.layout import Encoded
from synth.sampling import Sampler
from synth.training.prepare import Prepared, Watched
from synth.training.watch import Watch

MOST_JUDGED = 20_000  # rows that models learn from


@dataclass(frozen=True)
class Measured:
    """Of a sample against as many real rows: the area under boosted trees' ROC curve that tell them apart on held-out
    rows (``c2st``), and the share of ``rows`` real rows that are covered, and that lie among the sample's (``recall``);
    ``utility`` where it is asked for."""

    c2st: Estimate
    coverage: float
    rows: int
    recall: float | None = None
    utility: Utility | None = None

    @property
    def error(self) -> float:
        """Half of the 95 % interval of ``c2st``."""
        return self.c2st.value - self.c2st.low

    def lacks(self, before: Measured, *, useful: bool, recall: bool = False) -> list[str]:
        """In what it is no better than before, in words, or is worse; nothing of what is better.

        Better is what is told from real rows less by more than the error of the difference; of what is to be ``useful``, what
        models learn more from, by more than that error on the same real rows, and is no easier to tell. See ``loses``, too.
        """
        error, told_apart = math.hypot(self.error, before.error), self.c2st.value - before.c2st.value
        found = []
        if useful:
            assert self.utility is not None and before.utility is not None, "nobody has asked for it"
            gain = self.utility.resampled - before.utility.resampled
            if not np.nanquantile(gain, 0.025) > 0:
                found.append("utility no higher")
            if told_apart > error:
                found.append("easier to tell from real rows")
        elif not -told_apart > error:
            found.append("as easy to tell from real rows")
        return found + self.loses(before, recall=recall)

    def loses(self, before: Measured, *, recall: bool = False) -> list[str]:
        """What of real rows it covers less and, where ``recall`` is held, has less among its own, than chance would have it.
        Rows that are scattered far from all real ones have a recall of 1, which what gathers them can but lower."""
        pairs = [("coverage", self.coverage, before.coverage)]
        if recall and self.recall is not None and before.recall is not None:
            pairs.append(("recall", self.recall, before.recall))
        return [
            f"{name} lower"
            for name, now, then in pairs
            if then - now > NORMAL_95 * math.sqrt((now * (1 - now) + then * (1 - then)) / self.rows)
        ]

    @property
    def told(self) -> str:
        """All figures, for messages."""
        utility = "" if self.utility is None else f"utility {self.utility.relative.value:.4f}, "
        recall = "" if self.recall is None else f", recall {self.recall:.3f}"
        return f"{utility}C2ST {self}, coverage {self.coverage:.3f}{recall}"

    def __str__(self) -> str:
        return f"{self.c2st.value:.3f} ± {self.error:.3f}"


class Useful:
    """Judges samples by what models learn from them, on the real rows of ``part``, which were kept."""

    def __init__(self, table: Prepared, part: str, seed: int) -> None:
        """UserError for a table of which nothing can be learnt."""
        self.lens, self.seed = Lens.fit(table.schema, {"the real rows": table.real}), seed
        self.rows = min(table.real.num_rows, MOST_JUDGED)
        rng = np.random.default_rng(seed)
        real, held = (
            self.lens.view(rows, what, rng)[0]
            for rows, what in ((table.real, "the real rows"), (table.kept[part], f"the {part} rows"))
        )
        try:
            self.downstream = Downstream(self.lens, real.draw(self.rows, rng), held, rng)
        except UnmeasuredError as e:
            raise UserError(
                f"{e}; a release is bettered by what models learn from it where its table has a --target"
            ) from e

    def __call__(self, sample: pa.Table) -> Utility:
        rng = np.random.default_rng([self.seed, 1])  # the same for each sample
        try:
            return self.downstream.judge(self.lens.view(sample, "the sample", rng)[0], rng)
        except UnmeasuredError as e:
            raise UserError(f"{e}: there are too few rows to see whether anything helps") from e


class Selected:
    """Real rows that nothing was learnt from, as the codec gives them back: what a sample could be at best.

    Samples are compared whole; for coverage and recall, a half of the real rows is held against as many of the sample, and the
    other half stands in for it as the baseline, ``watch.real``.
    """

    def __init__(self, codec: Codec, watched: Watched, seed: int, useful: Useful | None = None) -> None:
        self.codec, self.seed, self.useful, self.part = codec, seed, useful, watched.part
        real = Encoded(*(np.concatenate(parts) for parts in zip(*watched.rows, strict=True)))
        self.rows = len(real.cells)
        self.half = self.rows // 2
        order = Draw("select", seed).permutation(self.rows).numpy()
        held, others = (Encoded(*(a[i] for a in real)) for i in (order[: self.half], order[self.half : 2 * self.half]))
        self.watch = Watch(codec.layout, held, others, np.random.default_rng(seed))
        self.real = pa.Table.from_batches([codec.decode(real)])

    def measure(self, sampler: Sampler) -> Measured:
        """Of as many rows from a sampler; not of those that are drawn for the certificate, which has the seed itself."""
        rows = self.rows if self.useful is None else max(self.rows, self.useful.rows)
        drawn = sampler.table(rows, seed=self.seed + 1)
        sample = drawn.slice(0, self.rows).combine_chunks()
        lens = Lens.fit(self.codec.table, {"select": self.real, "the sample": sample})
        rng = np.random.default_rng(self.seed)  # the same folds for each sample
        real, made = (lens.view(table, what, rng)[0] for what, table in (("select", self.real), ("the sample", sample)))
        found = two_sample(lens, real, made, rng, betrayed=False)
        assert found is not None, "prepare watches enough rows"
        encoded = self.codec.encode(sample.slice(0, self.half).to_batches()[0])
        utility = None if self.useful is None else self.useful(drawn.slice(0, self.useful.rows))
        return Measured(found.tree, self.watch.look(encoded).coverage, self.half, self.watch.recall(encoded), utility)
