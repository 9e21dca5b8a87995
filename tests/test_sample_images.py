"""Images on their way from a release to files and data frames, and back into a source."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import artesian
from synth.data.codec import Fit
from synth.data.conform import conform
from synth.data.infer import infer
from synth.data.source import open_source
from synth.generators.base import Draw, Generator
from synth.generators.given import Given
from synth.generators.layout import Encoded
from synth.provenance import lineage
from synth.sampling import Sampler
from tests.command import run


class Confetti(Generator):
    """Draws images 3 × 2 in colour of two classes, every pixel by chance."""

    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        return Encoded((draw.uniform(rows, 1) * 2).long(), (draw.uniform(rows, 18) * 256).byte())


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Sampler:
    """What is drawn from any release; and what loads one is not asked."""
    x = np.random.default_rng(0).integers(0, 256, (30, 3, 2, 3), dtype=np.uint8)
    source = open_source({"image": x, "label": ["cat", "dog"] * 15})
    schema = infer(source)
    fit = Fit(schema)
    for batch in source.batches():
        fit.update(conform(batch, schema))
    sampler = Sampler(Confetti(), fit.finish(ordered_up_to=256, atom_share=0.0025, bins=32))
    manifest = SimpleNamespace(id="ab" * 32, name="confetti", generation_depth=1, real_fraction=0.5)
    release = SimpleNamespace(manifest=manifest, schema=schema)
    monkeypatch.setattr("synth.release.load", lambda location: SimpleNamespace(location=location, **vars(release)))
    monkeypatch.setattr(Sampler, "from_release", lambda release, mark=None: sampler)
    return sampler


def test_images_are_drawn_as_files_and_read_back(
    images: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = tmp_path / "t.parquet", tmp_path / "drawn"
    assert run(["sample", "release", "-n", "1030", "--seed", "5", "--out", str(table)], monkeypatch) == 0
    options = ["--seed", "5", "--format", "png", "--out", f"{folder}/"]
    assert run(["sample", "release", "-n", "64", *options], monkeypatch) == 0
    assert "64 images are in" in capsys.readouterr().err
    drawn = images.table(1030, seed=5)
    [batch, *_] = open_source(table).batches()
    assert conform(batch, images.schema).to_pylist() == drawn.to_pylist()[: batch.num_rows]
    files = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    assert [path.parent.name for path in files] == drawn["label"].to_pylist()[:64]
    source = open_source(folder)
    assert [claim.depth for one in (source, open_source(table)) for claim in lineage.claims(one)] == [2, 2]
    for some in (folder / "cat", folder / "*" / "*.png", folder / "dog" / "*.png"):
        assert [claim.depth for claim in lineage.claims(open_source(str(some)))] == [2]
    (tmp_path / "all" / "real").mkdir(parents=True)
    shutil.copy(files[0], tmp_path / "all" / "real" / "a.png")
    for name in ("drawn", "drawn.origin.json"):
        shutil.move(tmp_path / name, tmp_path / "all" / name)
    assert {claim.depth for claim in lineage.claims(open_source(tmp_path / "all"))} == {0, 2}
    for name in ("drawn", "drawn.origin.json"):
        shutil.move(tmp_path / "all" / name, tmp_path / name)
    found = [row for part in source.batches() for row in conform(part, images.schema).to_pylist()]
    places = [Path(source.place(row)) for row in range(64)]
    assert [found[places.index(path)] for path in files] == drawn.to_pylist()[:64]
    assert run(["sample", "release", "-n", "64", "--overwrite", *options], monkeypatch) == 2
    assert f"{folder}/: exists, and a folder of images is not replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "t.csv"], "--format csv: images are not written as text; write parquet"),
        (["--out", "-", "--format", "ndjson"], "--format ndjson: images are not written as text"),
        (["--out", "-", "--format", "png"], "--format png: draws here, into a folder"),
        (["--out", "x/", "--format", "png", "--address", "h:1"], "for a cluster or standard output write parquet"),
    ],
)
def test_ways_in_which_images_are_not_written(
    options: list[str],
    message: str,
    images: Sampler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["sample", "release", "-n", "5", *options], monkeypatch) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_images_in_a_data_frame_are_arrays_that_can_be_learnt_from(images: Sampler) -> None:
    model = artesian.load("release")
    frame = model.sample(50, seed=3)
    assert np.stack(frame["image"]).shape == (50, 3, 2, 3) and frame["image"][0].dtype == np.uint8
    source = open_source(frame)
    assert infer(source) == images.schema
    [batch] = source.batches()
    assert pa.Table.from_batches([conform(batch, images.schema)]) == model.table(50, seed=3)
