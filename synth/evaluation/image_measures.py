"""What is measured of images: of their features, of their pixels, of their classes, and how near they are to train."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from synth.evaluation import (
    diversity,
    fidelity,
    image_classes,
    image_distances,
    image_features,
    image_network,
    privacy,
)
from synth.evaluation.details import ClassDetail, Histogram, Neighbour
from synth.evaluation.figures import IMAGE_CATALOGUE, Figure, figure
from synth.evaluation.frame import Lens
from synth.evaluation.image_features import COMPONENTS, FEWEST, Features
from synth.evaluation.image_rows import MEASURED, Images
from synth.evaluation.intervals import NORMAL_95, Estimate, auc, multiplicities, share
from synth.evaluation.neighbours import closest, nearest

DETECTED = 5_000
"""Images of each table that trees and logistic regression see; with more they would take minutes."""
COMPARED_PIXELS = 1024
"""Values of an image between whose pixels distances are measured: larger ones are averaged down to about as many."""
SEARCHED = 5_000
"""Images whose nearest training images are looked for among all that are looked at."""
PANELS, PANEL, SHOWN = 12, 10, 8
"""For the report: classes that are pictured, images of each, and pairs drawn at random as well as of the nearest."""


@dataclass
class Findings:
    """What is filled in as it is measured."""

    figures: dict[str, Figure]
    notes: list[str]

    def add(self, name: str, value: Estimate, baseline: Estimate) -> None:
        self.figures[name] = figure(name, value, baseline, catalogue=IMAGE_CATALOGUE)


def basis_of(network: str | None, train: Images, fresh: Images, rng: np.random.Generator) -> Features:
    """The features to compare by: those of the ``network`` of a file, or learnt from the classes, or without enough of
    them from how images are turned."""
    height, width, channels = train.pixels.shape[1:]
    if network is not None:
        return image_features.given(network, (height, width, channels), len(train))
    if train.classes is None or fresh.classes is None:
        return image_features.learnt(train.pixels, None, (fresh.pixels, None), rng)
    known, held = train.labelled(), fresh.labelled()
    if min(len(known) // 2, len(held)) < FEWEST:
        return image_features.learnt(train.pixels, None, (fresh.pixels, None), rng)
    basis = image_features.learnt(known.pixels, known.classes, (held.pixels, held.classes), rng)
    return replace(basis, unseen=np.flatnonzero(np.isin(train.rows, known.rows[basis.unseen])))


def compare_features(
    found: Findings,
    basis: Features,
    train: Images,
    sample: Images,
    fresh: Images,
    rng: np.random.Generator,
) -> None:
    """Everything between clouds of features, all clouds of one size."""
    parts = [train.take(basis.unseen), sample, fresh]
    count = min(map(len, parts))
    x, *samples = (basis.of(part.draw(count, rng).pixels) for part in parts)
    found.notes.append(
        f"features were compared, and two-sample tests made, of {count:,} images of each table"
        + (f", those by trees and logistic regression of {DETECTED:,}" if count > DETECTED else "")
    )
    if count < 2 * x.shape[1]:
        found.notes.append(
            f"the Fréchet distance of {x.shape[1]:,} features is that of few images: judge it beside its baseline alone"
        )
    found.add("frechet_distance", *image_distances.frechet(x, samples, rng))
    found.add("kernel_distance", *(k.scaled(1000) for k in image_distances.kernel(x, samples, rng)))
    ours, theirs = diversity.manifolds(x, samples, rng)
    for name in ("precision", "recall", "density", "coverage"):
        found.add(name, getattr(ours, name), getattr(theirs, name))
    tests = []
    for y in samples:
        both = _leading(np.vstack([x[:DETECTED], y[:DETECTED]]))
        tests.append(fidelity.told_apart(both, np.zeros(both.shape[1], bool), both, [], rng))
    found.add("c2st_tree", tests[0].tree, tests[1].tree)
    found.add("c2st_logistic", tests[0].logistic, tests[1].logistic)


def _leading(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The principal components of many features; of both tables, as those of one would give it away."""
    if points.shape[1] <= COMPONENTS:
        return points
    centred = points - points.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, -COMPONENTS:]
    leading: NDArray[np.float64] = centred @ axes
    return leading


def tell_apart(found: Findings, train: Images, sample: Images, fresh: Images, rng: np.random.Generator) -> None:
    """The two-sample test of pixels, which sees what features have no word for (Lopez-Paz and Oquab 2017)."""
    count, seed = min(len(train), len(sample), len(fresh)), int(rng.integers(2**31))
    drawn = train.draw(count, rng).pixels
    found.add("c2st_network", *(_told_apart(drawn, part.draw(count, rng).pixels, seed) for part in (sample, fresh)))


def _told_apart(real: NDArray[np.uint8], other: NDArray[np.uint8], seed: int) -> Estimate:
    """Area under the ROC curve of a network that learnt on two thirds of both, on the last third; its interval is over
    the draw of that third."""
    rng = np.random.default_rng(seed)
    images, is_other = np.concatenate([real, other]), np.repeat([False, True], len(real))
    order = rng.permutation(len(images))
    held, fit = order[: len(order) // 3], order[len(order) // 3 :]
    network = image_network.train(images[fit], is_other[fit], 2, seed)
    score = image_network.probabilities(network, images[held])[:, 1]
    weights = np.vstack([np.ones((1, len(held)), np.uint8), multiplicities(len(held), rng)])
    areas = auc(score, is_other[held], weights)
    return Estimate.around(float(areas[0]), NORMAL_95 * float(areas[1:].std(ddof=1)), (0, 1))


def compare_classes(
    found: Findings, lens: Lens, train: Images, sample: Images, fresh: Images, rng: np.random.Generator
) -> list[ClassDetail]:
    """Modes, label agreement and utility, by a network that learnt the classes on all images of train."""
    known, held, seed = train.labelled(), fresh.labelled(), int(rng.integers(2**31))
    assert known.classes is not None and held.classes is not None
    vocabulary = lens.vocabularies[0]
    size = vocabulary.known
    if min(len(known), len(held)) < FEWEST:
        found.notes.append("too few labelled images: classes, label agreement and utility were not measured")
        return []
    judge = _pupil(known, size, seed)
    sees, sees_fresh = image_classes.seen(judge, sample.pixels), image_classes.seen(judge, fresh.pixels)
    count = min(len(sample), len(fresh))
    real = np.bincount(known.classes, minlength=size) / len(known)
    ours, theirs = (image_classes.modes(real, rng.permutation(s)[:count], rng) for s in (sees, sees_fresh))
    found.add("modes_covered", ours.covered, theirs.covered)
    found.add("modes_divergence", ours.divergence, theirs.divergence)
    agrees = np.full(size, np.nan)
    if sample.classes is not None:
        found.add(
            "label_agreement",
            image_classes.agreement(sees, sample.classes),
            image_classes.agreement(image_classes.seen(judge, held.pixels), held.classes),
        )
        taught = sample.labelled()
        assert taught.classes is not None
        named = np.bincount(taught.classes, minlength=size)
        right = np.bincount(sample.classes[sees == sample.classes], minlength=size)
        agrees = np.where(named > 0, right / np.maximum(named, 1), np.nan)
        if len(taught) >= FEWEST and np.ptp(taught.classes) > 0:
            count = min(len(taught), len(known))
            pupil = _pupil(taught.draw(count, rng), size, seed)
            rival = judge if count == len(known) else _pupil(known.draw(count, rng), size, seed)
            told = [image_classes.seen(network, held.pixels) for network in (pupil, rival)]
            scores = image_classes.accuracy(told[0], told[1], held.classes, rng)
            found.add("utility", scores.relative, Estimate(1, 1, 1))
            found.add("tstr_accuracy", scores.synthetic, scores.real)
            found.notes.append(
                f"utility: trained on {count:,} synthetic and on as many real images, tested on {len(held):,} "
                "real ones; what another training would do to either network is not in the interval"
            )
        else:
            found.notes.append("utility was not measured: the synthetic images are of one class, or too few")
    shown = sees if sample.classes is None else sample.classes
    return [
        ClassDetail(
            label=vocabulary.label(k + 1),
            real=round(float(real[k]), 6),
            synthetic=round(float(ours.shares[k]), 6),
            baseline=round(float(theirs.shares[k]), 6),
            agreement=round(float(agrees[k]), 6) if np.isfinite(agrees[k]) else None,
            real_rows=known.rows[known.classes == k][: PANEL * (k < PANELS)].tolist(),
            synthetic_rows=sample.rows[shown == k][: PANEL * (k < PANELS)].tolist(),
        )
        for k in range(size)
    ]


def _pupil(images: Images, size: int, seed: int) -> image_network.Network:
    assert images.classes is not None
    return image_network.train(images.pixels, images.classes, size, seed)


def find_copies(
    found: Findings,
    basis: Features | None,
    train: Images,
    sample: Images,
    fresh: Images,
    rng: np.random.Generator,
) -> tuple[Histogram | None, list[Neighbour]]:
    """How near synthetic images are to train, in pixels and in features; which they are near to, in pixels."""
    parts = [train, sample, fresh]
    points = [_shrunk(part.pixels) for part in parts]
    near = _closeness(points, parts, rng)
    distances = None
    if near is not None:
        found.add("dcr_share", near[0].dcr_share, near[1].dcr_share)
        found.add("nndr", near[0].ratio, near[1].ratio)
        found.notes.append(near[0].describe("image", "images"))
        distances = privacy.histogram(*near)
    else:
        found.notes.append("too few distinct images for distances to the closest one")
    if basis is not None:
        parts = [train.take(basis.unseen), sample, fresh]
        near = _closeness([basis.of(part.pixels) for part in parts], parts, rng)
        if near is not None:
            found.add("dcr_share_features", near[0].dcr_share, near[1].dcr_share)
    searched = [rng.permutation(len(part))[:SEARCHED] for part in (sample, fresh)]
    distinct = np.unique(train.keys, return_index=True)[1]
    if len(distinct) > 1:
        found.add(
            "near_copies", *(_memorised(p[at], points[0][distinct]) for p, at in zip(points[1:], searched, strict=True))
        )
    asked = searched[0]
    distance, at = closest(points[1][asked], points[0])
    closer = SHOWN + np.argsort(distance[SHOWN:], kind="stable")[:SHOWN]
    chosen = [*range(min(SHOWN, len(asked))), *closer.tolist()]
    pairs = [
        Neighbour(row=sample.rows[asked[i]], train=train.rows[at[i]], distance=round(float(distance[i]), 6))
        for i in chosen
    ]
    return distances, pairs


def _memorised(points: NDArray[np.float64], train: NDArray[np.float64]) -> Estimate:
    """Share of points (n, d) less than a third as far from the nearest row of ``train`` (m, d), which are distinct, as
    from the second nearest (Yoon et al. 2023, ICML workshop on structured probabilistic inference; Gu et al. 2023,
    arXiv 2310.02664). It needs no holdout, and all of train is searched."""
    first, second = nearest(points, train, 2).T
    return share(int((3 * first < second).sum()), len(points))


def _closeness(
    points: list[NDArray[np.float64]], parts: list[Images], rng: np.random.Generator
) -> tuple[privacy.Closeness, privacy.Closeness] | None:
    seen, asked, held = (privacy.Rows.of(p.__getitem__, part.keys) for p, part in zip(points, parts, strict=True))
    return privacy.closeness(seen, asked, held, MEASURED, rng)


def _shrunk(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Points (n, d) whose distances are root mean squares of pixels' differences; large images are averaged down."""
    n, height, width, channels = images.shape
    factor = int(np.ceil(np.sqrt(height * width * channels / COMPARED_PIXELS)))
    if factor > 1:
        size = (int(np.ceil(height / factor)), int(np.ceil(width / factor)))
        starts = range(0, n, image_network.AT_ONCE)
        blocks = (image_network.tensor(images[s : s + image_network.AT_ONCE]).movedim(3, 1).float() for s in starts)
        points = np.concatenate([F.adaptive_avg_pool2d(block, size).numpy() for block in blocks]).reshape(n, -1)
    else:
        points = images.reshape(n, -1)
    return points / (255 * np.sqrt(points.shape[1]))
