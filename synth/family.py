"""What can be said of each family of generators: its part of the recipe, and how it is best trained."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Part(BaseModel):
    """A part of the recipe; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class FamilyRecipe(Part):
    """The part of a family. ``TRAINING`` holds the keys of ``training`` in which its defaults are others."""

    TRAINING: ClassVar[dict[str, Any]] = {}


class DiffusionRecipe(FamilyRecipe):
    """The table diffusion model: its size, its training noise, its sampler."""

    width: int = Field(256, ge=16, le=8192)
    blocks: int = Field(4, ge=1, le=64)
    expansion: int = Field(2, ge=1, le=8)
    cell_share: float | None = Field(
        None, gt=0, lt=1, description="share of each batch that learns cells, not values; null: as the table has them"
    )
    target_share: float = Field(
        0.125, gt=0, lt=1, description="share of the rows that learn cells that learn the target"
    )
    sigma_mean: float = Field(-0.8, description="mean of ln sigma in training")
    sigma_deviation: float = Field(1.4, gt=0)
    dropout: float = Field(0.15, ge=0, le=0.9, description="share of hidden units dropped where cells are learnt")
    steps: int = Field(20, ge=2, le=1000, description="Heun steps a sample")


class ImageDiffusionRecipe(FamilyRecipe):
    """The image diffusion model: its network, its training noise, its sampler."""

    # Small batches are many steps, which a short run lacks most; noise and augmentation leave nothing for decay to do.
    TRAINING = {"batch": 64, "learning_rate": 2e-3, "memory": 1e9}

    backbone: Literal["unet", "dit"] = "unet"
    width: int | None = Field(
        None, ge=16, le=4096, multiple_of=16, description="channels; null: 32 to 128 of a unet, 128 to 384 of a dit"
    )
    depth: int | None = Field(
        None, ge=1, le=64, description="blocks, of a unet at each resolution; null: 1 or 2 of a unet, 6 to 12 of a dit"
    )
    patch: Literal[1, 2, 4, 8, 16] | None = Field(
        None, description="pixels along a side of what the network sees as one; null: by the images' size, 1 to 8"
    )
    sigma_mean: float = Field(-0.5, description="mean of ln sigma in training, for 32 × 32 and smaller")
    sigma_deviation: float = Field(1.2, gt=0)
    augment: list[Literal["flip", "translate", "scale", "rotate"]] = Field(
        ["translate", "scale", "rotate"],
        description="how training images are changed; the network is told, samples are not",
    )
    augment_chance: float = Field(0.12, ge=0, le=1, description="how often each of these is done")
    label_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of images of which the class is not told, for guidance"
    )
    guidance: float = Field(
        1.0, ge=0, le=20, description="over 1, samples are more typical of their class, and less diverse"
    )
    steps: int = Field(18, ge=2, le=1000, description="Heun steps a sample")

    @model_validator(mode="after")
    def _guidable(self) -> ImageDiffusionRecipe:
        if self.guidance != 1 and not self.label_dropout:
            raise ValueError(
                f"guidance={self.guidance:g} needs samples without a class, which label_dropout=0 leaves unlearnt: "
                "give guidance=1, or label_dropout=0.1"
            )
        return self


class ImageRecipe(Part):
    """Images: the families' parts."""

    diffusion: ImageDiffusionRecipe = ImageDiffusionRecipe()
