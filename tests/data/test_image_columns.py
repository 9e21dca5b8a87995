from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from synth.data.hashing import hash_values
from synth.data.image_columns import column_of, label_column, pixels
from synth.data.schema import Column, Schema
from synth.errors import UserError

SHAPE = (3, 2, 4)
IMAGES = np.random.default_rng(0).integers(0, 256, (7, *SHAPE), np.uint8)


def test_images_go_to_a_column_and_back_without_a_copy() -> None:
    column = column_of(IMAGES)
    assert column.type == pa.binary(24)
    assert column[2].as_py() == IMAGES[2].tobytes()
    back = pixels(column, SHAPE)
    assert np.array_equal(back, IMAGES)
    assert np.shares_memory(back, IMAGES)
    assert np.array_equal(pixels(column_of(IMAGES[:, ::-1]), SHAPE), IMAGES[:, ::-1])


def test_slices_and_pieces_are_read_from_where_they_begin() -> None:
    column = column_of(IMAGES)
    assert np.array_equal(pixels(column.slice(2, 3), SHAPE), IMAGES[2:5])
    pieces = pa.chunked_array([column.slice(5, 2), column.slice(0, 0), column.slice(1, 1)])
    assert np.array_equal(pixels(pieces, SHAPE), IMAGES[[5, 6, 1]])
    assert pixels(pa.chunked_array([], column.type), SHAPE).shape == (0, *SHAPE)


def test_other_columns_and_missing_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"fixed_size_binary\[24\], not the 27 bytes of 3 × 3 pixels of 3 channels"):
        pixels(column_of(IMAGES), (3, 3, 3))
    with pytest.raises(UserError, match="1 of 2 images are missing"):
        pixels(pa.array([IMAGES[0].tobytes(), None], pa.binary(24)), SHAPE)


def test_images_hash_by_their_pixels_wherever_they_lie() -> None:
    column = pa.array([*(i.tobytes() for i in IMAGES), None], pa.binary(24))
    hashes = hash_values(column)
    assert len(set(hashes.tolist())) == 8
    assert hashes[-1] == hash_values(pa.nulls(1))[0]
    assert np.array_equal(hash_values(column.slice(3, 2)), hashes[3:5])
    assert hash_values(column_of(IMAGES[4:5]))[0] == hashes[4]


def test_the_label_is_the_target_or_the_only_other_class() -> None:
    image = Column(name="image", kind="image", dtype="fixed_size_binary[24]", shape=SHAPE)
    kind, colour = (Column(name=n, kind="categorical", dtype="string") for n in ("kind", "colour"))
    size = Column(name="size", kind="numerical", dtype="double")
    name = Column(name="name", kind="id", dtype="string")
    assert label_column(Schema(columns=[image, name])) is None
    assert label_column(Schema(columns=[image, size])) is None
    assert label_column(Schema(columns=[image, name, kind])) == "kind"
    assert label_column(Schema(columns=[image, kind, colour])) is None
    assert label_column(Schema(columns=[image, kind, colour], target="colour")) == "colour"
