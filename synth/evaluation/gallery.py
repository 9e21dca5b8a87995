"""The report's pictures of images: samples, samples beside what they are nearest to, and a panel for each class."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from synth.data.image_columns import pixels
from synth.data.schema import Schema
from synth.evaluation import charts
from synth.evaluation.certificate import Certificate
from synth.evaluation.details import ImageDetail
from synth.evaluation.image_rows import image_shape
from synth.evaluation.page import grid, key, section, table

GRID = 48
GRID_SIDE, PAIR_SIDE, PANEL_SIDE = 48, 64, 32
"""Pixels a side to which larger images are reduced: the more of them there are, the fewer."""
SHOWN_AT = 64
"""Pixels a side up to which the browser blows smaller ones up, each pixel a square."""
CHARTED = 40
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Gallery:
    """Images of the tables that a certificate measured, as HTML: they are in the page itself, which stays below 3 MB
    even where they are noise."""

    def __init__(self, schema: Schema, real: pa.Table, synthetic: pa.Table) -> None:
        self.name, self.shape = schema.image, image_shape(schema)
        self.tables = {"real": real, "synthetic": synthetic}

    def images(self, which: str, rows: list[int]) -> NDArray[np.uint8]:
        return pixels(self.tables[which].column(self.name).take(pa.array(rows, pa.int64())), self.shape)

    def tiles(self, which: str, rows: Iterable[int], label: str, side: int) -> str:
        """A strip of images under one text alternative; ``which`` is real or synthetic."""
        images = self.images(which, list(rows))
        inside = "".join(_picture(image, "", side) for image in images)
        return f'<div class="tiles" role="img" aria-label="{escape(label)}">{inside}</div>'

    def picture(self, which: str, row: int, label: str) -> str:
        return _picture(self.images(which, [row])[0], label, PAIR_SIDE)


def _picture(pixels: NDArray[np.uint8], label: str, side: int) -> str:
    """An <img> of (height, width, channels); of channels that are no colours their mean is shown."""
    channels = pixels.shape[2]
    if channels not in MODES:
        pixels = pixels.mean(axis=2, keepdims=True).astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((side, side), Image.Resampling.BOX)
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    larger = max(1, SHOWN_AT // max(picture.size))
    width, height = (larger * length for length in picture.size)
    source = base64.b64encode(content.getvalue()).decode()
    return (
        f'<img src="data:image/png;base64,{source}" alt="{escape(label)}" title="{escape(label)}" width="{width}" '
        f'height="{height}">'
    )


def image_sections(
    certificate: Certificate, detail: ImageDetail, real: pa.Table, synthetic: pa.Table, schema: Schema
) -> list[str]:
    gallery = Gallery(schema, real, synthetic)
    return [_samples(gallery, certificate), _neighbours(gallery, detail), _classes(gallery, detail)]


def _samples(gallery: Gallery, certificate: Certificate) -> str:
    rng = np.random.default_rng(certificate.seed)
    drawn = {which: rng.permutation(t.num_rows)[:GRID].tolist() for which, t in gallery.tables.items()}
    cards = [
        f'<div class="card"><div class="head"><h3>{which.capitalize()}</h3><span class="soft">{len(rows)} drawn at '
        f"random</span></div>{gallery.tiles(which, rows, f'{len(rows)} {which} images drawn at random', GRID_SIDE)}</div>"
        for which, rows in drawn.items()
    ]
    height, width, channels = gallery.shape
    lead = f"Nothing was picked by hand. Images of {height} × {width} pixels, {channels} channel{'s'[: channels > 1]}."
    if channels not in MODES:
        lead += " Shown is the mean of the channels."
    if max(height, width) > PANEL_SIDE:
        lead += f" On this page they are reduced to {PANEL_SIDE} to {PAIR_SIDE} pixels a side."
    return section("Samples", lead, grid(cards, "two"))


def _neighbours(gallery: Gallery, detail: ImageDetail) -> str:
    if not detail.neighbours:
        return ""
    pairs = [
        f'<figure class="pair">{gallery.picture("synthetic", n.row, f"synthetic image {n.row}")}'
        f"{gallery.picture('real', n.train, f'its nearest training image, {n.train}')}"
        f"<figcaption>{n.distance:.3f}</figcaption></figure>"
        for n in sorted(detail.neighbours, key=lambda n: n.distance)
    ]
    return section(
        "Nearest training images",
        "Each synthetic image (left) beside the training image whose pixels are nearest (right), and the root mean "
        "square of their differences: 0 is a copy, 1 is black against white. Half of them were drawn at random, half "
        "are the nearest of up to 5,000, and the nearest come first.",
        f'<div class="tiles">{"".join(pairs)}</div>',
    )


def _classes(gallery: Gallery, detail: ImageDetail) -> str:
    if not detail.classes:
        return ""
    charted = detail.classes[:CHARTED]
    shares = charts.categories(
        "classes", [c.label for c in charted], [c.real for c in charted], [c.synthetic for c in charted]
    )
    rows = []
    for c in detail.classes:
        if not c.real_rows:
            continue
        strips = [
            gallery.tiles(which, shown, f"{len(shown)} {which} images of class {c.label}", PANEL_SIDE)
            for which, shown in (("real", c.real_rows), ("synthetic", c.synthetic_rows))
        ]
        agrees = "" if c.agreement is None else f"<br><small>seen as labelled: {c.agreement:.1%}</small>"
        share = f"<small>{c.real:.1%} real, {c.synthetic:.1%} synthetic</small>{agrees}"
        empty = "" if c.synthetic_rows else '<span class="worse-text">○ none</span>'
        rows.append((f"{escape(charts.short(c.label, 40))}<br>{share}", strips[0], empty or strips[1]))
    lead = "Real and synthetic images of each class, and its shares of the images as a classifier sees them."
    if len(rows) < len(detail.classes):
        lead += f" The {len(rows)} commonest of {len(detail.classes):,} classes are pictured"
        lead += f", the {len(charted)} commonest charted." if len(charted) < len(detail.classes) else "."
    return section(
        "Classes",
        lead,
        table("Images of each class", ("Class", "Real", "Synthetic"), rows, kind="panels"),
        key(("real", "real training images"), ("synthetic", "synthetic images")),
        f'<div class="card narrow">{shares}</div>',
    )
