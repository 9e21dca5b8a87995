from __future__ import annotations

import math

import numpy as np
import pytest

from tests.tuning.world import WIDE, table
from tuning import space
from tuning.distances import UNIFORM, apart, kernel, weights


def test_like_tables_count_most_and_all_count() -> None:
    pasts = [table(wide) for wide in WIDE]
    found = weights(pasts, table(0.83))
    assert found.sum() == pytest.approx(1)
    assert set(np.argsort(-found)[:2]) == {5, 6}
    assert (found >= UNIFORM / len(pasts)).all()
    assert weights([pasts[0]], table(0.3)).tolist() == [1.0]
    assert weights(pasts[:2], pasts[0])[0] > 0.6


def test_recipes_are_apart_by_their_knobs(defaults: dict[str, space.Knobs]) -> None:
    ours = defaults["diffusion"]
    keys = len(space.space("diffusion"))
    wider = ours | {"diffusion.dropout": ours["diffusion.dropout"] + 0.2}
    away = apart([ours, wider, defaults["vae"]], [ours])[:, 0]
    assert away[0] == pytest.approx(0, abs=1e-7)
    assert away[1] == pytest.approx(0.5 / math.sqrt(keys))
    assert away[2] >= 1
    assert np.linalg.eigvalsh(kernel([ours, wider, *defaults.values()])).min() > -1e-9
    without = defaults["gan"] | {"gan.gamma": 0.0}  # none, which a logarithmic scale has no place for
    assert (
        apart([without], [defaults["gan"]])[0, 0]
        > apart([defaults["gan"] | {"gan.gamma": 0.02}], [defaults["gan"]])[0, 0]
    )
