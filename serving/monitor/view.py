"""Rows of a table as the monitor sees them: features for a classifier, kinds of rows that are counted, and keys.

All of it is fixed by rows of the certified release, which are drawn once; nothing is learnt from what is served.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd

from synth.data.hashing import hash_rows
from synth.data.schema import Schema
from synth.evaluation.features import pool
from synth.evaluation.frame import Frame, Lens, Vocabulary
from synth.evaluation.gist import Gist
from synth.evaluation.neighbours import closest, nearest

WIDTH = 512  # of all categories' columns together
MOST = 30  # categories of a column that are told apart; the rest are one
BINS = 8  # quantile bins of a number
END = 0.01  # share of the rows beyond each end of a number
PARTS = 20  # principal components
EXACT = 1_024  # columns up to which these are exact: that takes the square of the columns
CELLS = 40
WAVES = 256  # random Fourier features
NEIGHBOURS, AMONG = 5, 1_024  # the distance to the 5th nearest of so many rows says how sparse it is where a row lies
TAIL = 0.1  # of the rows, those that lie sparsest
SEEN = 25  # rows of the reference that a kind needs to be counted


Broken = Callable[[pa.RecordBatch], Mapping[str, NDArray[np.bool_]]]


@dataclass(frozen=True)
class Rows:
    """n rows: ``features`` float32 (n, d); ``kinds`` bool (n, K), of which kinds each is; ``waves`` float32 (n, WAVES);
    ``keys`` uint64 (n,), equal for rows that are equal but for ids; ``valid`` bool (n,), whether each satisfies schema and
    constraints."""

    features: NDArray[np.float32]
    kinds: NDArray[np.bool_]
    waves: NDArray[np.float32]
    keys: NDArray[np.uint64]
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: slice | NDArray[np.intp]) -> Rows:
        return Rows(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def joined(cls, parts: list[Rows]) -> Rows:
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})


@dataclass(frozen=True)
class Places:
    """Where which kinds of rows are among all K: of the ``cells``, of the ``columns``, whose kinds exclude each other, of
    single ``categories``, and of the ``ends`` of numbers."""

    cells: range
    columns: list[range]
    categories: list[int]
    ends: list[int]

    @classmethod
    def of(cls, cells: int, limits: Sequence[int], numbers: int) -> Places:
        """In the order of ``View._kinds``: the rows that lie apart, the cells, the categories, the numbers."""
        at, columns, categories, ends = 1 + cells, list[range](), list[int](), list[int]()
        for limit in limits:
            columns.append(range(at, at + limit + 2))
            categories += range(at + 1, at + limit + 1)
            at += limit + 2
        for _ in range(numbers):
            ends += [at + 1, at + 2]
            columns.append(range(at + 3, at + 3 + BINS))
            at += 3 + BINS
        return cls(range(1, 1 + cells), columns, categories, ends)


class View:
    """Fitted on ``reference``, rows of the certified release; ``broken`` tells by constraint which rows of a batch break it.

    ``names`` says what each kind of rows is; ``columns`` are those that it looks at: others, such as weights, are left out.
    """

    def __init__(self, schema: Schema, reference: pa.Table, broken: Broken = lambda batch: {}) -> None:
        rng = np.random.default_rng(0)
        self.broken = broken
        self.gist, self.columns = Gist(schema), schema.names
        schema, reference = self.gist.schema, self.gist(reference)
        self.required = [column.name for column in schema.columns if not column.nullable]
        self.lens = Lens.fit(schema, {"the reference": reference})
        frame = self._frame(reference)
        self.sorted = [np.sort(column[~np.isnan(column)]) for column in frame.numbers.T]
        most = min(MOST, max(2, WIDTH // max(1, len(self.lens.code_names))))
        self.limits = [min(v.known, most) for v in self.lens.vocabularies]
        ranks, codes = self._ranks(frame), self._codes(frame)
        flat = self._flat(ranks, codes)
        self.mean = flat.mean(axis=0)
        self.axes = _axes(flat - self.mean)
        points = self._points(flat)
        among = min(AMONG, len(points) // 2)
        self.among, others = points[:among], points[among:]
        scale = np.median(np.linalg.norm(others[:among] - self.among, axis=1)) / 2 or 1.0
        self.frequencies = rng.normal(size=(points.shape[1], WAVES)) / scale
        self.phases = rng.uniform(0, 2 * np.pi, WAVES)
        # Of rows that are not among those whose neighbours they are looked for.
        self.sparse = float(np.quantile(self._sparsity(others), 1 - TAIL))
        means = KMeans(min(CELLS, len(np.unique(points, axis=0))), n_init=1, random_state=0).fit(points)
        self.centres = means.cluster_centers_.astype(np.float64)
        self.places = Places.of(len(self.centres), self.limits, len(self.sorted))
        self.reference = self._rows(reference, frame)
        self.names = self._named()

    @property
    def width(self) -> int:
        """Features of a row."""
        return self.reference.features.shape[1]

    def __call__(self, table: pa.Table) -> Rows:
        table = self.gist(table)
        return self._rows(table, self._frame(table))

    def points(self, table: pa.Table) -> NDArray[np.float64]:
        """Where rows lie among the reference: the principal components, float64 (n, PARTS), in which cells are told apart."""
        frame = self._frame(self.gist(table))
        return self._points(self._flat(self._ranks(frame), self._codes(frame)))

    def _rows(self, table: pa.Table, frame: Frame) -> Rows:
        ranks, codes = self._ranks(frame), self._codes(frame)
        flat = self._flat(ranks, codes)
        points = self._points(flat)
        waves = (np.cos(points @ self.frequencies + self.phases) * np.sqrt(2 / WAVES)).astype(np.float32)
        kinds = self._kinds(ranks, codes, points)
        features = np.hstack([kinds, waves, np.ones((len(points), 1))], dtype=np.float32)
        compared = table.select(self.lens.names)  # ids are never equal, whatever the rows are
        keys = np.concatenate([hash_rows(batch, 0) for batch in compared.to_batches()])
        return Rows(features, kinds, waves, keys, np.concatenate([self._valid(batch) for batch in table.to_batches()]))

    def _valid(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        valid = np.ones(batch.num_rows, bool)
        for name in self.required:
            valid &= batch.column(name).is_valid().to_numpy(zero_copy_only=False)
        for marks in self.broken(batch).values():
            valid &= ~marks
        return valid

    def _frame(self, table: pa.Table) -> Frame:
        numbers, codes = self.lens.read(table, "what is served")
        for j, (name, vocabulary) in enumerate(zip(self.lens.code_names, self.lens.vocabularies, strict=True)):
            there = table.column(name).is_valid().to_numpy()
            codes[there & (codes[:, j] == 0), j] = vocabulary.known + 1  # not missing, but unknown
        return Frame(numbers, codes, np.zeros(len(codes), np.int64))

    def _ranks(self, frame: Frame) -> NDArray[np.float64]:
        """Mid-ranks among the reference in [0, 1], float64 (n, p); NaN where missing."""
        ranks = np.full(frame.numbers.shape, np.nan)
        for i, column in enumerate(self.sorted):
            there = ~np.isnan(frame.numbers[:, i])
            value = frame.numbers[there, i]
            ranks[there, i] = (np.searchsorted(column, value) + np.searchsorted(column, value, side="right")) / (
                2 * max(len(column), 1)
            )
        return ranks

    def _codes(self, frame: Frame) -> NDArray[np.int32]:
        """0 missing, then the commonest categories, the others as one, and last those that are unknown."""
        columns = [
            pool(frame.codes[:, j], vocabulary.known, limit)
            for j, (vocabulary, limit) in enumerate(zip(self.lens.vocabularies, self.limits, strict=True))
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0), np.int32)

    def _flat(self, ranks: NDArray[np.float64], codes: NDArray[np.int32]) -> NDArray[np.float64]:
        """Ranks, twice as far apart as categories, with the middle for what is missing; and one-hot codes."""
        return np.hstack([2 * np.where(np.isnan(ranks), 0.5, ranks), *self._one_hot(codes)])

    def _one_hot(self, codes: NDArray[np.int32]) -> list[NDArray[np.bool_]]:
        return [codes[:, j, None] == np.arange(limit + 2) for j, limit in enumerate(self.limits)]

    def _points(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        return (flat - self.mean) @ self.axes

    def _sparsity(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return nearest(points, self.among, min(NEIGHBOURS, len(self.among)))[:, -1]

    def _kinds(
        self, ranks: NDArray[np.float64], codes: NDArray[np.int32], points: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        cell = closest(points, self.centres)[1]
        parts = [self._sparsity(points)[:, None] > self.sparse, cell[:, None] == np.arange(len(self.centres))]
        parts += self._one_hot(codes)
        for rank in ranks.T:
            parts.append(np.isnan(rank)[:, None])
            parts.append(np.stack([rank < END, rank > 1 - END], axis=1))
            parts.append(np.minimum(np.nan_to_num(rank, nan=-1.0) * BINS // 1, BINS - 1)[:, None] == np.arange(BINS))
        return np.hstack(parts)

    def _named(self) -> list[str]:
        """What each kind of rows is, in the order of ``_kinds``."""
        plain = [
            f"{name} = {label}"
            for name, vocabulary, limit in zip(self.lens.code_names, self.lens.vocabularies, self.limits, strict=True)
            for label in self._labels(vocabulary, limit)
        ]
        for name, column in zip(self.lens.number_names, self.sorted, strict=True):
            plain += [f"{name} missing", f"{name} among the lowest", f"{name} among the highest"]
            edges = np.quantile(column, np.linspace(0, 1, BINS + 1)) if len(column) else np.zeros(BINS + 1)
            plain += [f"{name} from {low:.6g} to {high:.6g}" for low, high in itertools.pairwise(edges)]
        return ["rows that lie apart from most others", *self._cells_named(plain), *plain]

    @staticmethod
    def _labels(vocabulary: Vocabulary, limit: int) -> list[str]:
        """Of the codes of one column, as ``synth.evaluation.features.pool`` makes them."""
        labels = [vocabulary.label(code) for code in range(limit + 1)]
        if vocabulary.known > limit:
            labels[limit] = "any rarer one"
        return [*labels, "one that certified rows lack"]

    def _cells_named(self, plain: list[str]) -> list[str]:
        """A cell by the three kinds of rows that it has the most of, relative to all rows."""
        kinds = self.reference.kinds
        first = self.places.cells.stop
        cells, others = kinds[:, self.places.cells], kinds[:, first:]
        everywhere = others.mean(axis=0)
        names = []
        for cell in cells.T:
            inside = others[cell].mean(axis=0) if cell.any() else everywhere
            gain = inside * np.log(np.maximum(inside, 1e-9) / np.maximum(everywhere, 1e-9))
            names.append("rows with " + ", ".join(plain[k] for k in np.argsort(-gain)[:3]))
        return names


def _axes(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first principal components of rows (n, d), float64 (d, PARTS or as many as there are); of many columns by random
    projection (Halko, Martinsson and Tropp 2011), the same at every start."""
    if centred.shape[1] <= EXACT:
        spread = np.linalg.svd(centred, full_matrices=False)[2][:PARTS]
    else:
        spread = randomized_svd(centred, min(PARTS, len(centred)), random_state=0)[2]
    return np.ascontiguousarray(spread.T)
