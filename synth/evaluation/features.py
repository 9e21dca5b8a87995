"""Feature matrices made from a frame, bounded in width whatever the cardinality of the columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth.evaluation.frame import Frame, Lens

MAX_CATEGORIES = 250
"""Beyond this many categories in a column the rarest are pooled; scikit-learn's histogram trees take 255 at most."""
MAX_WIDTH = 2048
"""One-hot columns of all category columns together; with more, each column keeps fewer of its categories apart."""


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

    A missing number lies a tenth of the range below the smallest of real train, where one split finds it; what
    scikit-learn does with NaN fails on a column that has no value in a fold.
    """
    numbers = [i for i, name in enumerate(lens.number_names) if name != without]
    codes = [j for j, name in enumerate(lens.code_names) if name != without]
    below = lens.low - 0.1 * np.where(lens.high > lens.low, lens.high - lens.low, 1.0)
    values = frame.numbers[:, numbers]
    pooled = [pool(frame.codes[:, j], lens.vocabularies[j].known) for j in codes]
    matrix = np.column_stack([np.where(np.isnan(values), below[numbers], values), *pooled])
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
    limit = min(MAX_CATEGORIES, max(2, MAX_WIDTH // max(1, len(codes))))
    parts = [scaled, missing[:, gaps].astype(np.float64)]
    for j in codes:
        known = lens.vocabularies[j].known
        one_hot = np.zeros((len(frame), min(known, limit) + 2))
        one_hot[np.arange(len(frame)), pool(frame.codes[:, j], known, limit)] = 1
        parts.append(one_hot)
    return np.hstack(parts)
