"""A sample of hashes is bounded, and that of two tables is of the same hashes."""

from __future__ import annotations

import numpy as np

from synth.provenance.kept import Kept, below, distinct


def pairs(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), np.uint64)


def test_few_are_all_kept_once() -> None:
    kept, some = Kept(), pairs(1_000, 0)
    for part in (some[:700], some[300:], some[:1]):
        kept.add(part)
    assert kept.level == 0 and np.array_equal(kept.pairs(), distinct(some)) and len(kept.pairs()) == 1_000


def test_many_are_those_below_a_threshold() -> None:
    kept, some = Kept(most=1_000), pairs(20_000, 1)
    for start in range(0, 20_000, 333):
        kept.add(some[start : start + 333])
        assert kept._count <= 2_000
    found = kept.pairs()
    assert 400 < len(found) <= 1_000 and kept.level in (4, 5, 6)
    assert np.array_equal(found, distinct(below(some, kept.level)))
    assert np.array_equal(kept.pairs(kept.level + 1), below(found, kept.level + 1))


def test_one_hash_at_two_addresses_is_two_pairs() -> None:
    kept = Kept()
    kept.add(np.array([[5, 1], [5, 2], [5, 1]], np.uint64))
    assert kept.pairs().tolist() == [[5, 1], [5, 2]]
