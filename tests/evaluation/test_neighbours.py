from __future__ import annotations

import numpy as np
import pytest

from synth.evaluation.neighbours import nearest


def test_distances_are_those_of_the_plain_computation_and_copies_are_at_zero() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(700, 20)), rng.normal(size=(300, 20))
    b[:50] = a[:50]
    plain = np.sort(np.linalg.norm(a[:, None] - b[None], axis=2), axis=1)[:, :3]
    found = nearest(a, b, 3)
    assert found == pytest.approx(plain, abs=1e-9)
    assert (found[:50, 0] == 0).all()
