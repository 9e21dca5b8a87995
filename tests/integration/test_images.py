"""Images from a folder to a certified release, through the same job as tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open
from sklearn.datasets import load_digits

import artesian
from synth import release as releases
from synth.recipe import Recipe
from synth.training import run

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]
SMALL = {"family": "gan", "image.gan.width": 16, "training.steps": 30, "training.batch": 32, "training.workers": 2}


def test_a_gan_learns_a_folder_of_images_and_draws_what_is_asked_for(tmp_path: Path) -> None:
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:400], digits.target[:400], strict=True)):
        folder = tmp_path / "digits" / f"class {label % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * (255 / 16)).astype("uint8")).save(folder / f"{number:04}.png")
    (folder / "broken.png").write_bytes(b"no image")  # one in 401
    trained = run.train(str(tmp_path / "digits"), Recipe.read(None, SMALL), str(tmp_path / "release"))
    assert releases.verify(trained.location).whole
    assert any("broken.png" in note for note in trained.notes)
    with safe_open(f"{trained.location}/weights.safetensors", "pt") as weights:
        assert {name.partition(".")[0] for name in weights.keys()} == {"generator"}  # noqa: SIM118
    model = artesian.load(trained.location)
    assert {"coverage", "frechet_distance"} <= set(model.certificate.figures)
    assert "During training" in Path(trained.location, "report.html").read_text()
    drawn = model.table(40, seed=1, where=["label='class 2'"])
    assert set(drawn["label"].to_pylist()) == {"class 2"} and len(set(map(str, drawn["image"].to_pylist()))) == 40
    assert drawn.equals(artesian.load(trained.location).table(40, seed=1, where=["label='class 2'"]))
