"""Feature matrices made from a frame, bounded in width whatever the cardinality of the columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth.evaluation.frame import Frame, Lens

MAX_CATEGORIES = 250
"""Beyond this many categories in a column the rarest are pooled; scikit-learn's histogram trees take 255 at most."""
MAX_WIDTH = 2048
"""One-hot columns of all category columns together; with more, each column keeps fewer of its categories apart."""
MAX_CELLS = 20_000_000
"""Values of one encoded matrix: 160 MB. Wider tables have fewer of their rows encoded."""


def pool(codes: NDArray[np.int32], known: int, limit: int = MAX_CATEGORIES) -> NDArray[np.int32]:
    """Codes in [0, min(known, limit) + 1]: 0 missing, then the commonest categories, the last of them standing for all
    rarer ones if there are more than ``limit``, and at the end the categories that real train lacks."""
    size = min(known, limit)
    return np.where(codes > known, size + 1, np.minimum(codes, size)).astype(np.int32)


def pooled_note(lens: Lens) -> list[str]:
    wide = [
        f"{n} ({v.known:,})"
        for n, v in zip(lens.code_names, lens.vocabularies, strict=True)
        if v.known > MAX_CATEGORIES
    ]
    return (
        [
            f"categories beyond the {MAX_CATEGORIES} commonest are pooled in trends, two-sample tests, distances and "
            f"utility (not in shape and coverage): {', '.join(wide)}"
        ]
        if wide
        else []
    )


def coded(lens: Lens, frame: Frame, *, without: str | None = None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For trees: float64 (n, d) of numbers and pooled codes, and bool (d,), which columns are codes.

    Numbers are scaled so that real train spans [0, 1], within what float32 holds, to which forests cast. A missing one
    lies a tenth of the range below the smallest of real train, where one split finds it; what scikit-learn does with
    NaN fails on a column that has no value in a fold.
    """
    numbers = [i for i, name in enumerate(lens.number_names) if name != without]
    codes = [j for j, name in enumerate(lens.code_names) if name != without]
    span = np.where(lens.high > lens.low, lens.high - lens.low, 1.0)
    scaled = np.clip((frame.numbers[:, numbers] - lens.low[numbers]) / span[numbers], -1e30, 1e30)
    pooled = [pool(frame.codes[:, j], lens.vocabularies[j].known) for j in codes]
    matrix = np.column_stack([np.where(np.isnan(scaled), -0.1, scaled), *pooled])
    return matrix, np.repeat([False, True], [len(numbers), len(codes)])


def mixed(lens: Lens, frame: Frame, *, without: str | None = None) -> NDArray[np.float64]:
    """For distances and linear models: float64 (n, d).

    Numbers are scaled so that real train spans [0, 1]; a missing one is real train's mean, with a column of its own
    that says so. Categories are one-hot, missing and unknown-to-train among them.
    """
    numbers = [i for i, name in enumerate(lens.number_names) if name != without]
    codes = [j for j, name in enumerate(lens.code_names) if name != without]
    span = np.where(lens.high > lens.low, lens.high - lens.low, 1.0)
    values, gaps = frame.numbers[:, numbers], lens.gaps[numbers]
    missing = np.isnan(values)
    scaled = np.where(missing, lens.mean[numbers], values)
    scaled = (scaled - lens.low[numbers]) / span[numbers]
    limit, sizes = _one_hot(lens, codes)
    matrix = np.zeros((len(frame), len(numbers) + int(gaps.sum()) + sum(sizes)))
    matrix[:, : len(numbers)] = scaled
    at = len(numbers) + int(gaps.sum())
    matrix[:, len(numbers) : at] = missing[:, gaps]
    for j, size in zip(codes, sizes, strict=True):
        known = lens.vocabularies[j].known
        matrix[np.arange(len(frame)), at + pool(frame.codes[:, j], known, limit)] = 1
        at += size
    return matrix


def _one_hot(lens: Lens, codes: list[int]) -> tuple[int, list[int]]:
    """How many categories stay apart, and how wide each column becomes."""
    limit = min(MAX_CATEGORIES, max(2, MAX_WIDTH // max(1, len(codes))))
    return limit, [min(lens.vocabularies[j].known, limit) + 2 for j in codes]


def encodable(lens: Lens, rows: int) -> int:
    """At most ``rows`` rows, fewer where ``mixed`` would be so wide that memory is at stake, but at least 1,000."""
    width = len(lens.number_names) + int(lens.gaps.sum()) + sum(_one_hot(lens, list(range(len(lens.code_names))))[1])
    return min(rows, max(1000, MAX_CELLS // width))
