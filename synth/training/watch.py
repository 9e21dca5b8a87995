"""What shows that a generator collapses, of encoded rows it draws: held against as many real rows that were kept apart.

Every figure is also given for other real rows in the sample's place. All of it takes a fraction of a second on a
thousand rows; the certificate measures the same more thoroughly, at the end, on decoded tables.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch.nn.functional import adaptive_avg_pool2d

from synth.evaluation.neighbours import nearest, squared_distances
from synth.generators.layout import Encoded, Layout
from synth.provenance.manifest import Diversity

NEIGHBOURS, SUPPORT = 5, 3  # of coverage and of recall
RARE = 0.01  # share of the training rows below which a state is rare
TAIL = 0.01
TWINS = 0.01  # share of real rows that have a neighbour as near as a duplicate
CLUSTER = 20  # real rows to a mode, on average
MODES = 64  # most of them
FOUND = 0.1  # of the rows that a mode has among the real ones
PASSES = 10  # of Lloyd's algorithm
PIXELS = 256  # numbers to which an image is brought down
WIDTH = 1024  # one-hot columns of all cells together
FAR = 10.0  # standard deviations beyond which a number is as far out as can be, infinite or not a number

Matrix = NDArray[np.float64]


class Space:
    """Where encoded rows of a layout lie, as points between which distances say something.

    Numbers (values, and ordered states at the normal quantile of the middle of their share) have about unit variance;
    other states are one-hot, the rarest of a large cell together. Images are brought down to a few hundred pixels.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.first = np.array(layout.starts, dtype=np.int64)
        self.shares = np.concatenate([np.zeros(0), *(np.array(cell.shares) for cell in layout.cells)])
        self.rare = np.flatnonzero((self.shares > 0) & (self.shares < RARE))
        self.ordered = np.flatnonzero([cell.ordered for cell in layout.cells])
        limit = max(2, WIDTH // max(len(layout.cells), 1))
        score, column, width = np.zeros(len(self.shares)), np.full(len(self.shares), -1), 0
        for start, cell in zip(self.first, layout.cells, strict=True):
            numbers, others = np.split(np.array(cell.shares), [cell.ordered])
            score[start : start + cell.ordered] = _scores(numbers)
            rank = np.argsort(np.argsort(-others, kind="stable"))
            column[start + cell.ordered : start + len(cell.shares)] = width + np.minimum(rank, limit - 1)
            width += min(len(others), limit)
        self.score, self.width = score, width
        self.column = np.where(column < 0, width, column)  # one too many, which is cut off

    def points(self, rows: Encoded) -> tuple[Matrix, Matrix]:
        """(n, numbers) and (n, columns) float64 of encoded rows, tensors or arrays."""
        states = np.asarray(rows.cells, dtype=np.int64) + self.first
        one_hot = np.zeros((len(states), self.width + 1))
        np.put_along_axis(one_hot, self.column[states], 1.0, axis=1)
        numbers = np.concatenate([self._values(rows.values), self.score[states[:, self.ordered]]], axis=1)
        numbers = np.nan_to_num(numbers, nan=FAR, posinf=FAR, neginf=-FAR).clip(-FAR, FAR)
        return numbers, one_hot[:, : self.width]

    def _values(self, values: NDArray[np.generic] | torch.Tensor) -> Matrix:
        pixels = torch.as_tensor(values).float()
        if self.layout.image is not None:
            channels, height, width = self.layout.image
            side = max(int((PIXELS / channels) ** 0.5), 1)
            images = pixels.view(-1, channels, height, width)
            pixels = adaptive_avg_pool2d(images, (min(height, side), min(width, side))).flatten(1) / 64 - 2
        return pixels.double().numpy()

    def found(self, rows: Encoded) -> float | None:
        """Share of the rare states that the rows have at all; None where no state is rare."""
        if not len(self.rare):
            return None
        states = np.asarray(rows.cells, dtype=np.int64) + self.first
        return float(np.bincount(states.ravel(), minlength=len(self.shares))[self.rare].astype(bool).mean())


def _scores(shares: Matrix) -> Matrix:
    """Normal quantiles of the middles of ordered states' shares."""
    total = shares.sum()
    if not total:
        return np.zeros(len(shares))
    scores: Matrix = ndtri(((shares.cumsum() - shares / 2) / total).clip(1e-4, 1 - 1e-4))
    return scores


class Watch:
    """Real rows to hold samples of as many rows against, and how other real rows do in a sample's place."""

    def __init__(self, layout: Layout, rows: Encoded, others: Encoded, rng: np.random.Generator) -> None:
        """``rows`` and ``others``: as many real rows each, more than NEIGHBOURS."""
        self.space = Space(layout)
        numbers, columns = self.space.points(rows)
        self.points = np.concatenate([numbers, columns], axis=1)
        own = nearest(self.points, self.points, NEIGHBOURS + 1)  # the first neighbour of a row is itself
        self.radii, self.near = own[:, NEIGHBOURS], float(np.quantile(own[:, 1], TWINS, method="lower"))
        self.edges = np.quantile(numbers, [TAIL, 1 - TAIL], axis=0)
        self.centres = _clusters(self.points, rng)
        self.counts = np.bincount(self._mode(self.points), minlength=len(self.centres))
        self.real = self.look(others)

    def look(self, rows: Encoded) -> Diversity:
        """The figures of a sample.

        ``coverage``: the share of real rows whose ball to their fifth real neighbour holds a sample row (Naeem et al.
        2020, arXiv 2002.09797, Eq. 5). ``rare``: the share of the states that under 1 % of the training rows are in
        which the sample has at all. ``modes``: the share of clusters of the real rows (k-means) of which the sample has
        a tenth of the rows or more. ``tails``: the share of numbers beyond the outermost 1 % of the real ones on either
        side, 2 % if all is well. ``duplicates``: the share of sample rows with another as near as only 1 % of
        real rows have.
        """
        numbers, columns = self.space.points(rows)
        points = np.concatenate([numbers, columns], axis=1)
        covered = nearest(self.points, points, 1)[:, 0] <= self.radii
        modes = np.bincount(self._mode(points), minlength=len(self.centres)) >= np.maximum(FOUND * self.counts, 1)
        beyond = (numbers < self.edges[0]) | (numbers > self.edges[1])
        twins = nearest(points, points, 2)[:, 1] <= self.near
        return Diversity(
            coverage=float(covered.mean()),
            rare=self.space.found(rows),
            modes=float(modes.mean()),
            tails=float(beyond.mean()) if beyond.size else None,
            duplicates=float(twins.mean()),
        )

    def recall(self, rows: Encoded) -> float:
        """The share of real rows that lie in the ball of a sample row to its third neighbour (Kynkäänniemi et al. 2019, arXiv
        1904.06991, Eq. 1); of more than SUPPORT rows."""
        points = np.concatenate(self.space.points(rows), axis=1)
        balls = nearest(points, points, SUPPORT + 1)[:, SUPPORT]
        inside = [(np.sqrt(block) <= balls).any(axis=1) for _, block in squared_distances(self.points, points)]
        return float(np.concatenate(inside).mean())

    def _mode(self, points: Matrix) -> NDArray[np.intp]:
        return _closest(points, self.centres)


def _closest(points: Matrix, centres: Matrix) -> NDArray[np.intp]:
    """(n,) which of the centres is nearest."""
    found: NDArray[np.intp] = ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)
    return found


def _clusters(points: Matrix, rng: np.random.Generator) -> Matrix:
    """Centres of clusters of about CLUSTER points: k-means++ (Arthur and Vassilvitskii 2007), then Lloyd's algorithm."""
    chosen = [int(rng.integers(len(points)))]
    apart = ((points - points[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(max(len(points) // CLUSTER, 2), MODES) and apart.any():
        chosen.append(int(rng.choice(len(points), p=apart / apart.sum())))
        apart = np.minimum(apart, ((points - points[chosen[-1]]) ** 2).sum(1))
    centres = points[chosen]
    for _ in range(PASSES):
        member = np.eye(len(centres))[_closest(points, centres)]
        counts = member.sum(0)
        centres = np.where(counts[:, None] > 0, member.T @ points / np.maximum(counts, 1)[:, None], centres)
    return centres
