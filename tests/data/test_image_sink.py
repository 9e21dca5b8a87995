"""Images that are given away are read back with the same pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synth.data import image_sink, sink
from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.schema import Schema
from synth.data.source import open_source
from synth.errors import UserError


def drawn(channels: int, labels: list[str | int | None] | None) -> tuple[pa.RecordBatch, Schema]:
    """A batch of images in the schema's types, as a sampler gives it."""
    x = np.random.default_rng(channels).integers(0, 256, (24, 5, 4, channels), dtype=np.uint8)
    columns = {"image": pa.array([image_sink.png(image) for image in x], pa.binary())}
    table = pa.table(columns if labels is None else columns | {"label": pa.array(labels)})
    schema = infer(open_source(table))
    [batch] = table.to_batches()
    return conform(batch, schema), schema


LABELS: list[str | int | None] = ["cat", "dog/old", "a b", None] * 6


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_column_of_files(tmp_path: Path, channels: int, format: str) -> None:
    batch, schema = drawn(channels, LABELS)
    out = tmp_path / f"t.{format}"
    halves = [batch.slice(0, 10), batch.slice(10)]
    sink.write(
        image_sink.encoded(halves, schema, first=70), image_sink.file_schema(schema.arrow(), schema), str(out), format
    )
    source = open_source(out)
    assert infer(source) == schema
    assert pa.concat_batches([conform(b, schema) for b in source.batches()]) == batch
    read = pq.read_table(out) if format == "parquet" else pa.ipc.open_file(out).read_all()
    row = read.slice(12, 1).to_pylist()[0]
    assert row["image"]["path"] == "000082.png" and row["label"] == LABELS[12]
    assert np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).tobytes() == batch["image"][12].as_py()


@pytest.mark.parametrize("labels", [LABELS, [1, 2] * 12, None])
def test_a_folder_of_files(tmp_path: Path, labels: list[str | int | None] | None) -> None:
    batch, schema = drawn(3, labels)
    assert image_sink.write_folder([batch.slice(0, 9), batch.slice(9)], schema, tmp_path) == 24
    assert len(list(tmp_path.rglob("*.png"))) == 24
    if labels == LABELS:
        assert (tmp_path / "dog" / "old" / "000001.png").is_file() and (tmp_path / "000003.png").is_file()
    source = open_source(tmp_path)
    read = pa.concat_batches([conform(b, schema) for b in source.batches()])
    order = np.argsort([int(Path(source.place(row)).stem) for row in range(24)])
    assert read.take(pa.array(order)) == batch


@pytest.mark.parametrize("label", ["../up", ".hidden", "_SUCCESS", "", "a\\b", "c:", "new\nline", "dot.", "x" * 300])
def test_a_class_that_is_no_folder_is_refused(tmp_path: Path, label: str) -> None:
    batch, schema = drawn(1, [label, "good"] * 12)
    with pytest.raises(UserError, match="cannot be the name of a folder; write parquet"):
        image_sink.write_folder([batch], schema, tmp_path / "out")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_formats_that_hold_no_images_are_refused() -> None:
    _, images = drawn(1, None)
    table = infer(open_source(pa.table({"x": np.arange(30) / 7})))
    for format in ("csv", "ndjson"):
        with pytest.raises(UserError, match=f"--format {format}: images are not written as text; write parquet"):
            image_sink.check(images, format)
        image_sink.check(table, format)
    with pytest.raises(UserError, match="--format png: this release draws rows of a table"):
        image_sink.check(table, "png")
    for format in ("png", "parquet", "arrow"):
        image_sink.check(images, format)


def test_tables_pass_as_they_are() -> None:
    table = pa.table({"x": np.arange(30) / 7, "c": ["a", "b"] * 15})
    schema = infer(open_source(table))
    [batch] = table.to_batches()
    assert (
        list(image_sink.encoded([batch], schema)) == [batch]
        and image_sink.file_schema(schema.arrow(), schema) == schema.arrow()
    )
