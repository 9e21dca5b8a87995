"""What can be said of each family of generators: its part of the recipe, and how it is best trained."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


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


class VaeRecipe(FamilyRecipe):
    """The table VAE: its size, its latent units, and how their divergence is weighed.

    AdamW's second moment has a short memory, since gradients change while the divergence's weight rises: at 6e-3 a long
    one lost most units of a table of weak dependences (Beijing PM2.5), and 3 nats a row with them.
    """

    TRAINING: ClassVar[dict[str, Any]] = {"batch": 256, "learning_rate": 5e-3, "beta2": 0.99}

    width: int = Field(160, ge=16, le=8192)
    blocks: int = Field(2, ge=1, le=64, description="residual blocks of the encoder, the decoder and the classifier")
    expansion: int = Field(2, ge=1, le=8)
    rungs: int = Field(6, ge=1, le=64, description="steps in which the decoder takes its latent units")
    units: int = Field(8, ge=1, le=1024, description="latent units of a rung")
    components: int = Field(6, ge=1, le=64, description="Gaussians in the mixture that a value is")
    beta: float = Field(1.0, ge=0, description="weight of the divergence of the latent units once it has risen")
    free_bits: float = Field(0.0, ge=0, description="nats of each latent unit that cost nothing")
    period: int = Field(
        600, ge=1, description="steps of a cycle, over the first half of which the divergence's weight rises"
    )
    cycles: int = Field(1, ge=0, description="cycles; 1: plain annealing, 0: none")
    dropout: float = Field(0.3, ge=0, le=0.9, description="share of the target's classifier's hidden units dropped")
