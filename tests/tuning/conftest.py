"""Past studies of a known world."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from synth.recipe import Recipe
from tests.tuning.world import WIDE, table, worth
from tuning import space
from tuning.memory import Past, Point, Tried

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def study() -> Callable[..., Past]:
    """``study(wide, seed)``: one on a table of that width; ``count`` recipes, the last of which failed."""

    def run(wide: float, seed: int, count: int = 25, families: tuple[str, ...] = ("diffusion", "vae")) -> Past:
        rng = np.random.default_rng(seed)
        trials = []
        for k in range(count - 1):
            knobs = space.random_knobs(families[k % len(families)], rng)
            value = worth(wide, knobs)
            curve = (Point(2.0, 10, value - 0.1, 0.01), Point(20.0, 100, value, 0.01))
            trials.append(Tried(knobs, "drawn", 0, "done", curve, value, 0.01, 1.0, 0.0))
        trials.append(Tried(space.random_knobs(families[0], rng), "drawn", 0, "failed"))
        return Past(f"study-{seed}", BEGUN + timedelta(days=seed), f"key-{seed}", table(wide), tuple(trials))

    return run


@pytest.fixture(scope="session")
def pasts(study: Callable[..., Past]) -> list[Past]:
    return [study(wide, seed) for seed, wide in enumerate(WIDE)]


@pytest.fixture(scope="session")
def defaults() -> dict[str, space.Knobs]:
    return {family: space.knobs_of(Recipe.read(None, {"family": family})) for family in space.TABLES}
