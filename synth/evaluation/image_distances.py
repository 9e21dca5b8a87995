"""Distances between clouds of features: of Fréchet, and of kernel means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth.evaluation.frame import GROUPS
from synth.evaluation.intervals import Estimate, jackknife, leave_one_out
from synth.evaluation.neighbours import BLOCK


def frechet(x: NDArray[np.float64], samples: list[NDArray[np.float64]], rng: np.random.Generator) -> list[Estimate]:
    """Fréchet distance of ``x`` (n, d) and each of ``samples`` (n, d): |μ - μ'|² + tr(Σ + Σ' - 2 (Σ½ Σ' Σ½)½), that of
    two normal distributions with their means and covariances (Heusel et al. 2017, arXiv 1706.08500, equation 6).

    It is not 0 for two samples of one distribution, but falls with their number, which is why all are of one size.
    """
    means, covariances = _moments(x, x.mean(axis=0), rng)
    roots = [_root(c) for c in covariances]
    found = []
    for y in samples:
        theirs = _moments(y, x.mean(axis=0), rng)
        values = [
            ((a - b) ** 2).sum() + np.trace(A) + np.trace(B) - 2 * _trace_of_root(root @ B @ root)
            for a, A, root, b, B in zip(means, covariances, roots, *theirs, strict=True)
        ]
        found.append(jackknife(np.array(values)))
    return found


def _moments(
    x: NDArray[np.float64], origin: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means (GROUPS + 1, d) and covariances (GROUPS + 1, d, d), of all rows and without each group. Sums are taken from
    ``origin``, which keeps the cancellation harmless."""
    group, x = rng.permutation(len(x)) % GROUPS, x - origin
    sums = leave_one_out(np.stack([x[group == g].sum(axis=0) for g in range(GROUPS)]))
    squares = leave_one_out(np.stack([x[group == g].T @ x[group == g] for g in range(GROUPS)]))
    count = leave_one_out(np.bincount(group, minlength=GROUPS).astype(np.float64))[:, None]
    means = sums / count
    centred = squares - count[:, :, None] * means[:, :, None] * means[:, None, :]
    return means + origin, centred / (count[:, :, None] - 1)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric root of a positive semidefinite matrix; what rounding leaves below 0 is 0."""
    values, vectors = np.linalg.eigh(matrix)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def _trace_of_root(matrix: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(matrix), 0)).sum())


def kernel(x: NDArray[np.float64], samples: list[NDArray[np.float64]], rng: np.random.Generator) -> list[Estimate]:
    """Kernel distance of ``x`` (n, d) and each of ``samples`` (n, d): the squared maximum mean discrepancy with the
    kernel (x·y / d + 1)³, unbiased, so that it is 0 on average for samples of one distribution, and may be below
    (Bińkowski et al. 2018, arXiv 1801.01401, section 4 and equation 4).

    There it is averaged over small subsets, which saves memory; here it is taken of all pairs of rows at once, block by
    block, which scatters less, and subsets serve its interval alone: without each tenth of the rows.
    """
    ours = rng.permutation(len(x)) % GROUPS
    among = _kernel_sums(x, x, ours, ours)
    found = []
    for y in samples:
        theirs = rng.permutation(len(y)) % GROUPS
        pairs = among - _own_terms(x, ours), _kernel_sums(y, y, theirs, theirs) - _own_terms(y, theirs)
        across = _kernel_sums(x, y, ours, theirs)
        counts = [leave_one_out(np.bincount(g, minlength=GROUPS).astype(np.float64)) for g in (ours, theirs)]
        values = (
            _without_each(pairs[0]) / (counts[0] * (counts[0] - 1))
            + _without_each(pairs[1]) / (counts[1] * (counts[1] - 1))
            - 2 * _without_each(across) / (counts[0] * counts[1])
        )
        found.append(jackknife(values, (-np.inf, np.inf)))
    return found


def _kernel_sums(
    x: NDArray[np.float64], y: NDArray[np.float64], of_x: NDArray[np.intp], of_y: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Sums of the kernel over the pairs of rows of each two groups: (GROUPS, GROUPS)."""
    member_x, member_y = (np.eye(GROUPS)[group] for group in (of_x, of_y))
    sums = np.zeros((GROUPS, GROUPS))
    for start in range(0, len(x), BLOCK):
        block = (x[start : start + BLOCK] @ y.T / x.shape[1] + 1) ** 3
        sums += member_x[start : start + BLOCK].T @ (block @ member_y)
    return sums


def _own_terms(x: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    """The kernel of each row with itself, which an unbiased mean leaves out: summed by group on a diagonal."""
    own = (np.einsum("ij,ij->i", x, x) / x.shape[1] + 1) ** 3
    return np.diag(np.bincount(group, own, minlength=GROUPS))


def _without_each(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of sums over pairs of groups: all, then without the pairs that each group is in: (GROUPS + 1,)."""
    rest = sums.sum() - sums.sum(axis=0) - sums.sum(axis=1) + np.diag(sums)
    return np.append(sums.sum(), rest)
