"""What is found piece by piece is what is found in one go."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.data.codec import Codec, Fit
from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.numbers import LatticeFit
from synth.data.passes import Pass
from synth.data.schema import Column, Schema
from synth.data.sketch import Counter, DistinctSketch, QuantileSketch
from synth.data.source import Piece, Source, open_source
from synth.errors import UserError

CODEC = {"ordered_up_to": 32, "atom_share": 0.01, "bins": 8}


def in_pieces(rows: int) -> Pass:
    """As a cluster does it: each piece goes out and comes back as bytes."""

    def over(what: str, work: Any, source: Source) -> Iterator[Any]:
        for piece in source.pieces(rows):
            yield pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(piece)))))

    return over


def everything(rows: int) -> pa.Table:
    draw = np.random.default_rng(1)

    def gaps(values: Any, kind: pa.DataType | None = None) -> pa.Array:
        return pa.array(values, kind, mask=draw.random(rows) < 0.1)

    return pa.table(
        {
            "smooth": draw.normal(size=rows),
            "cents": gaps(np.round(draw.lognormal(3, 1, rows), 2)),
            "few": draw.integers(0, 9, rows),
            "zeros": np.where(draw.random(rows) < 0.6, 0.0, draw.normal(size=rows)),
            "far": pa.array(np.uint64(2**63 - 500) + draw.integers(0, 1000, rows).astype(np.uint64)),
            "day": gaps([dt.date(1999, 1, 1) + dt.timedelta(days=int(d)) for d in draw.integers(0, 999, rows)]),
            "spelt": [f"{n}.5" if n % 2 else str(n) for n in draw.integers(0, 50, rows)],
            "when": [f"2020-01-{d:02}T00:00:{s:02}Z" for d, s in draw.integers(1, 29, (rows, 2))],
            "truth": gaps(draw.random(rows) < 0.3),
            "word": gaps(draw.choice(["a", "b", "c,d", "é"], rows)),
            "nothing": pa.nulls(rows, pa.string()),
            "key": np.arange(rows),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files of several row groups, the last of which ends early."""
    whole = everything(1000)
    for index in range(5):
        pq.write_table(whole.slice(index * 200, 200), tmp_path / f"{index}.parquet", row_group_size=37)
    return tmp_path


def codec_of(source: Source, schema: Schema, over: Pass) -> Codec:
    def look(piece: Piece) -> Fit:
        fit = Fit(schema)
        for _, batch in piece.batches():
            fit.update(conform(batch, schema))
        return fit

    first, *others = over("", look, source)
    for other in others:
        first.merge(other)
    return first.finish(**CODEC)


@pytest.mark.parametrize("rows", [1, 50, 300, 10_000])
def test_schema_and_codec_do_not_depend_on_the_pieces(folder: Path, rows: int) -> None:
    source = open_source(folder)
    schema = infer(source, over=in_pieces(rows))
    assert schema == infer(source)
    assert schema["spelt"].kind == "categorical" and schema["when"].kind == "datetime"
    # One lattice has another origin, the first value, in each piece; the codec is the same.
    assert codec_of(source, schema, in_pieces(rows)) == codec_of(source, schema, in_pieces(10**6))


def test_pieces_are_row_groups_in_order_and_know_their_rows(folder: Path) -> None:
    source = open_source(folder)
    pieces = source.pieces(50)
    assert len(pieces) > 20
    read = [(first, batch) for piece in pieces for first, batch in piece.batches()]
    assert [first for first, _ in read] == np.cumsum([0, *(b.num_rows for _, b in read)])[:-1].tolist()
    assert pa.Table.from_batches([b for _, b in read]).equals(source.table())
    assert len(source.pieces(1000)) == 1


@pytest.mark.parametrize("name", ["t.csv", "t.ndjson", "t.arrow"])
def test_of_other_formats_a_file_is_a_piece(tmp_path: Path, name: str) -> None:
    table = pa.table({"x": np.arange(90), "y": ["a", "b", "c"] * 30})
    for index in range(3):
        part, path = table.slice(index * 30, 30), tmp_path / f"{index}{name}"
        if name == "t.csv":
            pa.csv.write_csv(part, path)
        elif name == "t.ndjson":
            path.write_text("".join(f'{{"x": {r["x"]}, "y": "{r["y"]}"}}\n' for r in part.to_pylist()))
        else:
            pa.feather.write_feather(part, str(path))
    source = open_source(tmp_path)
    pieces = source.pieces(30)
    assert [p.first for p in pieces] == [0, 30, 60]
    assert [first for p in pickle.loads(pickle.dumps(pieces)) for first, _ in p.batches()] == [0, 30, 60]
    assert pa.Table.from_batches([b for p in pieces for _, b in p.batches()]).equals(table)
    narrow = source.only(["y"])
    assert narrow.table().equals(table.select(["y"])) and source.table().equals(table)
    assert narrow.fingerprint() == source.fingerprint() and narrow.rows() == 90


def test_columns_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": np.arange(50_000.0), "y": np.arange(50_000) % 7}), tmp_path / "t.parquet")
    first = pq.read_metadata(tmp_path / "t.parquet").row_group(0).column(0)
    with (tmp_path / "t.parquet").open("r+b") as file:  # the numbers of x are gone
        file.seek(first.dictionary_page_offset or first.data_page_offset)
        file.write(b"\xff" * 5000)
    source = open_source(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="damaged"):
        source.table()
    assert infer(source, exclude=["x"])["y"].kind == "numerical"
    assert source.only(["y"]).table()["y"].to_pylist()[:9] == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    memory = open_source(pa.table({"x": [1.0] * 30, "y": range(30)}))
    assert memory.only(["y"]).table().column_names == ["y"]


def test_what_is_wrong_is_named_by_its_row_in_the_whole(tmp_path: Path) -> None:
    values = np.ones(100)
    values[77] = np.inf
    pq.write_table(pa.table({"x": values, "y": np.arange(100) % 3}), tmp_path / "t.parquet", row_group_size=10)
    with pytest.raises(UserError, match="row 78: column 'x' is inf"):
        infer(open_source(tmp_path / "t.parquet"), over=in_pieces(10))


NUMBERS = st.lists(st.floats(-1e6, 1e6), max_size=300)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(NUMBERS, min_size=1, max_size=6), by=st.integers(-(2**40), 2**40))
def test_sketches_of_parts_are_the_sketch_of_all(parts: list[list[float]], by: int) -> None:
    values = np.concatenate([np.array(p) for p in parts])
    exact, coarse, distinct = QuantileSketch(4096), QuantileSketch(64), DistinctSketch(128)
    for part in parts:
        one, other, seen = QuantileSketch(4096), QuantileSketch(64), DistinctSketch(128)
        one.update(np.array(part))
        other.update(np.array(part))
        seen.update(np.array(part).view(np.uint64))
        exact.merge(one)
        coarse.merge(other)
        distinct.merge(seen)
    whole = DistinctSketch(128)
    whole.update(values.view(np.uint64))
    assert distinct.estimate == whole.estimate
    if not values.size:
        return
    q, ordered = np.linspace(0, 1, 50), np.sort(values)
    found, width = coarse.quantiles(q), 64 // 8
    assert exact.quantiles(0.5) == np.quantile(values, 0.5, method="inverted_cdf")
    assert coarse.count == values.size
    low, high = (np.searchsorted(ordered, found, side=side) / values.size for side in ("left", "right"))
    bound = (1 + max(np.log2(values.size / width), 0)) / width + 1 / values.size
    assert np.maximum(low - q, q - high).max() <= bound
    before = exact.quantiles(q)
    exact.shift(by)
    assert (exact.quantiles(q) == before + by).all()


def test_counts_of_parts_add_up() -> None:
    whole, merged = Counter("c"), Counter("c")
    for values in (["a", None, "b"], ["b", "b"], [], [None]):
        part = Counter("c")
        for counter in (whole, part):
            counter.update(pa.array(values, pa.string()))
        merged.merge(part)
    assert merged.missing == whole.missing == 2
    assert [x.tolist() for x in map(np.asarray, merged.counts())] == [["b", "a"], [3, 1]]
    few = Counter("c", limit=2)
    with pytest.raises(UserError, match="'c' has more than 2 distinct values"):
        for start in range(0, 9, 3):
            part = Counter("c", limit=2)
            part.update(pa.array(range(start, start + 2)))
            few.merge(part)
            few.counts()


def test_a_lattice_is_measured_from_the_first_origin() -> None:
    column = Column(name="t", kind="datetime", dtype="timestamp[s]", nullable=True)
    moments = [pa.array(part, pa.timestamp("s")) for part in ([None], [100, 160], [], [40, 220])]
    whole, merged = LatticeFit(column), LatticeFit(column)
    for part in moments:
        one = LatticeFit(column)
        distances = one.update(part)
        expected = whole.update(part)
        apart = merged.merge(one)
        assert np.array_equal(distances + apart, expected, equal_nan=True)
    assert merged.finish() == whole.finish()
    assert (merged.finish().origin, merged.finish().step) == (100, 60)
