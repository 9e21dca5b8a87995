from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.data.hashing import mix
from synth.data.sketch import Counter, DistinctSketch, QuantileSketch
from synth.errors import UserError

MANY = 5_000_000


WIDTH = 2**17 // 8
BOUND = (1 + np.log2(MANY / WIDTH)) / WIDTH  # on the error of any rank, as a share


def worst_rank_error(sketch: QuantileSketch, ordered: np.ndarray) -> float:
    """The largest distance between a quantile's rank and its true one, as a share."""
    q = np.linspace(0, 1, 10_001)
    found = sketch.quantiles(q)
    low, high = (np.searchsorted(ordered, found, side=side) / ordered.size for side in ("left", "right"))
    return float(np.maximum(low - q, q - high).max())


@pytest.mark.parametrize("shape", ["uniform", "lognormal", "spike", "integers"])
def test_five_million_values_in_any_order(shape: str) -> None:
    draw = np.random.default_rng(0)
    values = {
        "uniform": lambda: draw.random(MANY),
        "lognormal": lambda: draw.lognormal(0, 3, MANY),
        "spike": lambda: np.where(draw.random(MANY) < 0.9, 0.0, draw.normal(size=MANY)),
        "integers": lambda: draw.integers(0, 300, MANY).astype(float),
    }[shape]()
    ordered = np.sort(values)
    zigzag = np.empty_like(ordered)
    zigzag[::2], zigzag[1::2] = ordered[: MANY // 2], ordered[MANY // 2 :][::-1]
    for arranged in (values, ordered, ordered[::-1], zigzag):
        sketch = QuantileSketch()
        for part in np.array_split(arranged, 77):
            sketch.update(part)
        assert worst_rank_error(sketch, ordered) <= BOUND + 1 / MANY < 0.002
        assert sketch.count == MANY
        assert sum(v.size for v in sketch._levels) < 2**18


FLOATS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200)


@settings(max_examples=100)
@given(values=FLOATS, q=st.floats(0, 1), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_exact_while_small_and_batching_is_immaterial(values: list[float], q: float, cuts: list[int]) -> None:
    ordered = np.sort(values)
    sketch, coarse, coarse_in_parts = QuantileSketch(256), QuantileSketch(16), QuantileSketch(16)
    sketch.update(np.array(values))
    coarse.update(np.array(values))
    for part in np.split(np.array(values), sorted(cuts)):
        coarse_in_parts.update(part)
    assert sketch.quantiles(q) == np.quantile(ordered, q, method="inverted_cdf")
    grid = np.linspace(0, 1, 20)
    assert (coarse.quantiles(grid) == coarse_in_parts.quantiles(grid)).all()
    assert coarse.quantiles(0) == ordered[0]
    assert coarse.quantiles(1) == ordered[-1]


def test_sketch_refuses_what_it_cannot_rank() -> None:
    sketch = QuantileSketch()
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            sketch.update(np.array([0.0, wrong]))
    assert sketch.count == 0
    with pytest.raises(ValueError, match="no values"):
        sketch.quantiles(0.5)


@given(st.lists(st.lists(st.none() | st.sampled_from(["a", "b", "ü\n", ""]), max_size=20), max_size=6))
def test_counter_counts(batches: list[list[str | None]]) -> None:
    counter = Counter("c")
    for batch in batches:
        counter.update(pa.array(batch, pa.string()))
    flat = [value for batch in batches for value in batch]
    values, counts = counter.counts()
    assert counter.missing == flat.count(None)
    want = sorted({v for v in flat if v is not None}, key=lambda v: (-flat.count(v), v.encode()))
    assert values.to_pylist() == want
    assert counts.tolist() == [flat.count(v) for v in want]


@pytest.mark.parametrize("values", [[2, 1, 2], [0.5, None, 0.25], [True, False, True], [dt.date(1, 1, 1)] * 2])
def test_counter_takes_any_type(values: list[object]) -> None:
    counter = Counter("c")
    counter.update(pa.array(values))
    found, counts = counter.counts()
    assert set(found.to_pylist()) == set(values) - {None}
    assert counts.sum() == len(values) - counter.missing


def test_counter_has_a_limit() -> None:
    counter = Counter("zip", limit=1_000)
    counter.update(pa.array(np.arange(1_000)))
    counter.update(pa.array(np.arange(1_000)))
    assert len(counter.counts()[0]) == 1_000
    counter.update(pa.array([-1]))
    with pytest.raises(UserError, match="'zip' has more than 1,000 distinct values"):
        counter.counts()


def test_distinct_sketch() -> None:
    sketch = DistinctSketch()
    for start in range(0, 60_000, 10_000):
        sketch.update(mix(np.arange(start, start + 20_000, dtype=np.uint64) % np.uint64(60_000)))
    assert sketch.estimate == 60_000
    sketch.update(mix(np.arange(2_000_000, dtype=np.uint64)))
    assert abs(sketch.estimate / 2_000_000 - 1) < 0.02
