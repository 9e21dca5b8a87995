"""Diversity: does the sample cover what is real, the rare parts too? The first thing that collapse takes away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.evaluation import features
from synth.evaluation.frame import GROUPS, Frame, Lens
from synth.evaluation.intervals import Estimate, bootstrap, jackknife, leave_one_out
from synth.evaluation.neighbours import nearest, squared_distances

NEIGHBOURS = 5
SUPPORT = 3
CLOUD_ROWS = 10_000
RARE = 0.01
ALPHAS = np.linspace(0, 1, 30)


@dataclass(frozen=True)
class Cloud:
    """α-precision and β-recall in per cent, density and coverage as ratios; ``rows``: of each table."""

    alpha_precision: Estimate
    beta_recall: Estimate
    density: Estimate
    coverage: Estimate
    rows: int


def clouds(lens: Lens, real: Frame, samples: list[Frame], rng: np.random.Generator) -> list[Cloud] | None:
    """Compare clouds of rows, all of the size of the smallest table (10,000 at most), by nearest neighbours.

    α-precision and β-recall: Alaa et al. 2022 (arXiv 2102.08921) define them as the share of the sample in the α-support
    of the real rows, the smallest set that holds the share α of them, and the share of real rows in the β-support of
    the sample. There the supports are balls in an embedding learnt for it; here they are balls around the mean, in
    ``features.mixed`` itself. A sample row is α-precise if it lies in the ball around the real mean that holds the share
    α of real rows; a real row is β-recalled if its nearest sample row is no farther than its nearest other real row and
    lies in the ball around the sample mean that holds the share β of the sample. Score: 1 - Σ|α - P_α| / Σα. For two
    samples of one distribution β-recall is about 0.5, not 1.

    Density and coverage: Naeem et al. 2020 (arXiv 2002.09797), equations 4 and 5, k = 5: how many k-nearest-neighbour
    balls of real rows hold a sample row, over k; and the share of real rows whose ball holds a sample row.

    None if a table has k rows or fewer.
    """
    count = min(len(real), *map(len, samples), features.encodable(lens, CLOUD_ROWS))
    if count <= NEIGHBOURS:
        return None
    x = features.mixed(lens, real.draw(count, rng))
    # The first neighbour of a row among its own is itself.
    own = nearest(x, x, NEIGHBOURS + 1)
    radii = np.quantile(np.linalg.norm(x - x.mean(axis=0), axis=1), ALPHAS)
    return [_cloud(x, own, radii, features.mixed(lens, sample.draw(count, rng)), rng) for sample in samples]


def _cloud(
    x: NDArray[np.float64],
    own: NDArray[np.float64],
    radii: NDArray[np.float64],
    y: NDArray[np.float64],
    rng: np.random.Generator,
) -> Cloud:
    holders, closest, at = _balls(x, own[:, NEIGHBOURS], y)
    from_real_mean = np.linalg.norm(y - x.mean(axis=0), axis=1)
    from_own_mean = np.linalg.norm(y - y.mean(axis=0), axis=1)
    own_radii = np.quantile(from_own_mean, ALPHAS)
    precise = from_real_mean[:, None] <= radii
    recalled = (closest <= own[:, 1])[:, None] & (from_own_mean[at][:, None] <= own_radii)
    return Cloud(
        bootstrap(precise.astype(np.float64), rng, _calibration, (0, 1)).scaled(100),
        bootstrap(recalled.astype(np.float64), rng, _calibration, (0, 1)).scaled(100),
        bootstrap(holders[:, None] / NEIGHBOURS, rng),
        bootstrap((closest <= own[:, NEIGHBOURS])[:, None].astype(np.float64), rng, bounds=(0, 1)),
        len(x),
    )


def _balls(
    x: NDArray[np.float64], radii: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """How many of the balls around the rows of ``x`` (n, d) hold each row of ``y`` (m, d): (m,); how far the nearest
    row of ``y`` is from each row of ``x``, and which it is: (n,)."""
    holders, closest, at = np.zeros(len(y)), np.empty(len(x)), np.empty(len(x), dtype=np.intp)
    for rows, block in squared_distances(x, y):
        # Roots on both sides: squaring a root misses ties, which are the rule where all columns are categories.
        holders += (np.sqrt(block) <= radii[rows, None]).sum(axis=0)
        at[rows] = block.argmin(axis=1)
        closest[rows] = np.sqrt(np.take_along_axis(block, at[rows, None], axis=1)[:, 0])
    return holders, closest, at


@dataclass(frozen=True)
class Manifold:
    """Precision and recall as shares, density and coverage as ratios."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def manifolds(
    x: NDArray[np.float64], samples: Sequence[NDArray[np.float64]], rng: np.random.Generator
) -> list[Manifold]:
    """Compare clouds of features by their neighbours: real ``x`` (n, d) with each of ``samples`` (n, d), more than k
    rows each.

    Improved precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991), equation 1, with k = 3 as there: the
    share of the sample that lies in a k-nearest-neighbour ball of a real row, and the share of real rows that lie in
    one of the sample. Density and coverage: as of ``clouds``.
    """
    own = nearest(x, x, NEIGHBOURS + 1)
    found = []
    for y in samples:
        holders, closest, _ = _balls(x, own[:, NEIGHBOURS], y)
        inside = _balls(x, own[:, SUPPORT], y)[0] > 0
        recalled = _balls(y, nearest(y, y, SUPPORT + 1)[:, SUPPORT], x)[0] > 0
        covered = closest <= own[:, NEIGHBOURS]
        shares = [bootstrap(hit[:, None].astype(np.float64), rng, bounds=(0, 1)) for hit in (inside, recalled, covered)]
        found.append(Manifold(shares[0], shares[1], bootstrap(holders[:, None] / NEIGHBOURS, rng), shares[2]))
    return found


def _calibration(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - Σ|α - P_α| / Σα for curves (B, 30)."""
    scores: NDArray[np.float64] = 1 - np.abs(ALPHAS - curves).sum(axis=1) / ALPHAS.sum()
    return scores


@dataclass(frozen=True)
class Categories:
    """Shares of the categories of real train that the sample has at all; None where real train has no such category.

    ``by_column``: share of each category column's categories, NaN for a column without any; ``absent``: by column, the
    codes that the sample lacks, the commonest first.
    """

    all: Estimate | None
    rare: Estimate | None
    by_column: NDArray[np.float64]
    absent: list[list[int]]


def categories(lens: Lens, sample: Frame) -> Categories:
    """Coverage of the (column, category) pairs that real train has at least twice; rare: in under 1 % of its rows.

    A category that real train has once says as much about one person as about the population; none is asked for.
    """
    seen, rare, by_column, absent = [], [], np.full(len(lens.code_names), np.nan), []
    for j, vocabulary in enumerate(lens.vocabularies):
        size = len(vocabulary.values) + 1
        counts = np.bincount(sample.group * size + sample.codes[:, j], minlength=GROUPS * size).reshape(GROUPS, size)
        wanted = np.flatnonzero(vocabulary.counts >= 2)
        has = leave_one_out(counts.astype(np.float64))[:, wanted + 1] > 0
        seen.append(has)
        rare.append(vocabulary.counts[wanted] < RARE * lens.train_rows)
        absent.append([int(code) for code in wanted[~has[0]] + 1])
        if len(wanted):
            by_column[j] = has[0].mean()
    has = np.hstack(seen) if seen else np.zeros((GROUPS + 1, 0), dtype=bool)
    is_rare = np.concatenate(rare) if rare else np.zeros(0, dtype=bool)
    return Categories(_share(has), _share(has[:, is_rare]), by_column, absent)


def _share(has: NDArray[np.bool_]) -> Estimate | None:
    return jackknife(has.mean(axis=1), (0, 1)) if has.shape[1] else None


def ranges(lens: Lens, sample: Frame) -> Estimate | None:
    """Mean share of the range of real train's numbers that the sample spans, values outside not counting.

    Columns that real train has constant or empty are left out; None if no other number is there.
    """
    wide = np.flatnonzero(lens.high > lens.low)
    if len(wide) == 0:
        return None
    low, high = np.full((GROUPS, len(wide)), np.inf), np.full((GROUPS, len(wide)), -np.inf)
    for g in range(GROUPS):
        values = sample.numbers[sample.group == g][:, wide]
        low[g] = np.min(np.where(np.isnan(values), np.inf, values), axis=0, initial=np.inf)
        high[g] = np.max(np.where(np.isnan(values), -np.inf, values), axis=0, initial=-np.inf)
    spans = np.empty((GROUPS + 1, len(wide)))
    for g in range(GROUPS + 1):
        kept = np.arange(GROUPS) != g - 1
        top = np.minimum(high[kept].max(axis=0), lens.high[wide])
        bottom = np.maximum(low[kept].min(axis=0), lens.low[wide])
        spans[g] = np.maximum(top - bottom, 0) / (lens.high - lens.low)[wide]
    return jackknife(spans.mean(axis=1), (0, 1))
