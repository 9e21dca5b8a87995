"""What images are compared by: the features of a network that learnt on the source's own images, or of a given one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synth.errors import UserError
from synth.evaluation import image_network
from synth.evaluation.image_network import AT_ONCE, device, tensor

FEWEST = 20
"""Images that a network learns on, at least."""
COMPONENTS = 64


@dataclass(frozen=True)
class Features:
    """``of`` gives the features float64 (n, d) of images uint8 (n, height, width, channels); ``describe`` says whose
    features they are; ``unseen``: the rows of train that its network did not learn on."""

    of: Callable[[NDArray[np.uint8]], NDArray[np.float64]]
    describe: str
    unseen: NDArray[np.intp]


def learnt(
    images: NDArray[np.uint8],
    classes: NDArray[np.integer] | None,
    held: tuple[NDArray[np.uint8], NDArray[np.integer] | None],
    rng: np.random.Generator,
) -> Features:
    """Features of a network trained on half of ``images``, drawn at random, to tell their ``classes`` apart.

    Without classes it tells by which quarter turn an image was turned (Gidaris et al. 2018, arXiv 1803.07728), which
    takes knowing what is on it; of images that aren't square, whether it is upside down. Its features are what the last
    convolutions see, reduced to their principal components: the layer before the classes has forgotten what
    distinguishes images of one class, blur as well as copies. They have mean 0 and mean variance 1.

    The other half alone stands for train wherever features are compared: a network draws the images that it learnt on
    closer together than any others, so that next to them the best of generators would look poor, and one that copies
    them good. ``held`` are real images that no network sees, and their classes: on them it is told how much this one
    knows.
    """
    rows, seed = rng.permutation(len(images)), int(rng.integers(2**31))
    known, unseen = np.sort(rows[: len(rows) // 2]), np.sort(rows[len(rows) // 2 :])
    task = "their classes" if classes is not None else "by how much they are turned"
    if classes is not None and held[1] is not None:
        answers, count, questions, right = classes[known], int(classes.max()) + 1, held[0], held[1]
        shown = images[known]
    else:
        (shown, answers), (questions, right) = _turned(images[known]), _turned(held[0])
        count = int(answers.max()) + 1
    network = image_network.train(shown, answers, count, seed)
    reached = (image_network.probabilities(network, questions).argmax(axis=1) == right).mean()
    raw = image_network.features(network, images[known])
    middle = raw.mean(axis=0)
    # Of the images that it learnt on: components of one of the clouds that are compared would set it apart.
    spread, axes = np.linalg.eigh((raw - middle).T @ (raw - middle) / len(raw))
    scaled = axes[:, -COMPONENTS:] / (float(np.sqrt(max(spread[-COMPONENTS:].mean(), 0))) or 1.0)
    return Features(
        lambda those: (image_network.features(network, those) - middle) @ scaled,
        f"{scaled.shape[1]} features of a network that learnt from {len(known):,} real training images to tell {task}, "
        f"and is right on {reached:.1%} of real test images; the other {len(unseen):,} training images are what it "
        "compares with",
        unseen,
    )


def _turned(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Each image in every turn that keeps its shape, and which turn that is."""
    turns = range(4) if images.shape[1] == images.shape[2] else (0, 2)
    every = np.concatenate([np.rot90(images, turn, (1, 2)) for turn in turns])
    return np.ascontiguousarray(every), np.repeat(np.arange(len(turns)), len(images))


def given(path: str, shape: tuple[int, int, int], images: int) -> Features:
    """Features of the network in a TorchScript file, which takes float32 (n, channels, height, width) in [0, 1] and
    gives (n, d); whatever resizing and scaling it needs is its own.

    TorchScript, though PyTorch prefers ``torch.export``: its archives are read by a loader of their own, which knows
    tensors and TorchScript alone, where ``torch.export.load`` reads Python's pickles, which can do anything. A network
    is a program all the same: take it from who you trust.

    UserError for a file that holds none, and for a network that doesn't take these images.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # see above
            network = torch.jit.load(path, map_location=device()).eval()
    except RuntimeError as error:
        raise UserError(
            f"{path}: is no TorchScript archive; write one with torch.jit.trace(network, images).save(...)"
        ) from error

    def of(those: NDArray[np.uint8]) -> NDArray[np.float64]:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(those), AT_ONCE):
                part = tensor(those[start : start + AT_ONCE]).to(device()).movedim(3, 1).float() / 255
                parts.append(network(part).double().cpu().numpy())
        return np.concatenate(parts)

    height, width, channels = shape
    wanted = f"images of {channels} channels × {height} × {width}"
    try:
        found = of(np.zeros((2, *shape), np.uint8))
    except (RuntimeError, AttributeError) as error:  # what it gives may be no tensor
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"{path}: the network does not take {wanted}: {reason}") from error
    if found.ndim != 2 or len(found) != 2 or not np.isfinite(found).all():
        raise UserError(f"{path}: of 2 {wanted} it gives {found.shape}, not finite features (2, d)")
    name = Path(path).name
    return Features(of, f"{found.shape[1]:,} features of the network in {name}", np.arange(images))
