"""Images a second that one core looks at (schema) and decodes (split and encode), and what part of it is Pillow's.

python benchmarks/image_decoding.py
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from published_protocol import circumstances

from synth.data import images
from synth.data.codec import Fit
from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.source import open_source
from synth.data.split import Split
from synth.evaluation.copies import row_keys

RESULTS = Path(__file__).parent / "results" / "image_decoding.jsonl"


def digits(count: int) -> Iterable[Image.Image]:
    """28 × 28 in grey: a bright blot in the dark, which a PNG file holds as well as a digit."""
    draw, (y, x) = np.random.default_rng(0), np.mgrid[:28, :28]
    for centre, width in zip(draw.uniform(8, 20, (count, 2)), draw.uniform(8, 30, count), strict=True):
        values = 300 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / width) + draw.normal(0, 9, (28, 28))
        yield Image.fromarray(np.where(values > 40, values, 0).clip(0, 255).astype(np.uint8))


def photographs(count: int) -> Iterable[Image.Image]:
    """256 × 256 in colour: smooth, with the noise of a camera."""
    draw = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
            (256, 256), Image.Resampling.BICUBIC
        )
        values = np.asarray(coarse) + draw.normal(0, 6, (256, 256, 3))
        yield Image.fromarray(values.clip(0, 255).astype(np.uint8))


def pillow(files: list[bytes]) -> None:
    for data in files:
        Image.open(io.BytesIO(data), formats=images.FORMATS).load()


def rate(work: Callable[[], Any], count: int) -> int:
    """Images a second of the processor's time, in the best of three goes."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return round(count / min(spent))


def measure(name: str, drawn: Iterable[Image.Image], ending: str, **options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch, mock.patch.object(images, "usable_cores", return_value=1):
        for index, image in enumerate(drawn):
            folder = Path(scratch, str(index % 10))
            folder.mkdir(exist_ok=True)
            image.save(folder / f"{index:05}{ending}", **options)
        source = open_source(scratch)
        batches, count = list(source.batches()), source.rows()
        files = [data for batch in batches for data in batch.column("image").to_pylist()]
        schema = infer(source)
        rows = [conform(batch, schema) for batch in batches]
        fit = Fit(schema)
        for row in rows:
            fit.update(row)
        codec = fit.finish(ordered_up_to=256, atom_share=0.0025, bins=32)
        return {
            "images": name, "count": count, "mean_bytes": sum(map(len, files)) // count,
            "pillow_alone_per_s": rate(lambda: pillow(files), count),
            "read_per_s": rate(lambda: list(source.batches()), count),
            "look_per_s": rate(lambda: infer(source), count),
            "decode_per_s": rate(lambda: [conform(batch, schema) for batch in batches], count),
            "split_per_s": rate(lambda: [Split().assign(row) for row in rows], count),
            "keys_per_s": rate(lambda: [row_keys(schema, row) for row in rows], count),
            "encode_per_s": rate(lambda: [codec.encode(row) for row in rows], count),
        }  # fmt: skip


def main() -> None:
    for found in (
        measure("28 × 28 PNG", digits(5000), ".png"),
        measure("256 × 256 JPEG", photographs(400), ".jpg", quality=90),
    ):
        row = found | circumstances()
        with RESULTS.open("a") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
