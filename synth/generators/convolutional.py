"""Residual convolutional networks from images to features and back, for images of any size, without normalisation.

Both are pyramids: feature maps of half the side and up to four times the channels from level to level. Residual branches
end in zeros (Fixup: Zhang et al. 2019, arXiv 1901.09321), so that depth needs no statistics of the batch to be trainable:
a row's result depends on no other row, which the penalties of a critic and rows shared between workers both ask for. The
blocks are those of the modern baseline of Huang et al. 2024 (arXiv 2501.05441, section 4): 1×1, grouped 3×3, 1×1.
"""

from __future__ import annotations

import itertools
import math

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of leaky rectifiers
GROUP = 16  # channels that a 3×3 filter sees
COARSEST = 7  # longest side of the last level: 28 → 14 → 7, 32 → 16 → 8 → 4
FINE = 16  # longest side of images whose first level keeps every pixel; larger ones merge 2×2


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of the feature maps, from fine to coarse: halved, rounded up, until no side exceeds COARSEST."""
    sizes = [(-(-height // patch(height, width)), -(-width // patch(height, width)))]
    while max(sizes[-1]) > COARSEST:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def patch(height: int, width: int) -> int:
    """How many pixels a side the first level sees as one."""
    return 1 if max(height, width) <= FINE else 2


class Block(nn.Module):
    """x + 1×1(grouped 3×3(1×1(x))), (rows, channels, h, w), with rectifiers before the last two."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.look = nn.Conv2d(channels, channels, 3, padding=1, groups=max(channels // GROUP, 1))
        self.join = nn.Conv2d(channels, channels, 1, bias=False)
        for layer in (self.mix, self.look):
            nn.init.kaiming_normal_(layer.weight, SLOPE)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.join.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.look(F.leaky_relu(self.mix(x), SLOPE))
        return x + self.join(F.leaky_relu(h, SLOPE))


def blocks(channels: int, depth: int) -> nn.Sequential:
    """``depth`` residual blocks in a row: what happens at one level."""
    return nn.Sequential(*(Block(channels) for _ in range(depth)))


def _widths(width: int, levels: int) -> list[int]:
    """Channels of each level, fine to coarse."""
    return [width * min(2**level, 4) for level in range(levels)]


class Encoder(nn.Module):
    """Images (rows, C, H, W) → the maps of all levels, (rows, channels, h, w) from fine to coarse.

    ``width`` is the channels of the first level, ``depth`` the residual blocks of each; ``outputs`` counts the numbers of
    a row's coarsest map.
    """

    def __init__(self, image: tuple[int, int, int], width: int, depth: int) -> None:
        super().__init__()
        channels, *side = image
        self.patch, self.sizes = patch(*side), pyramid(*side)
        widths = _widths(width, len(self.sizes))
        self.stem = nn.Conv2d(channels * self.patch**2, width, 3, padding=1)
        self.levels = nn.ModuleList(blocks(count, depth) for count in widths)
        self.widen = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(widths))
        self.outputs = widths[-1] * math.prod(self.sizes[-1])

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[2:]  # filled up with grey, 0, to whole patches
        images = F.pad(images, (0, -width % self.patch, 0, -height % self.patch))
        maps = [self.levels[0](self.stem(F.pixel_unshuffle(images, self.patch)))]
        for size, widen, level in zip(self.sizes[1:], self.widen, self.levels[1:], strict=True):
            maps.append(level(widen(F.adaptive_avg_pool2d(maps[-1], size))))
        return maps


class Decoder(nn.Module):
    """Vectors (rows, ``inputs``) → maps (rows, ``channels``, H, W): an Encoder the other way, level by level.

    ``widths`` are the channels of the levels from coarse to fine, between which ``rise`` leads.
    """

    def __init__(self, inputs: int, image: tuple[int, int, int], channels: int, width: int) -> None:
        super().__init__()
        self.height, self.width = image[1:]
        self.patch, self.sizes = patch(self.height, self.width), pyramid(self.height, self.width)[::-1]
        self.widths = _widths(width, len(self.sizes))[::-1]
        self.start = nn.Linear(inputs, self.widths[0] * math.prod(self.sizes[0]))
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(self.widths))
        self.pixels = nn.Conv2d(width, channels * self.patch**2, 3, padding=1)

    def begin(self, vectors: Tensor) -> Tensor:
        """The coarsest map."""
        return self.start(vectors).unflatten(1, (self.widths[0], *self.sizes[0]))

    def rise(self, level: int, x: Tensor) -> Tensor:
        """From the map of ``level`` − 1 to that of ``level``, from 1 on: the next finer one."""
        return F.interpolate(self.narrow[level - 1](x), self.sizes[level], mode="bilinear", align_corners=False)

    def end(self, x: Tensor) -> Tensor:
        """From the finest map to (rows, ``channels``, H, W), of any sign and size."""
        pixels = F.pixel_shuffle(self.pixels(F.leaky_relu(x, SLOPE)), self.patch)
        return pixels[:, :, : self.height, : self.width]
