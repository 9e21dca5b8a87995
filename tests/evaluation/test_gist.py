"""Numbers that images are watched by say what a person would see change."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from synth.data.image_columns import column_of
from synth.data.schema import Column, Schema
from synth.evaluation.gist import Gist, described


def schema(*shape: int) -> Schema:
    image = Column(name="x", kind="image", dtype=f"fixed_size_binary[{np.prod(shape)}]", shape=tuple(shape))
    return Schema(columns=[image, Column(name="label", kind="categorical", dtype="string")], target="label")


def numbers(images: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(Gist(schema(*images.shape[1:])).names, described(images).T, strict=True))


def test_each_number_is_what_its_name_says() -> None:
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[1, 2:4, 4:6, 0] = 255  # a red spot
    images[2, :, ::2] = 200  # stripes
    found = numbers(images)
    assert all((column[0] == 0).all() for column in found.values())
    assert found["x: brightness at row 2 of 4, column 3 of 4"].tolist() == [0, 85, 100]
    assert sum(found[name][1] for name in found if "brightness" in name) == 85
    assert found["x: red"][1] == pytest.approx(255 * 4 / 64) and found["x: blue"][1] == 0
    assert found["x: sharpness"][2] == 200 > found["x: sharpness"][1] > 0 and found["x: contrast"][2] == 100


@pytest.mark.parametrize("shape", [(8, 8, 3), (5, 7, 1), (1, 1, 1), (3, 2, 4), (64, 64, 3)])
def test_fields_part_the_whole_image_whatever_its_shape(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    found = numbers(images)
    assert len(found) == 2 + (shape[2] if shape[2] > 1 else 0) + min(4, shape[0]) * min(4, shape[1])
    assert all(column.dtype == np.float32 and np.isfinite(column).all() for column in found.values())
    light = images.mean(axis=3)
    for i, j in ((0, 0), (min(4, shape[0]) - 1, min(4, shape[1]) - 1)):
        rows = [int(k) for k in np.linspace(0, shape[0], min(4, shape[0]) + 1)]
        columns = [int(k) for k in np.linspace(0, shape[1], min(4, shape[1]) + 1)]
        name = f"x: brightness at row {i + 1} of {len(rows) - 1}, column {j + 1} of {len(columns) - 1}"
        wanted = light[:, rows[i] : rows[i + 1], columns[j] : columns[j + 1]].mean(axis=(1, 2))
        assert np.allclose(found[name], wanted, atol=1e-3)


def test_a_table_has_them_in_place_of_its_images_and_is_left_alone_without_any() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    gist, table = Gist(schema(8, 8, 3)), pa.table({"x": column_of(images), "label": ["a", "b", "a", "b"]})
    found = gist(table)
    assert found.column_names == ["label", *gist.names] == gist.schema.names and gist.schema.target == "label"
    assert gist(found) is found
    plain = Schema(columns=[Column(name="label", kind="categorical", dtype="string")])
    assert Gist(plain).schema == plain and Gist(plain)(table) is table
