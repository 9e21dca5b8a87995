"""Networks from images and a vector to images of the same shape: diffusers' U-Net and diffusion transformer.

Both work on a grid of patches, so that images of any size cost about the same (Luhman and Luhman 2022, "Improving
Diffusion Model Efficiency Through Patching", arXiv 2207.04316). Images that do not fill the grid are padded with zeros at
the right and below, and what was padded is cut off again.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patch_side(height: int, width: int) -> int:
    """Pixels along a side of a patch, a power of two: 1 up to 16 × 16, 2 up to 32 × 32, 4 up to 128 × 128, then 8."""
    side = max(height, width)
    return 1 if side <= 16 else 2 if side <= 32 else 4 if side <= 128 else 8


def suited(side: int, choices: tuple[int, int, int]) -> int:
    """What to choose for images up to 32 × 32, which a laptop learns, up to 64 × 64, and larger ones, for accelerators."""
    return choices[0 if side <= 32 else 1 if side <= 64 else 2]


class UNet(nn.Module):
    """Convolutions on a pyramid of grids, each half of the last down to 8 × 8 or less, with attention from 16 × 16 down.

    ``width`` is the number of channels of the finest grid (the others have twice as many), ``depth`` the number of
    residual blocks a grid on the way down (Ho et al. 2020, arXiv 2006.11239, appendix B). Patches are channels here.
    """

    def __init__(self, image: tuple[int, int, int], patch: int, width: int | None, depth: int | None) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d import UNet2DModel

        channels, *size = image
        width = suited(max(size), (32, 64, 128)) if width is None else width
        depth = suited(max(size), (1, 2, 2)) if depth is None else depth
        sides = [-(-max(size) // patch)]
        while sides[-1] > 8 or len(sides) < 2:
            sides.append(-(-sides[-1] // 2))
        attends = [level > 0 and side <= 16 for level, side in enumerate(sides)]
        self.patch, self.multiple, self.condition = patch, patch * 2 ** (len(sides) - 1), 4 * width
        self.network = UNet2DModel(
            in_channels=channels * patch**2,
            out_channels=channels * patch**2,
            block_out_channels=(width,) + (2 * width,) * (len(sides) - 1),
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            layers_per_block=depth,
            attention_head_dim=math.gcd(width, 64),
            norm_num_groups=math.gcd(width, 32),
            resnet_time_scale_shift="scale_shift",
            class_embed_type="identity",
        )
        # What it is told comes as one vector; its own embedding of a time would add a constant.
        self.network.time_proj, self.network.time_embedding = nn.Unflatten(0, (-1, 1)), nn.Identity()
        for name, module in self.network.named_modules():
            if (
                name.endswith("conv2") or name == "conv_out"
            ):  # each residual block starts as the identity, the output at 0
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(rows, channels, height, width), told ``condition`` (rows, self.condition)."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        x = F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last)
        x = self.network(x, x.new_zeros(len(x)), condition, return_dict=False)[0]
        return F.pixel_shuffle(x, self.patch)[:, :, :height, :width]


class Told(nn.Module):
    """In place of the embedding of a time and a class that each block of diffusers' transformer would learn by itself,
    dropping labels by torch's global generator: all are told the same vector, which comes as the time."""

    def forward(self, timestep: Tensor, class_labels: None, hidden_dtype: torch.dtype | None = None) -> Tensor:
        return timestep


class DiT(nn.Module):
    """Transformer blocks over patches, each shifted, scaled and gated by the vector (Peebles and Xie 2023, "Scalable
    Diffusion Models with Transformers", arXiv 2212.09748, adaLN-Zero): ``depth`` blocks of ``width`` channels."""

    def __init__(self, image: tuple[int, int, int], patch: int, width: int | None, depth: int | None) -> None:
        super().__init__()
        from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

        channels, *size = image
        width = suited(max(size), (128, 256, 384)) if width is None else width
        depth = suited(max(size), (6, 8, 12)) if depth is None else depth
        self.side, self.condition = -(-max(size) // patch) * patch, width
        self.network = DiTTransformer2DModel(
            num_attention_heads=width // math.gcd(width, 64),
            attention_head_dim=math.gcd(width, 64),
            in_channels=channels,
            num_layers=depth,
            attention_bias=True,
            sample_size=self.side,
            patch_size=patch,
            num_embeds_ada_norm=1,
        )
        for block in self.network.transformer_blocks:
            block.norm1.emb = Told()
        # Each block starts as the identity, the output at 0.
        adaptive = [block.norm1.linear for block in self.network.transformer_blocks]
        for linear in [*adaptive, self.network.proj_out_1, self.network.proj_out_2]:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(rows, channels, height, width), told ``condition`` (rows, self.condition)."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, self.side - width, 0, self.side - height))
        return self.network(x, condition, return_dict=False)[0][:, :, :height, :width]
