"""Combinations of cells that say what the cells one by one do not are found, and no others."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.data.codec import Codec
from synth.data.crosses import EACH, find_crosses
from synth.generators.layout import Cell, Encoded, Layout
from tests.data.test_ties import fitted

SIZES = (5, 12, 30, 4, 7)


def table(rows: int, seed: int, sizes: tuple[int, ...] = SIZES) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.stack([draw.integers(0, size, rows) for size in sizes], 1)


def found(cells: np.ndarray, values: np.ndarray, most: int = 4, **layout: Any) -> tuple[tuple[int, ...], ...]:
    sizes = [int(column.max()) + 1 for column in cells.T]
    shown = Layout(cells=tuple(Cell(shares=(1 / n,) * n) for n in sizes), values=values.shape[1], **layout)
    return find_crosses(shown, Encoded(cells, values), len(cells), most)


def levels(cells: np.ndarray, cross: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """(rows) a number of its own for each combination."""
    index = np.ravel_multi_index(tuple(cells[:, k] for k in cross), [SIZES[k] for k in cross])
    return np.random.default_rng(seed).normal(size=int(np.prod([SIZES[k] for k in cross])))[index]


@pytest.mark.parametrize("cross", [(0, 1), (1, 2), (0, 1, 2), (2, 3, 4)])
def test_a_combination_that_says_something_is_found(cross: tuple[int, ...]) -> None:
    cells, draw = table(16_000, 0), np.random.default_rng(2)
    said = levels(cells, cross) + draw.normal(size=len(cells))
    assert found(cells, np.stack([said, draw.normal(size=len(cells))], 1)) == (cross,)


def test_those_that_say_more_come_first_and_no_more_than_asked() -> None:
    cells, draw = table(16_000, 0), np.random.default_rng(2)
    said = np.stack([2 * levels(cells, (1, 2)), levels(cells, (0, 3, 4)), draw.normal(size=len(cells))], 1)
    said += draw.normal(size=said.shape)
    assert found(cells, said) == ((1, 2), (0, 3, 4))
    assert found(cells, said, most=1) == ((1, 2),) and found(cells, said, most=0) == ()


def test_what_cells_say_one_by_one_needs_no_combination() -> None:
    cells, draw = table(16_000, 0), np.random.default_rng(2)
    said = sum(levels(cells, (k,), k) for k in range(len(SIZES)))
    more = np.where(levels(cells, (3,)) + draw.normal(size=len(cells)) > 0, 1, 0)  # and a cell that follows from one
    assert not found(np.c_[cells, more], np.stack([said + draw.normal(size=len(cells)), said], 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([60, 300, 2000, 16_000]), st.integers(0, 3))
def test_nothing_is_found_by_chance(seed: int, rows: int, values: int) -> None:
    cells = table(rows, seed)
    assert not found(cells, np.random.default_rng(seed + 1).normal(size=(rows, values)))


def test_combinations_of_few_rows_each_are_no_key_to_rows() -> None:
    """However much they say: what is learnt of one combination would be a row's alone."""
    cells = table(3000, 0)
    said = levels(cells, (0, 1, 2))[:, None]
    assert len(cells) / (5 * 12 * 30) < EACH and (0, 1, 2) not in found(cells, said)


def test_the_target_is_no_part() -> None:
    cells, draw = table(16_000, 0), np.random.default_rng(2)
    said = (levels(cells, (0, 1)) + 0.3 * draw.normal(size=len(cells)))[:, None]
    assert found(cells, said) == ((0, 1),) and not found(cells, said, target=0)


def test_a_codec_finds_them_in_a_table_however_it_is_read() -> None:
    """The level of each day is its own; the codec says so, whichever way rows come, and its JSON keeps it."""
    cells = table(20_000, 0)
    said = np.round(levels(cells, (0, 1, 2)) + 0.3 * np.random.default_rng(2).normal(size=len(cells)), 3)
    names = ["year", "month", "day", "sky", "wind"]
    columns = {n: [f"{n}{k}" for k in column] for n, column in zip(names, cells.T, strict=True)}
    whole = pa.table({**columns, "level": said})
    codec = fitted(whole, crosses=4)
    assert fitted(whole, 3, 777, crosses=4) == codec
    assert codec.layout.crosses == codec.crosses == ((0, 1, 2),)
    assert codec.together == ["'year' × 'month' × 'day'"]
    assert fitted(whole).crosses == fitted(whole, crosses=0).crosses == ()
    assert Codec.model_validate(json.loads(codec.model_dump_json()) | {"table": codec.table}).layout == codec.layout
