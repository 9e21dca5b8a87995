"""One encoded image and its pixels: what may come in, and how each kind of image becomes 8 bits of grey or colour.

Pixels are the bytes of an array (height, width, channels) in C order, with one channel (grey) or three (red, green, blue).
Images come from anywhere, so a few decoders are admitted and no more pixels or bytes than memory bears. Pillow is imported
where an image is met: tables need none.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from cluster.machine import usable_cores

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
Shape = tuple[int, int, int]  # height, width, channels
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM")
MOST_PIXELS = 1 << 26  # of one image: 192 MiB in colour, and below the size from which Pillow warns of bombs
MOST_BYTES = 1 << 26  # of one encoded image
LARGE = 1 << 13  # encoded bytes from which a thread decodes for longer than it waits for Python's lock
WHAT = {
    "animated": "are animated, of which the first frame was taken",
    "palette": "were converted from a palette",
    "CMYK": "were converted from CMYK",
    "16 bits": "were scaled from 16 bits a channel to 8",
    "transparent": "are transparent in places, and were laid over white",
    "turned": "were turned upright, as their EXIF orientation says",
}
"""What may be done to an image, by its mark, as notes say it of several."""


class UnreadableError(ValueError):
    """An image that cannot be used; the message is a predicate: ``is empty``."""


@dataclass(frozen=True)
class Seen:
    """An image as it came: its size when upright, whether any pixel has a colour, and its marks (keys of ``WHAT``)."""

    height: int
    width: int
    colour: bool
    marks: tuple[str, ...]


def look(data: bytes | None) -> Seen:
    """What an encoded image is, from decoding all of it; UnreadableError where that fails."""
    image, marks = _upright(data)
    return Seen(image.height, image.width, image.mode == "RGB" and _has_colour(np.asarray(image)), tuple(marks))


def pixels(data: bytes | None, shape: Shape) -> bytes | None:
    """The pixels of an encoded image in ``shape``: its middle in that aspect ratio, resized where it has another size.

    Colours become luminance where ``shape`` has one channel. None for an image that cannot be read.
    """
    from PIL import Image

    height, width, channels = shape
    try:
        image, _ = _upright(data, near=(2 * width, 2 * height))
    except UnreadableError:
        return None
    if image.mode != (mode := "L" if channels == 1 else "RGB"):
        image = image.convert(mode)
    if image.size != (width, height):
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
        image = image.resize((width, height), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    return image.tobytes()


def png(values: np.ndarray) -> bytes:
    """``values`` (height, width, channels) uint8 as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).save(file, "PNG")
    return file.getvalue()


def pixel_array(images: pa.Array, shape: Shape) -> pa.FixedSizeBinaryArray:
    """The pixels of encoded images, null for those that cannot be read."""
    found = each(lambda data: pixels(data, shape), images)
    gone = np.array([one is None for one in found], bool)
    blank = bytes(math.prod(shape)) if gone.any() else b""
    values = pa.py_buffer(b"".join(blank if one is None else one for one in found))
    valid = pa.py_buffer(np.packbits(~gone, bitorder="little")) if gone.any() else None
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(math.prod(shape)), len(found), [valid, values])


def array_of(column: pa.FixedSizeBinaryArray, shape: Shape) -> np.ndarray:
    """(n, height, width, channels) uint8, read-only: the images of a column of pixels without nulls."""
    size = math.prod(shape)
    flat = np.frombuffer(column.buffers()[1], np.uint8, len(column) * size, column.offset * size)
    return flat.reshape(len(column), *shape)


def each(work: Callable[[bytes | None], T], images: pa.Array) -> list[T]:
    """``work`` of every encoded image, side by side where they are large: Pillow lets go of Python's lock."""
    values = images.to_pylist()
    if images.nbytes < LARGE * len(values):
        return [work(data) for data in values]
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(work, values))


def _upright(data: bytes | None, near: tuple[int, int] | None = None) -> tuple[Image.Image, list[str]]:
    """An encoded image in mode L or RGB, and its marks. A JPEG may be decoded at a smaller scale, of at least the
    (width, height) ``near``: many times faster for photographs that become small."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise UnreadableError("is missing" if data is None else "is empty")
    if len(data) > MOST_BYTES:
        raise UnreadableError(f"has more than {MOST_BYTES >> 20} MiB")
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
        image: Image.Image = file
        if image.width * image.height > MOST_PIXELS:
            raise UnreadableError(f"has {image.width} × {image.height} pixels, more than {MOST_PIXELS:,}")
        marks = ["animated"] if image.format != "MPO" and getattr(image, "is_animated", False) else []
        # Of colour images, Pillow reads the upper 8 bits alone.
        if image.mode.startswith("I") or any(";16" in str(tile.args) for tile in file.tile):
            marks.append("16 bits")
        if near is not None:
            image.draft(None, near)
        image.load()
        if "exif" in image.info and image.getexif().get(0x0112, 1) != 1:
            image = ImageOps.exif_transpose(image)
            marks.append("turned")
        return _eight_bits(image, marks), marks
    except UnidentifiedImageError:
        raise UnreadableError("is no PNG, JPEG or WebP image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"has more than {MOST_PIXELS:,} pixels") from None
    except UnreadableError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as e:  # as Pillow's decoders raise
        reason = str(e).strip().split("\n")[0].rstrip(".") or type(e).__name__
        raise UnreadableError(f"is damaged: {reason}") from e


def _eight_bits(image: Image.Image, marks: list[str]) -> Image.Image:
    """The image in mode L or RGB; adds to its marks."""
    from PIL import Image

    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("P", "PA"):
        marks.append("palette")
    if image.mode == "CMYK":
        marks.append("CMYK")
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        if whole.getchannel("A").getextrema() != (255, 255):
            marks.append("transparent")
            whole = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
        return whole.convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _has_colour(values: np.ndarray) -> bool:
    """Whether red, green and blue differ anywhere, which a few pixels tell of most images."""
    some = values[::16, ::16]
    return bool((some[..., :1] != some[..., 1:]).any()) or bool((values[..., :1] != values[..., 1:]).any())
