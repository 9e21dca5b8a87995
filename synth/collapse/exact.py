"""Generators that are fitted in moments and whose likelihood is known: what collapses them is what collapses the others.

Each is fitted to weighted rows by maximum likelihood, whose bias and noise are those that the theory of collapse is about;
what it keeps fixed from generation to generation (kernel widths, bins, the number of components) was chosen once, on real
rows. Of a density categories have UNSEEN of the probability shared out among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.sparse import csr_matrix, hstack
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.preprocessing import OneHotEncoder

from synth.collapse.rows import Rows

UNSEEN = 1e-3  # of a category's probability, shared by all: rows of one that a model has lost stay comparable
ROUNDS, GAIN = 100, 1e-3  # of expectation maximisation, and the gain in nats a row below which it ends
CHUNK = 1 << 24  # cells of a matrix of distances


class OfRows:
    """What they have in common."""

    def gather(self, parts: Sequence[Rows], rows: NDArray[np.intp]) -> Rows:
        """Rows by their numbers, as if the parts were laid end to end."""
        return Rows.joined(parts).take(rows)


@dataclass(frozen=True)
class Mixture(OfRows):
    """Gaussians with full covariances, in each of which the categories are independent, fitted by expectation maximisation.

    ``sizes``: the categories of each column; ``floor`` is added to variances, so that no component shrinks to a point.
    """

    components: int
    sizes: Sequence[int] = ()
    floor: float = 0.0

    def fit(self, rows: Rows, weights: NDArray[np.float64], rng: np.random.Generator) -> Mixed:
        counted = np.flatnonzero(weights)  # a row that weighs nothing may be one that no component could have drawn
        rows, weights = rows.take(counted), weights[counted]
        hot = self._hot(rows)
        shares, before = self._begin(rows, hot, weights, rng), -np.inf
        for _ in range(ROUNDS):
            model = self._most_likely(rows, hot, shares * weights[:, None])
            if self.components == 1:
                break
            joint = model.joint(rows, 0.0)
            each = logsumexp(joint, axis=1, keepdims=True)
            shares, now = np.exp(joint - each), float(weights @ each[:, 0])
            if now - before < GAIN:
                break
            before = now
        return model

    def _hot(self, rows: Rows) -> Any:
        """A column for each category of each column, sparse (n, categories), of one that has any; None without them."""
        if not self.sizes:
            return None
        return OneHotEncoder(categories=[np.arange(size) for size in self.sizes]).fit_transform(rows.codes)

    def _begin(
        self, rows: Rows, hot: Any, weights: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """To which component each row belongs at first, float64 (n, k): that of k-means."""
        if self.components == 1:
            return np.ones((len(rows), 1))
        points = rows.numbers if hot is None else hstack([csr_matrix(rows.numbers), hot], format="csr")
        means = KMeans(self.components, n_init=1, random_state=int(rng.integers(2**31)))
        labels = means.fit(points, sample_weight=weights).labels_
        return np.eye(self.components)[labels]

    def _most_likely(self, rows: Rows, hot: Any, shares: NDArray[np.float64]) -> Mixed:
        mass = shares.sum(axis=0) + 1e-300
        means = shares.T @ rows.numbers / mass[:, None]
        roots = np.empty((self.components, means.shape[1], means.shape[1]))
        for k in range(self.components):
            apart = rows.numbers - means[k]
            spread = (shares[:, k, None] * apart).T @ apart / mass[k] + self.floor * np.eye(means.shape[1])
            roots[k] = np.linalg.cholesky(spread)
        chances = [] if hot is None else np.split(hot.T @ shares / mass, np.cumsum(self.sizes)[:-1])
        return Mixed(mass / mass.sum(), means, roots, chances)


@dataclass(frozen=True)
class Mixed:
    """``shares`` (k,), ``means`` (k, p), ``roots`` (k, p, p), the Cholesky factors of the covariances; ``chances``: of each
    column the categories' probabilities by component, (categories, k)."""

    shares: NDArray[np.float64]
    means: NDArray[np.float64]
    roots: NDArray[np.float64]
    chances: Sequence[NDArray[np.float64]]

    def sample(self, count: int, rng: np.random.Generator) -> Rows:
        of = rng.choice(len(self.shares), count, p=self.shares)
        numbers = rng.normal(size=(count, self.means.shape[1]))
        for k in np.unique(of):
            numbers[of == k] = self.means[k] + numbers[of == k] @ self.roots[k].T
        codes = np.empty((count, len(self.chances)), np.int32)
        for j, chances in enumerate(self.chances):
            codes[:, j] = _drawn(chances[:, of], rng)
        return Rows(numbers, codes)

    def log_density(self, rows: Rows) -> NDArray[np.float64]:
        return np.asarray(logsumexp(self.joint(rows, UNSEEN), axis=1))

    def joint(self, rows: Rows, unseen: float) -> NDArray[np.float64]:
        """ln p of each row and each component, float64 (n, k), with a share of the categories' probability for all."""
        found = np.empty((len(rows), len(self.shares)))
        for k, (mean, root) in enumerate(zip(self.means, self.roots, strict=True)):
            scaled = solve_triangular(root, (rows.numbers - mean).T, lower=True)
            found[:, k] = -0.5 * (scaled**2).sum(axis=0) - np.log(np.diag(root)).sum()
        with np.errstate(divide="ignore"):  # what a component has never seen
            found += np.log(self.shares) - 0.5 * self.means.shape[1] * np.log(2 * np.pi)
            for j, chances in enumerate(self.chances):
                found += np.log(_softened(chances, unseen)[rows.codes[:, j]])
        return found


@dataclass(frozen=True)
class Kernel(OfRows):
    """A Gaussian around each row, and its categories, of which one in a while is another's.

    ``width``: float64 (p,), standard deviations; ``sizes``: the categories of each column; ``changed``: how often a category
    is drawn anew.
    """

    width: NDArray[np.float64]
    sizes: Sequence[int] = ()
    changed: float = 0.05

    def fit(self, rows: Rows, weights: NDArray[np.float64], rng: np.random.Generator) -> Kernels:
        return Kernels(self, rows, weights, _marginals(rows, self.sizes, weights))


@dataclass(frozen=True)
class Kernels:
    """The kernels of rows with weights, float64 (n,), and of each column how common its categories are."""

    family: Kernel
    rows: Rows
    weights: NDArray[np.float64]
    common: Sequence[NDArray[np.float64]]

    def sample(self, count: int, rng: np.random.Generator) -> Rows:
        found = self.rows.take(rng.choice(len(self.rows), count, p=self.weights))
        numbers = found.numbers + self.family.width * rng.normal(size=found.numbers.shape)
        codes = found.codes.copy()
        for j, common in enumerate(self.common):
            anew = rng.random(count) < self.family.changed
            codes[anew, j] = rng.choice(len(common), int(anew.sum()), p=common)
        return Rows(numbers, codes)

    def log_density(self, rows: Rows) -> NDArray[np.float64]:
        width, changed = self.family.width, self.family.changed
        centres, constant = self.rows.numbers / width, -np.log(np.sqrt(2 * np.pi) * width).sum()
        with np.errstate(divide="ignore"):  # of rows that weigh nothing
            own = np.log(self.weights)
        found = np.empty(len(rows))
        step = max(1, CHUNK // max(1, len(self.rows)))
        for start in range(0, len(rows), step):
            some = rows.take(np.arange(start, min(start + step, len(rows))))
            at = some.numbers / width
            apart = (at**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * at @ centres.T
            joint = own + constant - 0.5 * np.maximum(apart, 0)
            for j, common in enumerate(self.common):
                anew = changed * _softened(common[:, None], UNSEEN)[some.codes[:, j]]
                joint += np.log(anew + (1 - changed) * (some.codes[:, j, None] == self.rows.codes[:, j]))
            found[start : start + step] = logsumexp(joint, axis=1)
        return found


@dataclass(frozen=True)
class Categorical(OfRows):
    """Independent columns, of which each value is drawn as often as it was seen: of one column without numbers, the
    Wright-Fisher model of genetic drift. Numbers are those of a bin, anywhere between its ``edges``, of each column
    float64 (bins + 1,)."""

    sizes: Sequence[int] = ()
    edges: Sequence[NDArray[np.float64]] = ()

    def fit(self, rows: Rows, weights: NDArray[np.float64], rng: np.random.Generator) -> Frequencies:
        bins = np.empty((len(rows), len(self.edges)), np.int32)
        for i, edges in enumerate(self.edges):
            bins[:, i] = _bin(rows.numbers[:, i], edges)
        binned = _marginals(Rows.of_codes(bins), [len(edges) - 1 for edges in self.edges], weights)
        return Frequencies(self, binned, _marginals(rows, self.sizes, weights))


@dataclass(frozen=True)
class Frequencies:
    """Of each column of numbers how common its bins are, and of each of categories how common these."""

    family: Categorical
    bins: Sequence[NDArray[np.float64]]
    common: Sequence[NDArray[np.float64]]

    def sample(self, count: int, rng: np.random.Generator) -> Rows:
        numbers, codes = np.empty((count, len(self.bins))), np.empty((count, len(self.common)), np.int32)
        for i, (chances, edges) in enumerate(zip(self.bins, self.family.edges, strict=True)):
            at = rng.choice(len(chances), count, p=chances)
            numbers[:, i] = edges[at] + rng.random(count) * (edges[at + 1] - edges[at])
        for j, chances in enumerate(self.common):
            codes[:, j] = rng.choice(len(chances), count, p=chances)
        return Rows(numbers, codes)

    def log_density(self, rows: Rows) -> NDArray[np.float64]:
        found = np.zeros(len(rows))
        for i, (chances, edges) in enumerate(zip(self.bins, self.family.edges, strict=True)):
            found += np.log(_softened(chances, UNSEEN) / np.diff(edges))[_bin(rows.numbers[:, i], edges)]
        for j, chances in enumerate(self.common):
            found += np.log(_softened(chances, UNSEEN))[rows.codes[:, j]]
        return found


def _bin(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """What is beyond the edges is in the outermost bins."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def _marginals(rows: Rows, sizes: Sequence[int], weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    found = [np.bincount(rows.codes[:, j], weights, size) for j, size in enumerate(sizes)]
    return [chances / chances.sum() for chances in found]


def _softened(chances: NDArray[np.float64], unseen: float) -> NDArray[np.float64]:
    """With a share of the probability, (categories, …), for all alike."""
    return (1 - unseen) * chances + unseen / len(chances)


def _drawn(chances: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """A category by each column of probabilities (categories, n)."""
    above = np.cumsum(chances, axis=0) < rng.random(chances.shape[1])
    return np.minimum(above.sum(axis=0), len(chances) - 1)
