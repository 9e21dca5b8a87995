"""The small convolutional network that judges images: it is trained here, in seconds, for every certificate anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

SIDE = 16
"""Places a side that are told apart, at most: in larger images each is a patch of pixels, so that none goes unseen."""
BATCH, AT_ONCE = 128, 256
EPOCHS, MOST_STEPS = 30, 400
RATE, WARMUP, DECAY, SMOOTHING = 2e-3, 0.2, 0.05, 0.1


class Network(nn.Module):
    """Images uint8 (n, height, width, channels) → logits (n, classes): patches that overlap by a pixel, convolutions that
    halve the sides until they are 4 or less, and a linear layer: a hidden one would now and then die at its first step.

    Group normalisation (Wu and He 2018): what it says of an image doesn't depend on the images beside it.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        height, width, channels = shape
        self.patch = math.ceil(max(height, width) / SIDE)
        sides = math.ceil(height / self.patch), math.ceil(width / self.patch)
        self.padding = (0, sides[1] * self.patch - width, 0, sides[0] * self.patch - height)
        wide = 32
        layers: list[nn.Module] = [nn.Conv2d(channels, wide, self.patch + 2, self.patch, 1)]
        while max(sides) > 4:
            layers += [nn.GroupNorm(8, wide), nn.ReLU(), nn.Conv2d(wide, wider := min(2 * wide, 128), 3, 2, 1)]
            wide, sides = wider, (math.ceil(sides[0] / 2), math.ceil(sides[1] / 2))
        self.convolutions = nn.Sequential(*layers, nn.GroupNorm(8, wide), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(wide * sides[0] * sides[1], classes)

    def seen(self, images: Tensor) -> Tensor:
        """What the convolutions see (n, d), of which ``head`` makes logits; d is 2,048 at most."""
        scaled = images.movedim(3, 1).float() / 127.5 - 1
        return self.convolutions(F.pad(scaled, self.padding, mode="replicate"))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.seen(images))


def train(images: NDArray[np.uint8], classes: NDArray[np.integer], count: int, seed: int) -> Network:
    """A network that tells the ``count`` classes (n,) of ``images`` (n, height, width, channels) apart.

    AdamW over 30 epochs in batches of 128, 400 steps at most, with the rate rising over the first fifth and falling
    to zero, and smoothed labels (Szegedy et al. 2016). The same on every call; on a GPU but for the order of sums.
    """
    place = device()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = Network((images.shape[1], images.shape[2], images.shape[3]), count).to(place)
    order = torch.Generator().manual_seed(seed)
    per_epoch = max(1, len(images) // BATCH)
    steps = min(MOST_STEPS, EPOCHS * per_epoch)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=WARMUP)
    rows = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(rows) < min(BATCH, len(images)):
            rows = torch.randperm(len(images), generator=order)
        now, rows = rows[:BATCH].numpy(), rows[BATCH:]
        logits = network(torch.from_numpy(images[now]).to(place))
        wanted = torch.from_numpy(classes[now].astype(np.int64)).to(place)
        optimizer.zero_grad()
        F.cross_entropy(logits, wanted, label_smoothing=SMOOTHING).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def features(network: Network, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, d), what the convolutions see."""
    return np.concatenate([part.double().cpu().numpy() for part in _applied(network.seen, images)])


def probabilities(network: Network, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, classes)."""
    return np.concatenate([part.double().softmax(1).cpu().numpy() for part in _applied(network, images)])


def _applied(function: Callable[[Tensor], Tensor], images: NDArray[np.uint8]) -> Iterator[Tensor]:
    place = device()
    for start in range(0, len(images), AT_ONCE):
        with torch.inference_mode():
            yield function(tensor(images[start : start + AT_ONCE]).to(place))


def tensor(images: NDArray[np.uint8]) -> Tensor:
    """A copy: those that lie in a table are read-only, which PyTorch's own tensors can't be."""
    return torch.tensor(images)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
