from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from synth.data.schema import Column, Schema
from synth.errors import UserError
from synth.evaluation.certificate import Certificate, evaluate
from synth.evaluation.copies import Keys, row_keys
from synth.evaluation.figures import IMAGE_CATALOGUE
from synth.evaluation.image_rows import most_measured

Digits = tuple[NDArray[np.uint8], NDArray[np.intp]]
Pictures = Callable[..., pa.Table]
TRAIN, FRESH = slice(0, 400), slice(400, 600)


@pytest.fixture(scope="module")
def real(digits: Digits, pictures: Pictures) -> pa.Table:
    return pictures(digits[0][TRAIN], digits[1][TRAIN])


@pytest.fixture(scope="module")
def fresh(digits: Digits, pictures: Pictures) -> pa.Table:
    return pictures(digits[0][FRESH], digits[1][FRESH])


@pytest.fixture(scope="module")
def good(real: pa.Table, fresh: pa.Table, digits: Digits, pictures: Pictures, picture_schema: Schema) -> Certificate:
    return evaluate(real, pictures(digits[0][600:800], digits[1][600:800]), fresh, picture_schema)


@pytest.fixture(scope="module")
def collapsed(
    real: pa.Table, fresh: pa.Table, digits: Digits, pictures: Pictures, picture_schema: Schema
) -> Certificate:
    """Of six classes only, half of them nearly copied from train, some exactly, and some mislabelled."""
    images, classes = digits
    few = np.flatnonzero(classes < 6)
    copied, rest = few[few < 400][:130], few[few >= 600][:70]
    shown = np.concatenate([images[copied], images[rest]])
    jitter = np.random.default_rng(0).integers(-3, 4, (100, 8, 8, 1))
    shown[30:130] = np.clip(shown[30:130].astype(int) + jitter, 0, 255)
    labels = np.concatenate([classes[copied], classes[rest]])
    labels[-40:] = (labels[-40:] + 1) % 6
    return evaluate(real, pictures(shown, labels), fresh, picture_schema)


def test_real_images_are_as_good_as_real_in_every_figure(good: Certificate) -> None:
    assert list(good.figures) == list(IMAGE_CATALOGUE)
    done, total = good.tally()
    assert total == len(IMAGE_CATALOGUE) - 1  # tstr_accuracy is in the utility
    assert done >= total - 2
    assert good.verdict()[0] == f"{done} of {total} figures are where fresh real images are, or better."
    for f in good.figures.values():
        assert f.low <= f.value <= f.high
        assert f.baseline_low <= f.baseline <= f.baseline_high
    assert good.figures["c2st_network"].value == pytest.approx(0.5, abs=0.12)
    assert good.figures["utility"].value > 0.9
    assert good.figures["exact_copies"].value == 0
    assert good.figures["dcr_share"].value == pytest.approx(0.5, abs=0.12)


def test_a_certificate_of_images_survives_json_and_says_what_it_saw(good: Certificate) -> None:
    text = good.model_dump_json()
    assert "NaN" not in text
    assert Certificate.model_validate_json(text) == good
    assert good.rows == {"train": 400, "synthetic": 200, "test": 200}
    assert list(good.columns) == list(good.reference) == ["digit"]
    detail = good.images
    assert detail is not None
    assert detail.shape == (8, 8, 1)
    assert len(detail.classes) == 10
    assert sum(c.real for c in detail.classes) == pytest.approx(1)
    assert sum(c.synthetic for c in detail.classes) == pytest.approx(1)
    assert any("200 training images are what it compares with" in note for note in good.notes)


def test_the_neighbours_and_panels_name_rows_of_the_tables(good: Certificate, real: pa.Table, digits: Digits) -> None:
    detail, (images, classes) = good.images, digits
    assert detail is not None
    apart = (images[600:800, None].reshape(200, 1, 64) / 255.0 - images[TRAIN].reshape(400, 64) / 255.0) ** 2
    distance = np.sqrt(apart.mean(axis=2))
    assert len(detail.neighbours) == 16
    assert len({n.row for n in detail.neighbours}) == 16
    for n in detail.neighbours:
        assert n.distance == pytest.approx(distance[n.row].min(), abs=1e-6)
        assert distance[n.row, n.train] == pytest.approx(n.distance, abs=1e-6)
    for c in detail.classes:
        assert (classes[c.real_rows] == int(c.label)).all()
        assert (classes[600:800][c.synthetic_rows] == int(c.label)).all()
        assert c.real_rows


def test_lost_classes_copies_and_wrong_labels_are_found(good: Certificate, collapsed: Certificate) -> None:
    short = set(collapsed.short_of_real)
    assert {"coverage", "modes_covered", "modes_divergence", "utility", "label_agreement", "frechet_distance"} <= short
    assert {"exact_copies", "near_copies"} <= short
    figures = collapsed.figures
    assert figures["exact_copies"].value == pytest.approx(30 / 200)
    assert figures["near_copies"].value == pytest.approx(130 / 200, abs=0.03)
    assert good.figures["near_copies"].value < 0.02
    assert figures["dcr_share"].value > good.figures["dcr_share"].value + 0.05
    assert figures["modes_covered"].value <= 0.8
    assert figures["coverage"].value < good.figures["coverage"].value - 0.2
    assert figures["recall"].value < good.figures["recall"].value - 0.1
    assert figures["label_agreement"].value == pytest.approx(0.8, abs=0.05)
    assert collapsed.images is not None
    lost = [c for c in collapsed.images.classes if int(c.label) >= 6]
    assert all(c.synthetic < 0.05 and not c.synthetic_rows and c.agreement is None for c in lost)
    assert sorted(n.distance for n in collapsed.images.neighbours)[0] == 0


def test_noise_is_seen_in_the_pixels_and_without_labels_too(
    real: pa.Table, fresh: pa.Table, digits: Digits, pictures: Pictures, picture_schema: Schema
) -> None:
    noise = np.random.default_rng(0).normal(0, 45, (200, 8, 8, 1))
    noisy = pictures(np.clip(digits[0][600:800] + noise, 0, 255).astype(np.uint8))
    plain = Schema(columns=[picture_schema["image"]])
    said: list[float] = []
    found = evaluate(real, noisy, fresh, plain, seed=3, progress=lambda what, done: said.append(done))
    assert not found.figures["c2st_network"].as_good_as_real
    assert found.figures["c2st_network"].value > 0.8
    assert found.figures["precision"].value < found.figures["precision"].baseline - 0.05
    assert not {"utility", "label_agreement", "modes_covered"} & set(found.figures)
    assert any("no column names a class" in note for note in found.notes)
    assert found.columns == {} and found.images is not None and found.images.classes == []
    assert said == sorted(said) and said[-1] == 1


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_given_network_is_used_and_a_sample_may_lack_labels(
    real: pa.Table, fresh: pa.Table, digits: Digits, pictures: Pictures, picture_schema: Schema, tmp_path: Path
) -> None:
    torch.jit.script(torch.nn.Flatten()).save(str(tmp_path / "flat.pt"))
    few, sample = real.slice(0, 120), pictures(digits[0][600:660])
    found, again = (
        evaluate(few, sample, fresh.slice(0, 60), picture_schema, network=str(tmp_path / "flat.pt"), seed=3)
        for _ in range(2)
    )
    assert found.model_dump_json() == again.model_dump_json()
    assert found.images is not None
    assert found.images.features == "64 features of the network in flat.pt"
    assert "modes_covered" in found.figures
    assert not {"utility", "label_agreement"} & set(found.figures)
    assert any("the synthetic table has no 'digit'" in note for note in found.notes)
    assert all(c.agreement is None for c in found.images.classes)
    assert sum(len(c.synthetic_rows) for c in found.images.classes) > 0  # as the classifier sees them
    assert any("of few images" in note for note in found.notes)


def test_few_images_are_compared_with_train_alone_and_the_keys_of_all_train_are_looked_up(
    real: pa.Table, digits: Digits, pictures: Pictures, picture_schema: Schema
) -> None:
    images, classes = digits
    sample = pictures(images[[0, 700, 701, 702, 703, 704]], classes[:6])
    keys = Keys.of(row_keys(picture_schema, pictures(images[700:703], classes[10:13])))
    found = evaluate(real, sample, pictures(images[400:410], classes[400:410]), picture_schema, train_keys=keys)
    assert set(found.figures) == {"dcr_share", "nndr", "near_copies", "exact_copies"}
    assert found.figures["exact_copies"].value == pytest.approx(3 / 6)  # whatever their labels
    assert any("too few images" in note for note in found.notes)
    assert found.rows["train"] == 3
    one = evaluate(sample, sample.slice(0, 1), sample.slice(1, 1), picture_schema)
    assert set(one.figures) == {"near_copies", "exact_copies"}


def test_bad_tables_are_refused_by_name(
    real: pa.Table, fresh: pa.Table, picture_schema: Schema, digits: Digits, pictures: Pictures
) -> None:
    with pytest.raises(UserError, match="the synthetic table has no rows"):
        evaluate(real, real.slice(0, 0), fresh, picture_schema)
    with pytest.raises(UserError, match="the test table lacks the column 'image'"):
        evaluate(real, real, fresh.drop_columns(["image"]), picture_schema)
    other = pictures(digits[0][:30, :4], digits[1][:30])
    with pytest.raises(UserError, match=r"the synthetic table: column 'image': the images are fixed_size_binary\[32\]"):
        evaluate(real, other, fresh, picture_schema)
    plain = Schema(columns=[Column(name="digit", kind="categorical", dtype="string")])
    with pytest.raises(UserError, match=r"net\.pt: there are no images"):
        evaluate(real, real, fresh, plain, network="net.pt")


def test_the_report_shows_images_and_fetches_nothing(
    collapsed: Certificate, real: pa.Table, digits: Digits, pictures: Pictures, picture_schema: Schema
) -> None:
    from synth.evaluation.report import render

    sample = pictures(digits[0][:200], digits[1][:200])
    html = render(collapsed, title="Digits", real=real, synthetic=sample, schema=picture_schema)
    assert not re.search(r"https?:|url\(|@import|<script|<link", html)
    sources = re.findall(r'<img src="([^"]*)" alt="([^"]*)"', html)
    assert len(sources) == html.count("<img")
    assert len(sources) > 2 * 48 + 2 * 16
    assert all(source.startswith("data:image/png;base64,") for source, _ in sources)
    assert all(alt for source, alt in sources[96:128])
    for text in ("Samples", "Nearest training images", "Classes", "Fréchet distance", "○ none", "real test images",
                 "images of 8 × 8 × 1", "seen as labelled"):  # fmt: skip
        assert text in html
    assert "columns ·" not in html


def test_a_report_of_large_noisy_images_stays_small(pictures: Pictures) -> None:
    from synth.evaluation.details import ClassDetail, ImageDetail, Neighbour
    from synth.evaluation.report import render

    shape = (96, 80, 3)
    column = Column(name="image", kind="image", dtype=f"fixed_size_binary[{96 * 80 * 3}]", shape=shape)
    table = pictures(np.random.default_rng(0).integers(0, 256, (60, *shape), np.uint8))
    rows = list(range(10))
    classes = [
        ClassDetail(label=f"<{k}>", real=0, synthetic=0, baseline=0, real_rows=rows, synthetic_rows=rows)
        for k in range(12)
    ]
    detail = ImageDetail(
        shape=shape, features=None, classes=[*classes, ClassDetail(label="rare", real=0, synthetic=0, baseline=0)],
        neighbours=[Neighbour(row=i, train=i, distance=0.1) for i in range(16)],
    )  # fmt: skip
    certificate = Certificate(figures={}, columns={}, trends=None, distances=None, reference={}, notes=[], rows={
        "train": 60, "synthetic": 60, "test": 60}, seed=0, images=detail)  # fmt: skip
    html = render(certificate, title="noise", real=table, synthetic=table, schema=Schema(columns=[column]))
    assert 1e6 < len(html) < 3e6
    assert "The 12 commonest of 13 classes are pictured." in html
    assert "reduced to 32 to 64 pixels" in html
    assert "<0>" not in html and "&lt;0&gt;" in html


@pytest.mark.parametrize(("side", "most"), [(8, 10_000), (256, 2730), (1024, 170)])
def test_of_large_images_fewer_are_drawn_and_measured(side: int, most: int) -> None:
    """As many as 512 MiB hold: 170 of 1024 × 1024 pixels in colour."""
    size = side * side * 3
    image = Column(name="image", kind="image", dtype=f"fixed_size_binary[{size}]", shape=(side, side, 3))
    assert most_measured(Schema(columns=[image])) == most and most * size <= 512 << 20
