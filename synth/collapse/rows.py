"""Rows as the exact families see them: a matrix of numbers and a matrix of category codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """n rows: ``numbers`` float64 (n, p), without gaps; ``codes`` int32 (n, q), of column j in [0, its number of
    categories)."""

    numbers: NDArray[np.float64]
    codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[np.intp]) -> Rows:
        return Rows(self.numbers[rows], self.codes[rows])

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        return cls(np.concatenate([part.numbers for part in parts]), np.concatenate([part.codes for part in parts]))

    @classmethod
    def of_numbers(cls, numbers: NDArray[np.float64]) -> Rows:
        """Rows without categories."""
        return cls(numbers, np.zeros((len(numbers), 0), np.int32))

    @classmethod
    def of_codes(cls, codes: NDArray[np.int32]) -> Rows:
        """Rows without numbers."""
        return cls(np.zeros((len(codes), 0)), codes)
