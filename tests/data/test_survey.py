"""What is found among images: their shape, what is wrong with them, what was done to them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.passes import here
from synth.data.schema import Schema
from synth.data.source import Source, open_source
from synth.data.survey import first_shape, survey_as
from synth.errors import UserError
from tests.data.images import colours, deep_colours, encoded, grey, turned

GOOD = [encoded(colours(8, 8, seed)) for seed in range(30)]


def table(images: list[bytes | None], labels: list[Any] | None = None) -> pa.Table:
    columns = {"image": pa.array(images, pa.binary())}
    return pa.table(columns if labels is None else columns | {"label": pa.array(labels)})


def notes(images: list[bytes | None], **options: Any) -> str:
    return "\n".join(infer(open_source(table(images)), **options).notes)


def in_pieces(what: str, work: Any, source: Source) -> Iterator[Any]:
    for piece in source.pieces(1):
        yield pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(piece)))))


def test_shape_class_and_target() -> None:
    schema = infer(open_source(table(GOOD, [k % 3 for k in range(30)])))
    image, label = schema.columns
    assert (image.kind, image.dtype, image.shape, image.nullable) == (
        "image",
        "fixed_size_binary[192]",
        (8, 8, 3),
        False,
    )
    assert (label.kind, label.dtype, schema.target, schema.task) == ("categorical", "int64", "label", "classification")
    assert schema.notes == [] and Schema.from_yaml(schema.to_yaml()) == schema
    assert infer(open_source(table(GOOD, ["one"] * 30))).target is None
    assert infer(open_source(table(GOOD))).target is None
    assert infer(open_source(table(GOOD, ["cat", "dog", None] * 10))).target == "label"
    assert infer(open_source(table(GOOD, [None] * 30))).target is None
    assert infer(open_source(table([encoded(grey(3, 5))] * 20))).columns[0].shape == (3, 5, 1)


def test_a_column_that_is_no_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"'label' has 30 values for 30 images, so it is no class.*--exclude label"):
        infer(open_source(table(GOOD, [f"image of {k}" for k in range(30)])))
    with pytest.raises(UserError, match=r"15 images have no class in column 'label', and all others have 'cat'"):
        infer(open_source(table(GOOD, ["cat", None] * 15)))
    two = table(GOOD, [0, 1] * 15).append_column("more", pa.array([1.5] * 30))
    with pytest.raises(UserError, match=r"columns label, more stand beside the images .*--exclude more"):
        infer(open_source(two))
    assert infer(open_source(two), exclude=["more"]).target == "label"
    assert infer(open_source(two), ids=["more"]).target == "label"
    with pytest.raises(UserError, match="--numerical label: beside images only a class is learnt"):
        infer(open_source(table(GOOD, [0, 1] * 15)), numerical=["label"])
    with pytest.raises(UserError, match="column 'image' holds images, and is no target"):
        infer(open_source(table(GOOD)), target="image")
    with pytest.raises(UserError, match="columns image, thumb hold bytes"):
        infer(open_source(table(GOOD).append_column("thumb", table(GOOD)["image"])))


def test_bytes_that_are_no_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"'image' holds bytes, and no images .*row 1 \(is no PNG.*--exclude image"):
        infer(open_source(table([b"one", b"two"] * 10)))


def test_a_few_unreadable_images_are_named_counted_and_left_out(tmp_path: Path) -> None:
    for k in range(400):
        (tmp_path / f"{k:03}.png").write_bytes(GOOD[k % 30])
    (tmp_path / "007.png").write_bytes(b"")
    (tmp_path / "008.png").write_bytes(b"text")
    (tmp_path / "009.png").write_bytes(GOOD[0][:150])
    (tmp_path / "100.png").write_bytes(b"text")
    source = open_source(tmp_path)
    schema = infer(source)
    [note] = schema.notes
    assert note.startswith("4 of 400 images cannot be read and were left out:")
    assert "007.png (is empty)" in note and "008.png (is no PNG" in note and "009.png (is damaged: " in note
    assert note.endswith("and 1 more") and "100.png" not in note
    assert sum(conform(batch, schema).num_rows for batch in source.batches()) == 396
    (tmp_path / "200.png").write_bytes(b"text")
    with pytest.raises(
        UserError, match=r"5 of 400 images \(1\.2%\) cannot be read: .*007\.png .*up to 1% are left out"
    ):
        infer(source)


def test_every_kind_of_image_among_good_ones_is_counted_and_named() -> None:
    square = colours(8, 8)
    transparent = square.copy()
    transparent.putalpha(90)
    odd = {
        "animated, of which the first frame": encoded(square, "PNG", save_all=True, append_images=[colours(8, 8, 1)]),
        "converted from a palette": encoded(square.quantize(8)),
        "converted from CMYK": encoded(square.convert("CMYK"), "JPEG"),
        "scaled from 16 bits": deep_colours(np.ones((8, 8, 3), np.uint16)),
        "transparent in places": encoded(transparent),
        "turned upright": turned(square, 3),
    }
    found = notes([*GOOD, *odd.values(), encoded(grey(8, 8)), encoded(Image.fromarray(np.ones((8, 8), np.uint16)))])
    for row, what in enumerate(odd, start=31):
        [line] = [line for line in found.splitlines() if what in line]
        assert line.startswith("2 of 38" if "16 bits" in what else "1 of 38") and f"the table, row {row}" in line
    assert "3 of 38 images are grey among others in colour" in found


def test_images_of_several_sizes_ask_for_one() -> None:
    mixed: list[bytes | None] = [*GOOD, encoded(colours(8, 9)), encoded(colours(40, 30)), encoded(colours(3, 30))]
    with pytest.raises(
        UserError, match=r"4 sizes, of which 8 × 8 is the commonest \(30 of 33\).*image\.size=64.*--size"
    ):
        infer(open_source(table(mixed)))
    schema = infer(open_source(table(mixed)), size=8)
    assert schema.columns[0].shape == (8, 8, 3)
    assert schema.notes == ["3 of 33 images were cut to their middle and resized to 8 × 8, 1 of them enlarged"]
    assert notes(list(GOOD), size=16).startswith(
        "30 of 30 images were cut to their middle and resized to 16 × 16, 30 of"
    )
    large: list[bytes | None] = [encoded(Image.new("L", (8, 1025)))] * 20
    with pytest.raises(UserError, match=r"have 8 × 1025 pixels.*image\.size=64"):
        infer(open_source(table(large)))


def test_classes_with_one_image_are_named() -> None:
    schema = infer(open_source(table(GOOD, ["owl", *["cat", "dog"] * 14, "emu"])))
    assert schema.notes == ["2 classes have one image each, which lies in one part of the split: emu, owl"]
    # An image that cannot be read makes no second one.
    many = GOOD * 5
    schema = infer(open_source(table([*many, b"", GOOD[0]], [*["cat", "dog"] * 75, "owl", "owl"])))
    assert schema.notes[-1].endswith("split: owl")


def test_the_schema_does_not_depend_on_the_pieces(tmp_path: Path) -> None:
    for k in range(200):
        (tmp_path / str(k % 3)).mkdir(exist_ok=True)
        data = encoded(grey(8 + k % 2, 8, k)) if k % 2 else GOOD[k % 30]
        (tmp_path / str(k % 3) / f"{k:03}.png").write_bytes(b"" if k == 50 else data)
    source = open_source(tmp_path)
    schema = infer(source, size=8)
    assert schema == infer(source, size=8, over=in_pieces) and len(schema.notes) == 3


def test_other_images_are_made_to_fit_and_that_is_told() -> None:
    schema = infer(open_source(table([encoded(grey(8, 8, k)) for k in range(20)])))
    other = open_source(table([*[encoded(grey(9, 9, k)) for k in range(120)], encoded(colours(8, 8)), b"?"]))
    found = survey_as(schema, other, here)
    assert found == survey_as(schema, other, in_pieces)
    assert [note.removeprefix("the table: ")[:40] for note in found] == [
        "1 of 122 images cannot be read and were ",
        "120 of 122 images were cut to their midd",
        "1 of 122 images are in colour, and were ",
    ]
    with pytest.raises(UserError, match="2 of 22 images"):
        survey_as(schema, open_source(table([*GOOD[:20], b"?", b"!"])), here)
    [batch] = other.batches()
    pixels = conform(batch, schema)
    assert pixels.num_rows == 121 and survey_as(schema, open_source(pa.Table.from_batches([pixels])), here) == []
    assert conform(pixels, schema) == pixels
    assert survey_as(schema, open_source(pa.table({"x": [1]})), here) == []  # which then lacks the column
    with pytest.raises(UserError, match=r"should hold images of \(8, 8, 1\), .* and holds string"):
        conform(pa.record_batch({"image": ["a.png"]}), schema)


def test_the_first_image_tells_the_shape_before_a_pass() -> None:
    source = open_source(table([b"?", encoded(grey(6, 5)), *GOOD]))
    assert first_shape(source, [], None) == (6, 5, 1)
    assert first_shape(source, [], 32) == (32, 32, 1)
    assert first_shape(source, ["image"], None) is None
    assert first_shape(open_source(table([b"?"])), [], None) is None
    assert first_shape(open_source(pa.table({"x": [1]})), [], None) is None


def test_constraints_are_for_tables() -> None:
    with pytest.raises(UserError, match="constraint 'label != 1': is for a table, and 'image' holds images"):
        infer(open_source(table(GOOD, [0, 1] * 15)), constraints=["label != 1"])
