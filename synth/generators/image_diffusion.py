"""Diffusion for images: EDM on a U-Net or a transformer, with classes and with augmentation that does not leak.

Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv 2206.00364).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators import noise
from synth.generators.augment import PARAMETERS, augment
from synth.generators.backbones import DiT, UNet, patch_side
from synth.generators.base import Call, Draw, Generator
from synth.generators.given import Given
from synth.generators.layout import Encoded, Layout
from synth.generators.pixels import drawn_classes, log_class_chances, packed, unpacked

BACKBONES: dict[str, type[UNet] | type[DiT]] = {"unet": UNet, "dit": DiT}
SCALE = 2.0  # of pixels in [−1, 1]
# Samples are drawn in groups of so many grid positions, so that memory does not grow with the images' size.
POSITIONS = 1 << 15


class Denoiser(nn.Module):
    """EDM's raw network F: a backbone that is told noise level, class and augmentation in one vector.

    ``classes`` is the number of classes (0: none); class ``classes`` stands for "not told".
    """

    frequencies: Tensor

    def __init__(self, backbone: UNet | DiT, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.level = nn.Linear(64, backbone.condition)
        self.augmented = nn.Linear(PARAMETERS, backbone.condition, bias=False)
        self.label = nn.Embedding(classes + 1, backbone.condition) if classes else None
        self.mixed = nn.Linear(backbone.condition, backbone.condition)
        self.register_buffer("frequencies", torch.logspace(math.log10(0.3), math.log10(20), 32), persistent=False)

    def forward(self, noisy: Tensor, sigma: Tensor, label: Tensor | None, augmented: Tensor) -> Tensor:
        """``noisy`` (rows, channels, height, width) of ``sigma`` (rows, 1, 1, 1), ``label`` (rows,) int64 if there are
        classes, ``augmented`` (rows, PARAMETERS) → F, float32 of the shape of ``noisy``."""
        phase = (sigma[:, :, 0, 0].log() / 4) * self.frequencies
        condition = self.level(torch.cat([phase.sin(), phase.cos()], 1)) + self.augmented(augmented)
        if self.label is not None:
            condition = condition + self.label(label)
        return self.backbone(noise.scaled_input(noisy, sigma), self.mixed(F.silu(condition))).float()


class ImageDiffusion(Generator):
    """Continuous diffusion over pixels, given the class where there is one.

    Pixels are scaled by SCALE: about unit variance, EDM's sigma_data = 0.5 for pixels in [−1, 1]. Neighbouring pixels say
    the same, so the same noise hides less of a larger image: beyond 32 × 32, all noise levels grow with the side (Hoogeboom
    et al. 2023, "simple diffusion", arXiv 2301.11093, section 2.1).

    ``sigma_mean`` and ``sigma_deviation`` are EDM's training distribution of ln sigma; ``augment`` says in which ways
    images are changed, each with probability ``augment_chance``; of a share ``label_dropout`` of the images the class is
    not told, so that samples can be guided; ``steps`` are the Heun steps of a sample. ``width``, ``depth`` and ``patch``
    are the backbone's; None is what suits the images' size.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        backbone: Literal["unet", "dit"],
        width: int | None,
        depth: int | None,
        patch: int | None,
        sigma_mean: float,
        sigma_deviation: float,
        augment: Collection[str],
        augment_chance: float,
        label_dropout: float,
        guidance: float,
        steps: int,
    ) -> None:
        super().__init__()
        assert layout.image is not None
        self.layout = layout
        _, *size = self.image = layout.image
        patch = patch_side(*size) if patch is None else patch
        self.reach = max(max(size) / 32, 1.0)
        self.sigma_mean, self.sigma_deviation = sigma_mean + math.log(self.reach), sigma_deviation
        self.augment, self.augment_chance = augment, augment_chance
        self.label_dropout, self.guidance, self.steps = label_dropout, guidance, steps
        [self.classes] = layout.sizes or [0]
        self.denoiser = Denoiser(BACKBONES[backbone](self.image, patch, width, depth), self.classes)
        self.group = max(POSITIONS * patch**2 // math.prod(size), 1)

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"denoiser": self.denoiser}

    def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, Tensor]]:
        """One loss: the denoising error with EDM's weights, averaged over the pixels of the whole batch's images."""
        images, classes = unpacked(batch, self.layout)
        rows, values = batch.values.shape
        clean, augmented = augment(SCALE * images, draw, self.augment, self.augment_chance)
        if classes is not None and self.label_dropout:
            classes = classes.where(draw.uniform(rows, 1)[:, 0] >= self.label_dropout, self.classes)
        # Levels that fill their distribution evenly leave less to chance (Kingma et al. 2021, arXiv 2107.00630, appendix I).
        normal = torch.special.ndtri(draw.stratified(rows, 1))
        sigma = noise.training_sigma(normal, self.sigma_mean, self.sigma_deviation)[:, :, None, None]
        noisy = clean + sigma * draw.normal(rows, values).view(clean.shape)
        raw = call["denoiser"](noisy, sigma, classes, augmented)
        error = F.mse_loss(raw, noise.target(clean, noisy, sigma), reduction="sum") / values
        # Each worker divides by the whole batch's rows, so that unequal shares make no difference.
        yield "denoiser", draw.parts / draw.whole(rows) * error

    def log_chances(self, draw: Draw, given: Given) -> Tensor:
        return log_class_chances(self.layout, given)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        """Classes in their shares, and images 0 … 255 of them, by EDM's deterministic sampler."""
        classes = drawn_classes(self.layout, rows, draw, given)
        parts = []
        for first in range(0, rows, self.group):
            label = None if classes is None else classes[first : first + self.group]
            parts.append(packed(self._images(min(self.group, rows - first), label, draw) / SCALE, label))
        return Encoded(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _images(self, rows: int, label: Tensor | None, draw: Draw) -> Tensor:
        """(rows, channels, height, width) images of the classes ``label`` (rows,), scaled as in training."""
        largest = noise.SIGMA_MAX * self.reach
        start = largest * draw.normal(rows, self.layout.values).view(rows, *self.image)
        augmented = start.new_zeros(rows, PARAMETERS)

        def denoise(x: Tensor, sigma: float) -> Tensor:
            level = x.new_full((rows, 1, 1, 1), sigma)
            told = noise.denoised(self.denoiser(x, level, label, augmented), x, level)
            if self.guidance == 1 or label is None:
                return told
            # Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", arXiv 2207.12598, Eq. 6.
            untold = torch.full_like(label, self.classes)
            alone = noise.denoised(self.denoiser(x, level, untold, augmented), x, level)
            return alone + self.guidance * (told - alone)

        return noise.heun(denoise, start, self.steps, largest)
