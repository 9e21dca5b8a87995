"""Images through the codec, and how their rows are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synth.data.codec import Codec, Fit
from synth.data.conform import conform
from synth.data.images import png
from synth.data.infer import infer
from synth.data.schema import Schema
from synth.data.source import Source, open_source
from synth.data.split import Split
from synth.evaluation.copies import row_keys
from synth.generators.layout import Encoded

CODEC = {"ordered_up_to": 256, "atom_share": 0.0025, "bins": 32}


def rows_of(source: Source, schema: Schema) -> pa.RecordBatch:
    return pa.concat_batches([conform(batch, schema) for batch in source.batches()])


def codec_of(rows: pa.RecordBatch, schema: Schema) -> Codec:
    fit = Fit(schema)
    fit.update(rows)
    return fit.finish(**CODEC)


@settings(max_examples=40)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(20, 30), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]))),
    st.integers(1, 4),
)
def test_encode_and_decode_are_inverse(x: np.ndarray, classes: int) -> None:
    y = np.arange(len(x)) % classes
    source = open_source({"image": x, "label": y})
    schema = infer(source)
    rows = rows_of(source, schema)
    codec = codec_of(rows, schema)
    encoded = codec.encode(rows)
    _, height, width, channels = (len(x), *schema.columns[0].shape)  # type: ignore[misc]
    assert codec.layout.image == (channels, height, width) and codec.layout.dtype == encoded.values.dtype == "uint8"
    first = x if channels == x.shape[-1] else x[..., :1]  # three equal channels are one
    assert np.array_equal(encoded.values.reshape(len(x), channels, height, width), first.transpose(0, 3, 1, 2))
    assert codec.layout.target == (0 if classes > 1 else None) and encoded.cells.shape == (len(x), int(classes > 1))
    assert codec.decode(encoded) == rows
    assert codec.decode(Encoded(encoded.cells, np.asfortranarray(encoded.values))) == rows
    again = Codec.model_validate({"table": schema, **codec.model_dump(mode="json")})
    assert again == codec and again.decode(again.encode(rows)) == rows


def test_a_class_is_one_cell_however_many_there_are() -> None:
    x = np.random.default_rng(0).integers(0, 256, (1400, 1, 2), dtype=np.uint8)
    source = open_source({"image": x, "label": np.arange(1400) % 700})
    schema = infer(source)
    rows = rows_of(source, schema)
    codec = codec_of(rows, schema)
    assert codec.layout.sizes == [700] and codec.layout.target == 0 and codec.decode(codec.encode(rows)) == rows


def test_the_part_of_an_image_follows_from_its_pixels_and_class(tmp_path: Path) -> None:
    """Renamed, re-ordered, written in another format or as a column: the same image is in the same part."""
    x = np.random.default_rng(0).integers(0, 256, (200, 5, 5, 3), dtype=np.uint8)
    y = np.array([f"class {k % 3}" for k in range(200)])
    files = [png(image) for image in x]
    order = np.random.default_rng(1).permutation(200)
    for index, k in enumerate(order):
        (tmp_path / y[k]).mkdir(exist_ok=True)
        (tmp_path / y[k] / f"renamed-{index}.png").write_bytes(files[k])
    struct = pa.array([{"bytes": files[k], "path": f"{k}.png"} for k in order[::-1]])
    pq.write_table(pa.table({"label": y[order[::-1]], "image": struct}), tmp_path / "t.parquet", row_group_size=70)
    parts, keys = {}, {}
    for name, source in {
        "arrays": open_source({"image": x, "label": y}),
        "folder": open_source(str(tmp_path / "*" / "*.png")),
        "table": open_source(tmp_path / "t.parquet"),
    }.items():
        schema = infer(source)
        rows = rows_of(source, schema).select(["image", "label"])
        found = zip(rows["image"].to_pylist(), Split().assign(rows).tolist(), strict=True)
        parts[name], keys[name] = dict(found), set(row_keys(schema, rows).tolist())
    assert parts["arrays"] == parts["folder"] == parts["table"] and len(parts["table"]) == 200
    assert set(parts["table"].values()) == {0, 1, 2, 3}
    assert keys["arrays"] == keys["folder"] == keys["table"] and len(keys["table"]) == 200


def test_keys_see_every_pixel_and_no_class() -> None:
    x = np.zeros((24, 2, 2), np.uint8)
    x[1, 1, 1] = 1
    source = open_source({"image": x, "label": [0] * 12 + [1] * 12})
    schema = infer(source)
    keys = row_keys(schema, rows_of(source, schema))
    assert len(set(keys.tolist())) == 2 and keys[1] not in keys[[0, 23]] and keys[0] == keys[2] == keys[12]


def test_values_of_another_type_are_no_pixels() -> None:
    source = open_source(np.zeros((20, 2, 2), np.uint8))
    codec = codec_of(rows_of(source, infer(source)), infer(source))
    with pytest.raises(AssertionError, match="whole numbers"):
        codec.decode(Encoded(np.empty((1, 0), np.int64), np.zeros((1, 4), np.float32)))
