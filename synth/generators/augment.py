"""Augmentation of images for small data sets: mirrored, moved, scaled and turned copies, and what was done to each.

A generator that is shown augmented images must not make them. A diffusion model is told the parameters, and samples with
zeros (Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364, appendix
F.2); a GAN's critic sees real and made images augmented alike, each with a probability below one (Karras et al. 2020,
"Training Generative Adversarial Networks with Limited Data", arXiv 2006.06676, section 3).
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from synth.generators.base import Draw

KINDS = ("flip", "translate", "scale", "rotate")
PARAMETERS = 5
# Standard deviations: a move, as a share of the side; the logarithm of a scale; an angle in radians.
MOVE, ZOOM, TURN = 0.07, 0.12, 0.15


def augment(images: Tensor, draw: Draw, kinds: Collection[str], chance: float | Tensor) -> tuple[Tensor, Tensor]:
    """Images (rows, channels, height, width), each changed in every one of ``kinds`` with probability ``chance``, and
    what was done (rows, PARAMETERS) float32: mirrored or not, then right, down, larger and clockwise in standard deviations.

    All zeros say that an image is what it was, to the bit. Differentiable in the images; what comes into view at an edge
    is what lies before it, mirrored. The noise of a row does not depend on ``kinds``.
    """
    rows, _, height, width = images.shape
    allowed = torch.tensor([kind in kinds for kind in KINDS], device=images.device)
    chosen = ((draw.uniform(rows, len(KINDS)) < chance) & allowed).float()
    done = chosen[:, [0, 1, 1, 2, 3]] * torch.cat([torch.ones_like(chosen[:, :1]), draw.normal(rows, 4)], 1)
    if not kinds:
        return images, done
    flip, right, down, larger, clockwise = done.unbind(1)
    # From a pixel of the result to where it comes from: moved back, turned back, scaled back, mirrored.
    cos, sin = (TURN * clockwise).cos() / (ZOOM * larger).exp(), (TURN * clockwise).sin() / (ZOOM * larger).exp()
    mirror, aspect = 1 - 2 * flip, height / width  # both axes run from -1 to 1, and turning needs a square
    x = torch.stack([mirror * cos, mirror * sin * aspect], 1)
    y = torch.stack([-sin / aspect, cos], 1)
    turn = torch.stack([x, y], 1)
    move = 2 * MOVE * torch.stack([right, down], 1)
    affine = torch.cat([turn, -turn @ move[:, :, None]], 2)
    with torch.autocast(images.device.type, enabled=False):  # positions in bfloat16 would be off by a pixel
        grid = F.affine_grid(affine, list(images.shape), align_corners=False)
        changed = F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    return torch.where(done.any(1)[:, None, None, None], changed.to(images.dtype), images), done
