"""NumPy arrays and objects in data frames as images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from synth.data.images import array_of, pixel_array
from synth.data.source import Source, open_source
from synth.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8)
Y = np.arange(9) % 2


def pixels_of(source: Source, shape: Any) -> np.ndarray:
    return array_of(pixel_array(source.table()["image"].combine_chunks(), shape), shape)


@settings(max_examples=40)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))
)
def test_arrays_keep_every_pixel(x: np.ndarray) -> None:
    assert np.array_equal(pixels_of(open_source({"image": x}), x.shape[1:]), x)
    assert np.array_equal(pixels_of(open_source(x[::-1]), x.shape[1:]), x[::-1])
    if x.shape[-1] == 1:
        assert np.array_equal(pixels_of(open_source(x[..., 0]), x.shape[1:]), x)


def in_memory(folder: Path) -> object:
    return {"image": X, "label": Y}


def in_a_frame(folder: Path) -> object:
    return pd.DataFrame({"image": list(X), "label": Y})


def pillow_in_a_frame(folder: Path) -> object:
    return pd.DataFrame({"image": [Image.fromarray(x) for x in X], "label": Y})


def in_a_file(folder: Path) -> object:
    np.savez_compressed(folder / "a.npz", image=X, label=Y[:, None])
    return folder / "a.npz"


def in_files(folder: Path) -> object:
    for part in range(3):
        np.savez(folder / f"{part}.npz", image=X[part * 3 : part * 3 + 3], label=Y[part * 3 : part * 3 + 3])
    return folder


@pytest.mark.parametrize("given_as", [in_memory, in_a_frame, pillow_in_a_frame, in_a_file, in_files])
def test_images_and_classes_however_they_are_given(given_as: Callable[[Path], object], tmp_path: Path) -> None:
    source = open_source(given_as(tmp_path), batch_rows=4)
    assert np.array_equal(pixels_of(source, (5, 4, 3)), X)
    assert source.table()["label"].to_pylist() == Y.tolist()
    assert max(b.num_rows for b in source.batches()) <= 4 and source.rows() == 9
    assert source.only(["label"]).table().to_pydict() == {"label": Y.tolist()}
    assert source.fingerprint() == open_source(given_as(tmp_path), batch_rows=4).fingerprint()


def test_images_alone_in_a_file_here_and_on_storage(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert np.array_equal(pixels_of(open_source(tmp_path / "x.npy"), (5, 4, 3)), X)
    with fsspec.open("memory://arrays/x.npy", "wb") as file:
        np.save(file, X)
    assert np.array_equal(pixels_of(open_source("memory://arrays/x.npy"), (5, 4, 3)), X)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": X / 255}, r"image: images of float64. Give uint8, such as \(x \* 255\)"),
        ({"image": X.transpose(0, 3, 1, 2)}, r"images of shape \(3, 5, 4\)\. .* puts the channels last"),
        ({"image": X, "label": Y[:5]}, "differ in length: image has 9, label has 5"),
        ({"image": X, "label": np.eye(9)}, r"label: has shape \(9, 9\)\. For classes give one number an image"),
        ({"image": X[:, :, :0]}, r"images of shape \(5, 0, 3\)"),
        ({"image": X[:0]}, "no rows"),
        ({"image": X[..., 0, 0]}, r"a table cannot be a dict|holds no images"),
    ],
)
def test_arrays_that_are_no_images_are_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        open_source(arrays)
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        open_source(tmp_path / "a.npz")


def test_data_frames_of_images_may_have_gaps_but_nothing_else() -> None:
    for images in (list(X), [Image.fromarray(x) for x in X]):
        gaps = pd.DataFrame({"image": [None, float("nan"), *images[2:]], "label": Y})
        found = open_source(gaps).table()["image"]
        assert found.null_count == 2 and found[2:].equals(
            open_source(pd.DataFrame({"image": images})).table()["image"][2:]
        )
        with pytest.raises(UserError, match=r"row 3: column 'image' should hold an image, .* here stands 'x'"):
            open_source(pd.DataFrame({"image": [*images[:2], "x"]}))
    deep = [Image.fromarray(X[0]), Image.fromarray(X[1]).convert("CMYK")]
    with pytest.raises(
        UserError, match=r"row 2: column 'image': cannot write mode CMYK as PNG.*image\.convert\('RGB'\)"
    ):
        open_source(pd.DataFrame({"image": deep}))
    with pytest.raises(UserError, match=r"row 1: column 'image': images of float64"):
        open_source(pd.DataFrame({"image": list(X / 255)}))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"x\.npy: is no whole NumPy file of numbers"):
        open_source(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes(b"\x80\x04N.")
    with pytest.raises(UserError, match=r"x\.npy: is no whole NumPy file"):
        open_source(tmp_path / "x.npy")


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", image=X)
    whole = (tmp_path / "x.npz").read_bytes()
    for damaged in (whole[:300], whole[:100] + bytes(40) + whole[140:], whole[:2]):
        (tmp_path / "x.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"x\.npz: (is no whole NumPy file|cannot be read)"):
            open_source(tmp_path / "x.npz")
    with pytest.raises(UserError, match="no such file"):
        open_source(tmp_path / "y.npz")
    with pytest.raises(UserError, match=r"label: mixes types"):
        open_source({"image": X, "label": np.array([1, "a", {}] * 3, object)})


def test_a_dict_of_plain_lists_is_no_table() -> None:
    with pytest.raises(UserError, match=r"a table cannot be a dict.*DataFrame"):
        open_source({"x": [1, 2, 3]})  # type: ignore[dict-item]
