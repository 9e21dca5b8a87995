"""Privacy: does the sample repeat the rows it learnt from?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.evaluation import features
from synth.evaluation.frame import Frame, Lens
from synth.evaluation.intervals import NORMAL_95, Estimate, bootstrap, multiplicities, share
from synth.evaluation.neighbours import nearest

REFERENCE_ROWS = 20_000
QUERY_ROWS = 10_000
HASHED_ROWS = 100_000
HISTOGRAM_BINS = 40


@dataclass(frozen=True)
class Closeness:
    """``dcr_share``: share of rows closer to train than to a holdout; ``ratio``: median nearest-neighbour distance
    ratio; ``distance``: float64 (n,), each row's distance to its closest train row; ``references``: rows of
    train, and as many of the holdout, that were searched."""

    dcr_share: Estimate
    ratio: Estimate
    distance: NDArray[np.float64]
    references: int


def closest(
    lens: Lens, train: Frame, sample: Frame, test: Frame, rng: np.random.Generator
) -> tuple[Closeness, Closeness] | None:
    """Distance to the closest record, of the sample and of real test rows as its baseline; None below 4 test rows.

    The sample's share of rows closer to train than to the test rows, both references of one size, ties counting half:
    0.5 if the generator learnt the distribution, more if it learnt the rows (Platzer and Reutterer 2021, arXiv
    2104.00635). The baseline asks the same of one half of the test rows, with the other half as the holdout. The ratio
    of the distances to the closest and to the second closest train row (0 / 0 counts as 1) falls where single rows are
    copied. Distances are those of ``features.mixed``.
    """
    size = min(len(train), len(test), REFERENCE_ROWS)
    if size < 4:
        return None
    reference = features.mixed(lens, train.draw(size, rng))
    holdout = features.mixed(lens, test.draw(size, rng))
    queries = features.mixed(lens, sample.draw(QUERY_ROWS, rng))
    half = size // 2
    fresh, rest = holdout[:half][:QUERY_ROWS], holdout[half:]
    to_train, fresh_to_train = nearest(queries, reference, 2), nearest(fresh, reference, 2)
    return (
        Closeness(_nearer(to_train, nearest(queries, holdout, 1), rng), _ratio(to_train, rng), to_train[:, 0], size),
        Closeness(
            _nearer(nearest(fresh, reference[: len(rest)], 1), nearest(fresh, rest, 1), rng),
            _ratio(fresh_to_train, rng),
            fresh_to_train[:, 0],
            len(rest),
        ),
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


def histogram(sample: Closeness, fresh: Closeness) -> tuple[list[float], list[float], list[float]]:
    """Bin edges and the shares of synthetic and of real test rows in each bin of the distance to the closest train row;
    the last bin takes the farthest hundredth too."""
    top = float(np.quantile(np.concatenate([sample.distance, fresh.distance]), 0.99))
    edges = np.linspace(0, top if top > 0 else 1.0, HISTOGRAM_BINS + 1)
    counts = [np.histogram(np.minimum(c.distance, edges[-1]), edges)[0] / len(c.distance) for c in (sample, fresh)]
    return edges.tolist(), counts[0].tolist(), counts[1].tolist()


def exact_copies(lens: Lens, train: pa.Table, others: dict[str, pa.Table]) -> dict[str, Estimate]:
    """Share of rows of each other table that equal a row of ``train`` in every compared column.

    Every row is looked up among all rows of train: thinning the reference would hide the very copies that are sought.
    Numbers are equal at the decimals that the schema gives.
    """
    known = np.unique(_hashes(lens, train, "the real table"))
    return {
        what: share(int(np.isin(_hashes(lens, table, what), known).sum()), table.num_rows)
        for what, table in others.items()
    }


def _hashes(lens: Lens, table: pa.Table, what: str) -> NDArray[np.uint64]:
    """64-bit row hashes, (n,), a block of rows at a time."""
    table = table.select(lens.names)
    decimals = [lens.schema[name].decimals for name in lens.number_names]
    blocks = []
    for start in range(0, table.num_rows, HASHED_ROWS):
        numbers, codes = lens.read(table.slice(start, HASHED_ROWS), what)
        row = np.zeros(len(codes), dtype=np.uint64)
        for values, places in zip(numbers.T, decimals, strict=True):
            rounded = np.where(np.isnan(values), np.nan, values if places is None else np.round(values, places)) + 0.0
            row = _mix(row ^ rounded.view(np.uint64))
        for values in codes.T:
            row = _mix(row ^ values.astype(np.uint64))
        blocks.append(row)
    return np.concatenate(blocks)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014) after its additive constant: each bit in moves half of those out."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
