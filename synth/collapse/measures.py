"""What a generation is measured by, on real rows that no generation has learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from synth.collapse.chain import Model
from synth.evaluation import features
from synth.evaluation.diversity import categories
from synth.evaluation.fidelity import two_sample
from synth.evaluation.frame import Frame, Lens
from synth.evaluation.neighbours import closest, nearest, squared_distances
from synth.evaluation.utility import Downstream, UnmeasuredError

NEIGHBOURS, SUPPORT = 5, 3  # of coverage and of recall, as in ``synth.evaluation.diversity``
CLOUD, APART = 2_000, 5_000  # rows that neighbours are looked for among, and that a classifier tells apart
SPARSE = 0.1  # of the held-out rows, those whose neighbours are farthest
KINDS = 20_000  # rows whose kinds are counted
MODES, ALIVE = 50, 0.1  # kinds of real rows, and the part of its share with which one still counts

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """A figure by its ``name``, what it ``says``, which way it goes as generations collapse (``worse``: −1 down, 1 up, 0
    either), and how many decimal ``places`` tell it."""

    name: str
    says: str
    worse: int
    places: int = 3


FIGURES = {
    "likelihood": Figure("held-out likelihood", "ln p of a real row that no generation saw, in nats, on average", -1, 2),
    "utility": Figure("utility", "how well models trained on the rows do on real ones, 1 being those trained on real rows", -1),
    "c2st": Figure("two-sample AUC", "how well boosted trees tell the rows from real ones; 0.5: they cannot", 1),
    "coverage": Figure("coverage", "share of real rows with a drawn row among their neighbours", -1),
    "recall": Figure("recall", "share of real rows that lie among drawn ones", -1),
    "tail_coverage": Figure("coverage of the tail", "the same as coverage, of the tenth of real rows that lie sparsest", -1),
    "tail_recall": Figure("recall of the tail", "the same as recall, of that tenth", -1),
    "rare": Figure("rare categories alive", "share of the categories under 1 % that are drawn at all", -1),
    "modes": Figure("modes alive", f"of {MODES} kinds of real rows, those drawn at a tenth of their share or more", -1, 1),
    "variance": Figure(
        "variance", "of all features, over that of real rows. It misleads: it can stay at 1 while all else collapses", 0
    ),
}  # fmt: skip


class Judge:
    """Holds rows against ``held``, real ones, and against ``real``, those of the first generation."""

    def __init__(self, lens: Lens, real: pa.Table, held: pa.Table, seed: int) -> None:
        self.lens, self.seed, self.table = lens, seed, held
        rng = np.random.default_rng(seed)
        self.held, self.notes = lens.view(held, "the held-out rows", rng)
        own = lens.view(real, "the real rows", rng)[0]
        self.downstream: Downstream | None = None
        try:
            self.downstream = Downstream(lens, own, self.held, rng)
            self.notes += self.downstream.notes
        except UnmeasuredError as e:
            self.notes.append(str(e))
        self.points = features.mixed(lens, self.held.draw(CLOUD, rng))
        distances = nearest(self.points, self.points, NEIGHBOURS + 1)
        self.radii = distances[:, NEIGHBOURS]
        self.sparse = self.radii >= np.quantile(self.radii, 1 - SPARSE)
        cloud = features.mixed(lens, own.draw(self._room, rng))
        self.spread = float(cloud.var(axis=0).sum())
        self.kinds = KMeans(min(MODES, len(np.unique(cloud, axis=0))), n_init=1, random_state=seed).fit(cloud)
        self.shares = self._shares(cloud)

    def __call__(self, rows: pa.Table, model: Model[pa.Table] | None = None) -> Figures:
        """The figures of drawn rows, and of the ``model`` that drew them where it knows a likelihood; without those that
        cannot be had, such as of a table without rare categories."""
        rng = np.random.default_rng([self.seed, 1])  # the same for all: their differences are not the judge's
        frame = self.lens.view(rows, "the drawn rows", rng)[0]
        found = dict[str, float]()
        if model is not None and (density := model.log_density(self.table)) is not None:
            found["likelihood"] = float(density.mean())
        if self.downstream is not None:
            try:
                found["utility"] = self.downstream.judge(frame, rng).relative.value
            except UnmeasuredError:  # such as of rows without a target: nobody can learn anything from them
                found["utility"] = 0.0
        told = two_sample(self.lens, self.held.draw(APART, rng), frame.draw(APART, rng), rng)
        if told is not None:
            found["c2st"] = told.tree.value
        found |= self._cloud(frame, rng)
        if (rare := categories(self.lens, frame).rare) is not None:
            found["rare"] = rare.value
        cloud = features.mixed(self.lens, frame.draw(self._room, rng))
        found["modes"] = float((self._shares(cloud) >= ALIVE * self.shares).sum())
        found["variance"] = float(cloud.var(axis=0).sum() / self.spread)
        return found

    @property
    def _room(self) -> int:
        """Rows whose kinds are counted."""
        return features.encodable(self.lens, KINDS)

    def _shares(self, cloud: NDArray[np.float64]) -> NDArray[np.float64]:
        labels = self.kinds.predict(cloud)
        return np.bincount(labels, minlength=self.kinds.n_clusters) / len(cloud)

    def _cloud(self, frame: Frame, rng: np.random.Generator) -> dict[str, float]:
        """Coverage: Naeem et al. 2020 (arXiv 2002.09797), equation 5. Recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991),
        equation 1. Of as many drawn rows as held-out ones, where there are so many."""
        drawn = features.mixed(self.lens, frame.draw(len(self.points), rng))
        covered = closest(self.points, drawn)[0] <= self.radii
        balls = nearest(drawn, drawn, min(SUPPORT + 1, len(drawn)))[:, -1]
        recalled = np.empty(len(self.points), bool)
        for rows, block in squared_distances(self.points, drawn):
            recalled[rows] = (np.sqrt(block) <= balls).any(axis=1)
        return {
            "coverage": float(covered.mean()), "recall": float(recalled.mean()),
            "tail_coverage": float(covered[self.sparse].mean()), "tail_recall": float(recalled[self.sparse].mean()),
        }  # fmt: skip
