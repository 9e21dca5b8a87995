"""What can be said of each family of generators: its part of the recipe, and how it is best trained."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Objective = Literal["relativistic", "non-saturating", "wasserstein"]  # of two players; synth.generators.adversarial


class Part(BaseModel):
    """A part of the recipe; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class FamilyRecipe(Part):
    """The part of a family. ``TRAINING`` holds the keys of ``training`` in which its defaults are others."""

    TRAINING: ClassVar[dict[str, Any]] = {}

    @property
    def second_order(self) -> str | None:
        """What in it needs gradients of gradients, which neither weights that are spread over the workers (ZeRO 3) nor
        activations that are computed again allow; None where nothing does."""
        return None


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


class GanRecipe(FamilyRecipe):
    """The table GAN: its size, its objective, and what keeps it from collapsing."""

    TRAINING: ClassVar[dict[str, Any]] = {
        "batch": 256, "learning_rate": 1e-3, "beta1": 0.0, "beta2": 0.99, "clip": 100.0,
    }  # fmt: skip

    width: int = Field(128, ge=16, le=8192)
    blocks: int = Field(2, ge=1, le=64)
    expansion: int = Field(2, ge=1, le=8)
    noise: int = Field(64, ge=1, le=4096, description="dimensions of the noise")
    objective: Objective = Field("relativistic", description="relativistic, non-saturating or wasserstein")
    gamma: float = Field(
        0.1, ge=0, description="weight of the gradient penalty, one-centred for wasserstein (try 10); 0: none"
    )
    spectral: bool = Field(False, description="divide the critic's matrices by their greatest singular value")
    pac: int = Field(1, ge=1, le=64, description="rows that the critic judges together")
    temperature: float = Field(0.3, gt=0, le=10, description="of Gumbel-softmax in training")
    emphasis: float = Field(
        0.25, ge=0, le=1, description="share of conditions that count by the logarithm of their frequency"
    )

    @property
    def second_order(self) -> str | None:
        if not self.gamma:
            return None
        return f"the gradient penalty of gan.objective={self.objective}, gan.gamma={self.gamma:g}"
