"""One image: what it becomes, and what is refused."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from synth.data import images
from synth.data.images import UnreadableError, array_of, look, pixel_array, pixels, png
from tests.data.images import colours, deep_colours, encoded, grey, png_of, turned


def values(data: bytes, *shape: int) -> np.ndarray:
    found = pixels(data, shape)  # type: ignore[arg-type]
    assert found is not None
    return np.frombuffer(found, np.uint8).reshape(shape)


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))
)
def test_pixels_survive_a_png_and_back(batch: np.ndarray) -> None:
    shape = batch.shape[1:]
    found = pixel_array(pa.array([png(image) for image in batch], pa.binary()), shape)  # type: ignore[arg-type]
    assert np.array_equal(array_of(found, shape), batch)  # type: ignore[arg-type]
    assert np.array_equal(array_of(found.slice(1), shape), batch[1:])  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "PPM"])
def test_grey_has_one_channel_or_three_equal_ones(format: str) -> None:
    data = encoded(grey(), format)
    assert not look(data).colour
    assert np.array_equal(values(data, 20, 30, 1)[..., 0], np.asarray(grey()))
    assert np.array_equal(values(data, 20, 30, 3), np.asarray(grey().convert("RGB")))
    assert not look(encoded(grey().convert("RGB"))).colour


def test_one_coloured_pixel_makes_a_colour_image() -> None:
    image = grey(40, 40).convert("RGB")
    image.putpixel((37, 21), (10, 11, 10))
    assert look(encoded(image)).colour


def test_16_bits_are_scaled_and_not_cut() -> None:
    deep = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    data = encoded(Image.fromarray(deep))
    assert look(data).marks == ("16 bits",)
    assert values(data, 1, 6, 1).ravel().tolist() == [0, 0, 1, 1, 128, 255]
    data = deep_colours(np.full((2, 2, 3), [65535, 32768, 0], np.uint16))
    assert look(data).marks == ("16 bits",) and values(data, 2, 2, 3)[0, 0].tolist() == [255, 128, 0]


def test_a_palette_cmyk_and_two_colours() -> None:
    palette = colours().quantize(16)
    assert look(encoded(palette)).marks == ("palette",)
    assert np.array_equal(values(encoded(palette), 20, 30, 3), np.asarray(palette.convert("RGB")))
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = look(encoded(cmyk, "JPEG"))
    assert found.marks == ("CMYK",) and found.colour
    red, green, blue = values(encoded(cmyk, "JPEG"), 16, 16, 3)[8, 8].astype(int)
    assert red > 230 and green < 25 and blue < 25
    bits = np.asarray(grey()) > 99
    assert np.array_equal(values(encoded(Image.fromarray(bits)), 20, 30, 1)[..., 0], bits * 255)


def test_what_is_transparent_lies_over_white() -> None:
    for image in (Image.new("RGBA", (3, 2), (0, 0, 0, 0)), Image.new("LA", (3, 2), (0, 0))):
        assert look(encoded(image)).marks == ("transparent",)
        assert (values(encoded(image), 2, 3, 3) == 255).all()
    palette = Image.new("P", (3, 2))
    assert look(encoded(palette, transparency=0)).marks == ("palette", "transparent")
    opaque = colours()
    opaque.putalpha(255)
    assert look(encoded(opaque)).marks == ()
    assert np.array_equal(values(encoded(opaque), 20, 30, 3), np.asarray(colours()))


@pytest.mark.parametrize(("orientation", "rotate"), [(3, 2), (6, 3), (8, 1)])
def test_images_are_turned_upright(orientation: int, rotate: int) -> None:
    upright = np.rot90(np.asarray(colours()), rotate)
    found = look(turned(colours(), orientation))
    assert found.marks == ("turned",) and (found.height, found.width) == upright.shape[:2]
    assert np.array_equal(values(turned(colours(), orientation), *upright.shape), upright)
    assert look(turned(colours(), 1)).marks == ()


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_of_what_moves_the_first_frame_is_taken(format: str) -> None:
    others = [Image.new("RGB", (8, 8), "black"), Image.new("RGB", (8, 8), "red")]
    data = encoded(Image.new("RGB", (8, 8), "white"), format, save_all=True, append_images=others)
    assert "animated" in look(data).marks and (values(data, 8, 8, 3) == 255).all()


def test_another_size_is_the_middle_resized() -> None:
    """Of a wide image with stripes, the middle square is left: a quarter black, a half white, a quarter black."""
    wide = np.zeros((40, 80), np.uint8)
    wide[:, 30:50] = 255
    found = values(png(wide[..., None]), 4, 4, 1)[..., 0]
    assert (found[:, 1:3] > 200).all() and (found[:, [0, 3]] < 55).all()
    assert (values(png(np.full((2, 3, 1), 7, np.uint8)), 8, 8, 1) == 7).all()
    photograph = encoded(Image.new("RGB", (900, 700), (90, 20, 200)), "JPEG", quality=95)
    assert np.abs(values(photograph, 16, 16, 3).astype(int) - [90, 20, 200]).max() <= 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "is missing"),
        (b"", "is empty"),
        (b"hello", "is no PNG"),
        (encoded(colours())[:900], "truncated"),
        (encoded(colours(), "JPEG")[:500], "Truncated"),
        (encoded(colours(), "WEBP")[:300], "is damaged"),
        (encoded(colours(), "TIFF"), "is no PNG"),
        (png_of(9000, 8000, 8, b""), "9000 × 8000 pixels"),
        (png_of(60000, 60000, 8, b""), "more than 67,108,864 pixels"),
    ],
)
def test_what_cannot_be_read_is_told(data: bytes | None, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        look(data)
    assert pixels(data, (4, 4, 1)) is None
    good = png(np.ones((4, 4, 1), np.uint8))
    found = pixel_array(pa.array([good, data, good], pa.binary()), (4, 4, 1))
    assert found.is_valid().to_pylist() == [True, False, True] and found[2].as_py() == bytes([1] * 16)


def test_a_large_file_is_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_BYTES", 100)
    with pytest.raises(UnreadableError, match="more than 0 MiB"):
        look(encoded(colours()))


SAMPLES = [
    encoded(colours(), "JPEG"), encoded(colours(), "WEBP"), encoded(colours().quantize(9), "GIF"), turned(colours(), 6),
    encoded(colours(), "BMP"), encoded(colours(), "PPM"), deep_colours(np.ones((4, 4, 3), np.uint16)),
]  # fmt: skip


@settings(max_examples=300)
@given(
    st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5),
    st.integers(1, 3000),
)  # fmt: skip
def test_whatever_is_wrong_with_a_file_is_one_error(data: bytes, flips: list[tuple[int, int]], end: int) -> None:
    damaged = bytearray(data[:end])
    for place, value in flips:
        damaged[place % len(damaged)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it found odd on the way
        try:
            seen = look(bytes(damaged))
        except UnreadableError:
            return
        found = pixels(bytes(damaged), (seen.height, seen.width, 3)) if seen.height * seen.width < 10**6 else None
    assert found is None or len(found) == seen.height * seen.width * 3


def test_large_images_are_decoded_side_by_side_and_in_order() -> None:
    large = [encoded(grey(100, 100, seed)) for seed in range(9)]
    assert min(map(len, large)) > images.LARGE
    found = array_of(pixel_array(pa.array(large, pa.binary()), (100, 100, 1)), (100, 100, 1))
    assert all(np.array_equal(found[seed, ..., 0], np.asarray(grey(100, 100, seed))) for seed in range(9))


def test_png_is_lossless_and_of_one_channel_where_it_can() -> None:
    assert Image.open(io.BytesIO(png(np.asarray(grey())[..., None]))).mode == "L"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(np.asarray(colours()))))), np.asarray(colours()))
