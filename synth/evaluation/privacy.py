"""Privacy: is the sample nearer to the rows it learnt from than to others?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.evaluation import features
from synth.evaluation.copies import frame_keys
from synth.evaluation.details import Histogram
from synth.evaluation.frame import Frame, Lens
from synth.evaluation.intervals import NORMAL_95, Estimate, bootstrap, multiplicities
from synth.evaluation.neighbours import nearest

REFERENCE_ROWS = 20_000
QUERY_ROWS = 10_000
HISTOGRAM_BINS = 40
FEWEST = 4


@dataclass(frozen=True)
class Closeness:
    """``dcr_share``: share of rows closer to train than to a holdout; ``ratio``: median nearest-neighbour distance
    ratio; ``distance``: float64 (n,), the distance of each row that was asked about to its closest train row;
    ``references``: rows of train, and about as many of the holdout, that were searched; ``left_out``: rows that
    weren't asked about, because they repeat another or equal a row searched."""

    dcr_share: Estimate
    ratio: Estimate
    distance: NDArray[np.float64]
    references: int
    left_out: int

    def describe(self, one: str, several: str) -> str:
        """A note on what was asked about, as there is ``one`` of it and as there are ``several``."""
        return (
            f"distances to the closest {one}: from {len(self.distance):,} synthetic {several} to {self.references:,} of real "
            f"train and as many test {several}, drawn at random; {self.left_out:,} synthetic {several} that repeat another "
            "or equal one of those were left out"
        )


@dataclass(frozen=True)
class Rows:
    """Rows of a table: ``at`` (n,) are their numbers, ``keys`` (n,) equal where they are equal, and ``encode`` gives
    the points (m, d) of the rows of given numbers (m,), between which distances are measured."""

    encode: Callable[[NDArray[np.intp]], NDArray[np.float64]]
    keys: NDArray[np.uint64]
    at: NDArray[np.intp]

    @classmethod
    def of(cls, encode: Callable[[NDArray[np.intp]], NDArray[np.float64]], keys: NDArray[np.uint64]) -> Rows:
        return cls(encode, keys, np.arange(len(keys)))

    def take(self, rows: NDArray[np.intp]) -> Rows:
        return Rows(self.encode, self.keys[rows], self.at[rows])

    def distinct(self) -> Rows:
        """One of each kind, in their order."""
        return self.take(np.sort(np.unique(self.keys, return_index=True)[1]))

    def shuffled(self, rng: np.random.Generator) -> Rows:
        return self.take(rng.permutation(len(self.keys)))

    @property
    def points(self) -> NDArray[np.float64]:
        return self.encode(self.at)


def closest(
    lens: Lens, train: Frame, sample: Frame, test: Frame, rng: np.random.Generator
) -> tuple[Closeness, Closeness] | None:
    """Distance to the closest record, of the sample and of real test rows as its baseline; None below 4 rows.

    The sample's share of rows closer to train than to the test rows, both references of one size, ties counting half:
    0.5 if the generator learnt the distribution, more if it learnt the rows (Platzer and Reutterer 2021, arXiv
    2104.00635). The baseline asks the same of one half of the test rows, with the other half as the holdout. The ratio
    of the distances to the closest and to the second closest train row falls where single rows are nearly copied.
    Distances are those of ``features.mixed``.

    Where real rows repeat each other, distance 0 says what the split did: by content, none of the test rows is at 0 and
    the sample is. So one of each distinct row counts, and those that equal a row searched are left out: how many of
    them are too many is asked by ``copies.exact_copies``.
    """

    def rows(frame: Frame) -> Rows:
        keys = frame_keys(lens, frame.numbers, frame.codes)
        return Rows.of(lambda at: features.mixed(lens, frame.take(at)), keys)

    return closeness(rows(train), rows(sample), rows(test), features.encodable(lens, REFERENCE_ROWS), rng)


def closeness(
    seen: Rows, asked: Rows, held: Rows, most: int, rng: np.random.Generator
) -> tuple[Closeness, Closeness] | None:
    """``closest`` of train rows, the sample and test rows that are encoded in any way, with ``most`` references."""
    if not np.isin(held.keys, seen.keys).any():
        # Split by content (or without a twin at all): kinds of rows were dealt to the parts, not rows.
        seen, held = seen.distinct(), held.distinct()
    size = min(len(seen.keys), len(held.keys), most)
    if size < FEWEST:
        return None
    reference, holdout = (rows.shuffled(rng).take(np.arange(size)) for rows in (seen, held))
    half = size // 2
    fresh, rest = holdout.take(np.arange(half)), holdout.take(np.arange(half, size))
    ours = _closeness(asked, reference, reference, holdout, rng)
    theirs = _closeness(fresh, reference, reference.take(np.arange(size - half)), rest, rng)
    return None if ours is None or theirs is None else (ours, theirs)


def _closeness(asked: Rows, every: Rows, reference: Rows, holdout: Rows, rng: np.random.Generator) -> Closeness | None:
    """``every``: the train rows of the ratio; ``reference``: those of them to set against ``holdout``."""
    new = asked.distinct()
    new = new.take(np.flatnonzero(~np.isin(new.keys, np.append(every.keys, holdout.keys))))
    left_out = len(asked.keys) - len(new.keys)
    new = new.shuffled(rng).take(np.arange(min(len(new.keys), QUERY_ROWS)))
    every, reference, holdout = every.distinct(), reference.distinct(), holdout.distinct()
    if len(new.keys) < FEWEST or len(every.keys) < 2:
        return None
    x, all_, near, far = (rows.points for rows in (new, every, reference, holdout))
    to_all = nearest(x, all_, 2)
    to_near = to_all if reference.keys.size == every.keys.size else nearest(x, near, 1)
    return Closeness(
        _nearer(to_near, nearest(x, far, 1), rng), _ratio(to_all, rng), to_all[:, 0], len(reference.keys), left_out
    )


def _nearer(to_train: NDArray[np.float64], to_holdout: NDArray[np.float64], rng: np.random.Generator) -> Estimate:
    a, b = to_train[:, :1], to_holdout[:, :1]
    return bootstrap((a < b) + 0.5 * (a == b), rng, bounds=(0, 1))


def _ratio(distances: NDArray[np.float64], rng: np.random.Generator) -> Estimate:
    """Median of first over second distance; resampled through the counts of its sorted values."""
    first, second = distances.T
    ratio = np.sort(np.where(second > 0, first / np.where(second > 0, second, 1.0), 1.0))
    below = np.cumsum(multiplicities(len(ratio), rng), axis=1, dtype=np.int64)
    medians = ratio[(below >= len(ratio) / 2).argmax(axis=1)]
    return Estimate.around(float(np.median(ratio)), NORMAL_95 * float(medians.std(ddof=1)), (0, 1))


def histogram(sample: Closeness, fresh: Closeness) -> Histogram:
    """The shares of synthetic and of real test rows in each bin of the distance to the closest train row; the last bin
    takes the farthest hundredth too."""
    top = float(np.quantile(np.concatenate([sample.distance, fresh.distance]), 0.99))
    edges = np.linspace(0, top if top > 0 else 1.0, HISTOGRAM_BINS + 1)
    counts = [np.histogram(np.minimum(c.distance, edges[-1]), edges)[0] / len(c.distance) for c in (sample, fresh)]
    rounded = [part.round(6).tolist() for part in (edges, *counts)]
    return Histogram(edges=rounded[0], synthetic=rounded[1], baseline=rounded[2])
