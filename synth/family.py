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
    target_shown: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of the others to which the target is a cell like any, so it can be asked for",
    )
    evidence: float = Field(
        0.125, ge=0, le=1, description="share of rows shown some of their values, so that values can be asked for"
    )
    sigma_mean: float = Field(-0.8, description="mean of ln sigma in training")
    sigma_deviation: float = Field(1.4, gt=0)
    dropout: float = Field(0.15, ge=0, le=0.9, description="share of hidden units dropped where cells are learnt")
    steps: int = Field(20, ge=2, le=1000, description="Heun steps a sample")
