"""The figures that show a collapse, where their values are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth.generators.layout import Cell, Encoded, Layout
from synth.provenance.manifest import Diversity
from synth.training.watch import Space, Watch

ROWS = 600
GRID = Layout(cells=(), values=2)
SHARES = (0.6, 0.3, 0.092, 0.008)  # the last is rare
TABLE = Layout(cells=(Cell(shares=SHARES), Cell(shares=(0.05,) * 20, ordered=20)), values=1)


def gaussians(rows: int, seed: int, modes: int = 25) -> Encoded:
    """Of a grid of 25 narrow Gaussians, rows of the first so many."""
    rng = np.random.default_rng(seed)
    mode = rng.integers(modes, size=rows)
    centres = np.stack([mode % 5, mode // 5], 1) - 2.0
    values = (centres / 2**0.5 + 0.02 * rng.normal(size=(rows, 2))).astype(np.float32)
    return Encoded(np.empty((rows, 0), np.int32), values)


def table(rows: int, seed: int, shares: tuple[float, ...] = SHARES) -> Encoded:
    rng = np.random.default_rng(seed)
    cells = np.stack([rng.choice(4, size=rows, p=shares), rng.integers(20, size=rows)], 1)
    return Encoded(cells.astype(np.int32), rng.normal(size=(rows, 1)).astype(np.float32))


def watch(layout: Layout, real: Encoded, others: Encoded) -> Watch:
    return Watch(layout, real, others, np.random.default_rng(0))


@pytest.fixture(scope="module")
def grid() -> Watch:
    return watch(GRID, gaussians(ROWS, 0), gaussians(ROWS, 1))


def test_real_rows_have_what_theory_says_and_a_copy_of_the_rows_has_all(grid: Watch) -> None:
    # Naeem et al. 2020: of as many rows, 1 − (n−1)…(n−k) / (2n−1)…(2n−k) → 1 − 2⁻⁵.
    assert grid.real.coverage == pytest.approx(1 - 2**-5, abs=0.02)
    assert grid.real.modes == 1 and grid.real.rare is None
    assert grid.real.tails == pytest.approx(0.02, abs=0.02) and grid.real.duplicates < 0.05
    same = grid.look(gaussians(ROWS, 0))
    assert same.coverage == 1 and same.modes == 1 and same.tails == pytest.approx(0.02, abs=0.005)


@pytest.mark.parametrize("modes", [1, 5, 10, 20])
def test_coverage_and_modes_fall_with_the_modes_that_are_left(grid: Watch, modes: int) -> None:
    found = grid.look(gaussians(ROWS, 2, modes))
    assert found.coverage == pytest.approx(modes / 25, abs=0.06)
    assert found.modes == pytest.approx(modes / 25, abs=0.08)


def test_samples_that_repeat_few_rows_are_duplicates(grid: Watch) -> None:
    few = gaussians(60, 3)
    found = grid.look(Encoded(np.resize(few.cells, (ROWS, 0)), np.resize(few.values, (ROWS, 2))))
    assert found.duplicates == 1
    assert found.coverage < 0.6 * grid.real.coverage
    almost = np.resize(few.values, (ROWS, 2)) + np.random.default_rng(0).normal(scale=1e-5, size=(ROWS, 2))
    assert grid.look(Encoded(np.empty((ROWS, 0), np.int32), almost)).duplicates > 0.99


def test_thin_tails_and_absent_rare_states() -> None:
    real = watch(TABLE, table(ROWS, 0), table(ROWS, 1))
    # The one rare state: no row in six hundred is e⁻⁵.
    assert real.real.rare == 1 and real.look(table(ROWS, 2, (0.6, 0.308, 0.092, 0))).rare == 0
    thin = table(ROWS, 3)
    thin.values[:] = thin.values.clip(-1.5, 1.5)
    assert real.real.tails is not None
    # One of two numbers has lost its tails; the other, a state, has none to begin with.
    assert real.real.tails == pytest.approx(0.01, abs=0.006) and real.look(thin).tails == 0


def test_ordered_states_lie_as_far_apart_as_their_ranks_and_others_all_alike() -> None:
    space = Space(TABLE)
    rows = Encoded(np.array([[0, 0], [1, 1], [3, 19]]), np.zeros((3, 1)))
    numbers, columns = space.points(rows)
    assert numbers.shape == (3, 2) and columns.shape == (3, 4)
    assert 0 < numbers[1, 1] - numbers[0, 1] < numbers[2, 1] - numbers[1, 1]
    assert np.array_equal(((columns[:, None] - columns) ** 2).sum(-1), 2 * (1 - np.eye(3)))


def test_numbers_that_are_none_cover_nothing(grid: Watch) -> None:
    broken = np.full((ROWS, 2), np.nan)
    broken[0] = np.inf, -np.inf
    found = grid.look(Encoded(np.empty((ROWS, 0), np.int64), torch.from_numpy(broken)))
    assert found.coverage == 0 and found.tails == 1 and found.duplicates > 0.99


def test_images_are_brought_down_and_collapse_to_one_class_is_seen() -> None:
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)),), values=3 * 32 * 32, target=0, image=(3, 32, 32))

    def images(seed: int, classes: int) -> Encoded:
        rng = np.random.default_rng(seed)
        kind = rng.integers(classes, size=(200, 1))
        bright = np.where(kind == 1, 200, 60) + rng.integers(-40, 40, size=(200, 3 * 32 * 32))
        return Encoded(kind, bright.astype(np.uint8))

    numbers, _ = Space(layout).points(images(0, 2))
    assert numbers.shape == (200, 3 * 9 * 9)
    pair = watch(layout, images(0, 2), images(1, 2))
    assert pair.real.coverage > 0.9
    one = pair.look(images(2, 1))
    assert one.coverage < 0.6 and one.modes < 0.7


def test_a_wide_vocabulary_stays_bounded() -> None:
    cells = tuple(Cell(shares=(1 / 512,) * 512) for _ in range(40))
    _, columns = Space(Layout(cells=cells, values=0)).points(Encoded(np.zeros((3, 40), np.int32), np.empty((3, 0))))
    assert columns.shape == (3, 40 * 25) and columns.sum() == 3 * 40


def test_tables_of_cells_alone_have_no_tails() -> None:
    layout = Layout(cells=(Cell(shares=(0.5, 0.5)), Cell(shares=(0.5, 0.5))), values=0)
    draw = np.random.default_rng(0)
    rows = [Encoded(draw.integers(2, size=(50, 2)), np.empty((50, 0))) for _ in range(2)]
    assert watch(layout, *rows).real == Diversity(coverage=1, rare=None, modes=1, tails=None, duplicates=1)
