"""Classes of images: are all there, in their shares, as labelled, and can they be learnt from the sample?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.evaluation import image_network
from synth.evaluation.frame import GROUPS
from synth.evaluation.intervals import Estimate, bootstrap, jackknife, leave_one_out, share

PRESENT = 0.1


@dataclass(frozen=True)
class Modes:
    """``covered``: share of the classes of real train that are there; ``divergence``: KL(sample ‖ real train) of the
    shares of the classes, in nats; ``shares`` (k,) are those of the sample."""

    covered: Estimate
    divergence: Estimate
    shares: NDArray[np.float64]


def modes(real: NDArray[np.float64], predicted: NDArray[np.intp], rng: np.random.Generator) -> Modes:
    """Which classes a sample has, as a classifier sees them: ``predicted`` (n,), against the shares ``real`` (k,).

    A class counts as there where its share is at least a tenth of its real one: of classes that are lost, a classifier
    errs now and then and sees a few all the same.
    """
    group, size = rng.permutation(len(predicted)) % GROUPS, len(real)
    seen = np.bincount(group * size + predicted, minlength=GROUPS * size).reshape(GROUPS, size)
    counts = leave_one_out(seen.astype(np.float64))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    asked = real > 0
    shares, real = shares[:, asked], real[asked]
    terms = shares * np.log(np.where(shares > 0, shares, 1) / real)
    every = np.zeros(size)
    every[asked] = shares[0]
    covered = (shares >= PRESENT * real).mean(axis=1)
    return Modes(jackknife(covered, (0, 1)), jackknife(terms.sum(axis=1)), every)


def agreement(predicted: NDArray[np.intp], own: NDArray[np.integer]) -> Estimate:
    """Share of images whose own class (n,) a classifier sees in them."""
    return share(int((predicted == own).sum()), len(own))


@dataclass(frozen=True)
class Accuracy:
    """Shares of real test images that are told right by a network trained on synthetic and by one on real images, and
    the one over the other: paired, so that the test images' noise is in its interval."""

    synthetic: Estimate
    real: Estimate
    relative: Estimate


def accuracy(
    synthetic: NDArray[np.intp], real: NDArray[np.intp], wanted: NDArray[np.integer], rng: np.random.Generator
) -> Accuracy:
    """From what the two networks say of real test images, and what is right: (n,) each."""
    right = np.column_stack([synthetic == wanted, real == wanted]).astype(np.float64)
    relative = bootstrap(right, rng, lambda means: means[:, 0] / np.maximum(means[:, 1], 1 / len(wanted)))
    return Accuracy(share(right[:, 0].sum(), len(right)), share(right[:, 1].sum(), len(right)), relative)


def seen(network: image_network.Network, images: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The class (n,) that a network sees in each image."""
    best: NDArray[np.intp] = image_network.probabilities(network, images).argmax(axis=1)
    return best
