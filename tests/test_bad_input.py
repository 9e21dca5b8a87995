"""Awkward but right input goes from the source to the written sample: types, ranges and categories hold, in each format.

The generator is not trained: what comes out of the codec must satisfy the schema whatever the model says.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from synth.data import sink
from synth.data.conform import conform
from synth.data.schema import Column
from synth.data.source import open_source
from synth.errors import UserError
from synth.generators.families import build
from synth.recipe import Recipe
from synth.sampling import Sampler
from synth.training.prepare import open_sources, prepare

N = 400
ROWS = 300
WORDS = ["naïve", "two\nlines", "日本語", '"quoted", with a comma', "🌊", "tab\there", " padded "]


def narrow() -> dict[str, object]:
    """Fewer rows than columns."""
    draw = np.random.default_rng(0)
    return {f"x{i}": draw.normal(size=24).round(i % 3) for i in range(30)}


def hollow() -> dict[str, object]:
    """Columns with nothing or always the same in them, and NaN."""
    x = np.random.default_rng(0).normal(size=N)
    return {
        "x": np.where(x > 1, np.nan, x),
        "nan": np.full(N, np.nan),
        "nothing": pa.nulls(N),
        "no_day": pa.nulls(N, pa.date32()),
        "seven": np.full(N, 7),
        "word": ["always"] * N,
        "half_gone": pa.array([7, None] * (N // 2)),
    }


def many() -> dict[str, object]:
    """A hundred thousand categories."""
    k = np.arange(120_000) % 100_000
    return {"k": [f"k{i}" for i in k], "n": k % 7}


def far() -> dict[str, object]:
    """Whole numbers beyond 2^53, and uint64 around 2^63."""
    draw = np.random.default_rng(0)
    return {
        "n": 2**60 + draw.integers(0, 10**6, N),
        "few": 2**62 + draw.integers(0, 5, N),
        "u": pa.array([2**63 - 500 + i for i in draw.integers(0, 1000, N).tolist()], pa.uint64()),
        "few_u": pa.array([2**63 - 2 + i for i in draw.integers(0, 5, N).tolist()], pa.uint64()),
        "price": pa.array([Decimal(i) / 100 for i in draw.integers(0, 10**9, N).tolist()], pa.decimal128(18, 2)),
    }


def times() -> dict[str, object]:
    """Dates before 1677 and after 2262, and both ends of the nanoseconds between."""
    draw = np.random.default_rng(0)
    days = [dt.date(1, 1, 1) + dt.timedelta(days=int(d)) for d in draw.integers(0, 3_652_000, N)]
    hours = draw.integers(-(2**63) // (3600 * 10**9) + 1, 2**63 // (3600 * 10**9), N)
    return {
        "day": days,
        "few_days": [dt.date(1066, 10, 14), dt.date(9999, 12, 31), None, dt.date(1, 1, 1)] * (N // 4),
        "moment": pa.array([dt.datetime(d.year, 5, 1, 12, 30) for d in days], pa.timestamp("us")),
        "before_christ": pa.array(draw.integers(-(10**11), -(10**10), N), pa.timestamp("s")),
        "ns": pa.array(hours * 3600 * 10**9, pa.timestamp("ns")),
        "few_ns": pa.array([-9_223_372_036 * 10**9, 2**63 - 1] * (N // 2), pa.timestamp("ns")),
    }


def words() -> dict[str, object]:
    """Unicode and newlines in categories and names."""
    draw = np.random.default_rng(0)
    return {"größe\n(cm)": draw.integers(150, 200, N), "word": draw.choice(WORDS, N), "on": draw.random(N) < 0.5}


def zeros() -> dict[str, object]:
    """Negative zeros among few and among many values, half floats, and ids in types too narrow to count rows."""
    draw = np.random.default_rng(0)
    return {
        "few": draw.choice([0.0, -0.0, 1.5], N),
        "many": np.where(draw.random(N) < 0.5, -0.0, draw.normal(size=N)),
        "half": pa.array(draw.normal(size=N).astype(np.float16)),
        "row_id": pa.array((np.arange(N) % 256).astype(np.uint8)),
        "other_id": pa.array(np.arange(N).astype(np.int16)),
    }


def holds(column: Column, sampled: pa.ChunkedArray, real: pa.ChunkedArray) -> bool:
    """Whether the sampled values could have been in the real column."""
    if column.kind == "id":
        return sampled.to_pylist() == list(range(ROWS))
    if sampled.null_count and not real.null_count:
        return False
    values = sampled.drop_null()
    if len(values) == 0 or column.kind in ("categorical", "boolean"):
        return bool(pc.all(pc.is_in(values, value_set=pc.unique(real)), min_count=0).as_py())
    if pa.types.is_temporal(values.type):  # Python knows no year before 1
        kind = pa.int32() if pa.types.is_date32(values.type) else pa.int64()
        values, real = values.cast(kind), real.cast(kind)
    (low, high), (least, most) = (pc.min_max(c).as_py().values() for c in (values, real))
    return bool(least <= low and high <= most)


@pytest.mark.parametrize("make", [narrow, hollow, many, far, times, words, zeros])
def test_from_source_to_written_sample(make: object, tmp_path: Path) -> None:
    table = pa.table(make())  # type: ignore[operator]
    pq.write_table(table, tmp_path / "real.parquet")
    settings = {"diffusion.width": 16, "diffusion.blocks": 1, "diffusion.steps": 2, "split": [0.5, 0, 0, 0.5]}
    recipe = Recipe.read(None, settings | ({"id": ["row_id"]} if "row_id" in table.column_names else {}))
    recipe = recipe.resolved(test_apart=False)
    sources, schema = open_sources(tmp_path / "real.parquet", None, recipe)
    prepared = prepare(sources, schema, recipe)
    assert prepared.rows["train"] + prepared.rows["test"] == table.num_rows

    codec, real = prepared.codec, prepared.real.combine_chunks()
    back = codec.decode(codec.encode(real.to_batches()[0]))
    for column in schema.learnt:
        if column.kind != "numerical" or column.decimals is not None:
            assert back.column(column.name).equals(real[column.name].chunk(0)), column.name

    torch.manual_seed(0)
    generator = build(recipe, codec.layout)
    for parameter in generator.parameters():  # an untrained head is zero, and draws the same row again and again
        parameter.data += 0.3 * torch.randn_like(parameter)
    sample = Sampler(generator, codec).table(ROWS)
    assert sample.schema.equals(schema.arrow())
    for column in schema.columns:
        assert holds(column, sample[column.name], prepared.real[column.name]), column.name

    for format in sink.FORMATS:
        out = tmp_path / f"sample.{format}"
        sink.write(sample.to_batches(), schema.arrow(), str(out), format)
        if format == "ndjson" and make is far:  # beyond an int64 Arrow reads JSON's numbers as floats, so ours refuses
            lines = [json.loads(line) for line in out.read_text().splitlines()]
            assert all(
                [line[name] for line in lines] == sample[name].to_pylist() for name in ("n", "u", "few", "few_u")
            )
            with pytest.raises(UserError, match="write it as a string"):
                open_source(out)
            continue
        # Years before 1 are written as ISO 8601 has them, but Arrow reads them as words.
        kept = [c for c in schema.learnt if c.name != "before_christ" or format in ("parquet", "arrow")]
        (read,) = open_source(out).table().combine_chunks().to_batches()
        read = conform(read, schema.model_copy(update={"columns": kept}))
        assert pa.table(read).equals(sample.select([c.name for c in kept]).combine_chunks()), format


@contextmanager
def nobody() -> Iterator[None]:
    """Root may read anything: for a while this process is somebody who may not."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_a_place_that_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to others, all of it
        Path(name).chmod(0o755)
        path, folder = Path(name, "t.csv"), Path(name, "closed")
        path.write_text("a\n1\n")
        assert open_source(path).rows() == 1  # with what is imported at first use
        path.chmod(0)
        folder.mkdir(mode=0)
        for place in (path, folder):
            with nobody(), pytest.raises(UserError, match=rf"{place.name}: reading it is not permitted"):
                open_source(place)
