"""What can be said of each family of generators: its part of the recipe, and how it is best trained."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from synth.ranges import Choice, Number, Range

Objective = Literal["relativistic", "non-saturating", "wasserstein"]  # of two players; synth.generators.adversarial
DOMAIN = "weight of domain-adversarial training, by features that predict the target class; 0: none"
TEMPERATURE = "of {} in sampling; below 1 likely states come more often, above it rare ones"
DOMAIN_STEPS = "steps over which domain-adversarial training sets in"


class Part(BaseModel):
    """A part of the recipe; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


COMMON: dict[str, Range] = {
    "training.learning_rate": Number(5e-4, 1e-2, log=True),
    "training.batch": Choice((128, 256, 512, 1024, 2048)),
    "training.decay": Number(0.3, 0.9),
    "training.ema": Choice((0.99, 0.995, 0.999)),
    "training.memory": Number(15, 1500, log=True),
    "codec.ordered_up_to": Choice((16, 64, 256, 1024)),
    "codec.bins": Choice((8, 16, 32, 64)),
}  # knobs that are searched in every family of tables


class FamilyRecipe(Part):
    """The part of a family. ``TRAINING`` holds the keys of ``training`` in which its defaults are others; ``SPACE`` the keys
    of the recipe that are worth searching, and where; ``SAMPLING`` those of them that a trained model can change, and
    ``MOVING`` those that one can change while it is trained."""

    TRAINING: ClassVar[dict[str, Any]] = {}
    SPACE: ClassVar[dict[str, Range]] = {}
    SAMPLING: ClassVar[frozenset[str]] = frozenset()
    MOVING: ClassVar[frozenset[str]] = frozenset({"training.learning_rate", "training.memory"})

    @property
    def second_order(self) -> str | None:
        """What in it needs gradients of gradients, which neither weights that are spread over the workers (ZeRO 3) nor
        activations that are computed again allow; None where nothing does."""
        return None

    @property
    def classified(self) -> str | None:
        """What in it needs a target class; None where nothing does."""
        return None


class DiffusionRecipe(FamilyRecipe):
    """The table diffusion model: its size, its training noise, its sampler."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset(
        {"diffusion.steps", "diffusion.temperature", "diffusion.target_temperature", "diffusion.noise"}
    )
    MOVING: ClassVar[frozenset[str]] = FamilyRecipe.MOVING | {
        "diffusion.dropout", "diffusion.target_share", "diffusion.sigma_mean", "diffusion.sigma_deviation",
    }  # fmt: skip
    SPACE: ClassVar[dict[str, Range]] = COMMON | {
        "diffusion.width": Choice((64, 96, 128, 192, 256, 384, 512)),
        "diffusion.blocks": Number(2, 6, whole=True),
        "diffusion.dropout": Number(0.0, 0.4),
        "diffusion.target_share": Number(0.05, 0.4),
        "diffusion.sigma_mean": Number(-1.5, 0.0),
        "diffusion.sigma_deviation": Number(1.0, 2.0),
        "diffusion.steps": Choice((6, 8, 12, 20)),
        "diffusion.temperature": Number(0.8, 1.1),
        "diffusion.target_temperature": Number(0.4, 1.2),
        "diffusion.noise": Number(0.9, 1.05),
    }

    width: int = Field(256, ge=16, le=8192)
    blocks: int = Field(3, ge=1, le=64)
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
    # 8 are as near to the figures of 100 as 12 are (benchmarks/README.md, "Evaluations").
    steps: int = Field(8, ge=2, le=1000, description="steps a sample's values take, an evaluation of the network each")
    temperature: float = Field(1.0, gt=0, le=10, description=TEMPERATURE.format("cells"))
    target_temperature: float = Field(1.0, gt=0, le=10, description=TEMPERATURE.format("a target class"))
    # What networks learn is a little too narrow: MAGIC's ten values were told by it; Adult and Beijing hardly changed.
    noise: float = Field(
        1.03, gt=0, le=2, description="deviation of the noise that values are drawn from; 1: as learnt"
    )
    guidance: float = Field(
        0.0, ge=0, le=10, description="weight of a discriminator in sampling; above 0 of a refined release alone"
    )
    contrast: float = Field(
        0.0, ge=0, le=10, description="weight, in sampling, away from what was learnt of own rows; likewise"
    )
    tutored: float = Field(0.0, ge=0, le=10, description="weight of a classifier's gradients in sampling; likewise")
    criterion: Literal["loss", "entropy", "hardness"] = Field("entropy", description="what these gradients are of")


class GanRecipe(FamilyRecipe):
    """The table GAN: its size, its objective, and what keeps it from collapsing."""

    TRAINING: ClassVar[dict[str, Any]] = {
        "batch": 256, "learning_rate": 1e-3, "beta1": 0.0, "beta2": 0.99, "clip": 100.0,
    }  # fmt: skip

    SAMPLING: ClassVar[frozenset[str]] = frozenset({"gan.target_temperature"})
    MOVING: ClassVar[frozenset[str]] = FamilyRecipe.MOVING | {"gan.gamma", "gan.temperature", "gan.emphasis"}
    SPACE: ClassVar[dict[str, Range]] = COMMON | {
        "gan.width": Choice((64, 96, 128, 192, 256)),
        "gan.blocks": Number(1, 3, whole=True),
        "gan.noise": Choice((16, 32, 64, 128)),
        "gan.gamma": Number(0.02, 1.0, log=True),
        "gan.temperature": Number(0.1, 0.8, log=True),
        "gan.emphasis": Number(0.0, 1.0),
        "gan.target_temperature": Number(0.4, 1.2),
    }

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
    target_temperature: float = Field(1.0, gt=0, le=10, description=TEMPERATURE.format("a target class"))
    emphasis: float = Field(
        0.25, ge=0, le=1, description="share of conditions that count by the logarithm of their frequency"
    )
    domain: float = Field(0.0, ge=0, description=DOMAIN)
    domain_steps: int = Field(1000, ge=1, description=DOMAIN_STEPS)

    @property
    def second_order(self) -> str | None:
        if not self.gamma:
            return None
        return f"the gradient penalty of gan.objective={self.objective}, gan.gamma={self.gamma:g}"

    @property
    def classified(self) -> str | None:
        return f"gan.domain={self.domain:g}" if self.domain else None


class VaeRecipe(FamilyRecipe):
    """The table VAE: its size, its latent units, and how their divergence is weighed.

    AdamW's second moment has a short memory, since gradients change while the divergence's weight rises: at 6e-3 a long
    one lost most units of a table of weak dependences (Beijing PM2.5), and 3 nats a row with them.
    """

    TRAINING: ClassVar[dict[str, Any]] = {"batch": 256, "learning_rate": 5e-3, "beta2": 0.99}

    SAMPLING: ClassVar[frozenset[str]] = frozenset({"vae.temperature", "vae.target_temperature"})
    MOVING: ClassVar[frozenset[str]] = FamilyRecipe.MOVING | {"vae.beta", "vae.dropout"}
    SPACE: ClassVar[dict[str, Range]] = COMMON | {
        "vae.width": Choice((64, 96, 128, 160, 256)),
        "vae.blocks": Number(1, 3, whole=True),
        "vae.rungs": Number(2, 8, whole=True),
        "vae.units": Choice((4, 8, 16)),
        "vae.components": Choice((3, 6, 12)),
        "vae.beta": Number(0.3, 1.5, log=True),
        "vae.dropout": Number(0.0, 0.5),
        "vae.temperature": Number(0.8, 1.1),
        "vae.target_temperature": Number(0.4, 1.2),
    }

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
    temperature: float = Field(1.0, gt=0, le=10, description="deviation of the latent units in sampling")
    target_temperature: float = Field(1.0, gt=0, le=10, description=TEMPERATURE.format("a target class"))
    domain: float = Field(0.0, ge=0, description=DOMAIN)
    domain_steps: int = Field(1000, ge=1, description=DOMAIN_STEPS)

    @property
    def classified(self) -> str | None:
        return f"vae.domain={self.domain:g}" if self.domain else None


class ImageDiffusionRecipe(FamilyRecipe):
    """The image diffusion model: its network, its training noise, its sampler."""

    # Small batches are many steps, which a short run lacks most; noise and augmentation leave nothing for decay to do.
    TRAINING: ClassVar[dict[str, Any]] = {"batch": 64, "learning_rate": 2e-3, "memory": 1e9}

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


class ImageGanRecipe(FamilyRecipe):
    """The image GAN: its two networks, what they play for, and what keeps the game fair."""

    # The penalties want an optimizer that remembers little, and none of AdamW's forgetting.
    TRAINING: ClassVar[dict[str, Any]] = {
        "batch": 64, "learning_rate": 5e-4, "beta1": 0.0, "beta2": 0.99, "memory": 1e9, "ema": 0.998, "decay": 0.4,
    }  # fmt: skip

    latent: int = Field(64, ge=1, le=4096, description="numbers of noise an image is made from")
    width: int = Field(32, ge=16, le=2048, multiple_of=16, description="channels of the finest level, 4 times at most")
    depth: int = Field(1, ge=1, le=16, description="residual blocks a level")
    objective: Objective = Field("relativistic", description="relativistic, non-saturating or wasserstein")
    gamma: float = Field(
        1.0,
        ge=0,
        description="weight of the gradient penalty: one-centred with wasserstein, else zero-centred; 0: none",
    )
    spectral: bool = Field(False, description="divide the critic's matrices by their greatest singular value")
    augment: tuple[Literal["flip", "translate", "scale", "rotate"], ...] = Field(
        ("translate", "scale", "rotate"), description="what is done to real and generated images alike; []: nothing"
    )
    overfit: float = Field(
        0.6, gt=0, lt=1, description="E[sign(D(real) - D(generated))] above which more images are augmented"
    )

    @property
    def second_order(self) -> str | None:
        if not self.gamma:
            return None
        return f"the gradient penalty of image.gan.objective={self.objective}, image.gan.gamma={self.gamma:g}"


class ImageVaeRecipe(FamilyRecipe):
    """The image VAE: its ladder, and the weight of what the latent maps say."""

    TRAINING: ClassVar[dict[str, Any]] = {"batch": 64, "learning_rate": 2e-3, "memory": 1e9, "ema": 0.998}

    width: int = Field(32, ge=16, le=2048, multiple_of=16, description="channels of the finest level, 4 times at most")
    depth: int = Field(1, ge=1, le=16, description="residual blocks a level of the encoder")
    rungs: int = Field(1, ge=1, le=16, description="rungs a level of the ladder")
    maps: int = Field(4, ge=1, le=256, description="latent maps a rung")
    beta: float = Field(1.0, gt=0, le=100, description="weight of the divergence; 1: the evidence lower bound")
    free_bits: float = Field(0.0, ge=0, description="nats of a latent map of an image that are free")
    period: int = Field(500, ge=1, description="steps in which the weight of the divergence rises and stays, a cycle")
    cycles: int = Field(1, ge=0, description="cycles, after which the weight stays; 0: it is there from the start")


class ImageRecipe(Part):
    """Images: what becomes of those of a source, what they are compared by, and the families' parts."""

    size: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="pixels a side that images are cut and resized to; null: the size that all have",
    )
    features: str | None = Field(
        None,
        description="TorchScript file of the network that the certificate compares images by; null: one is trained",
    )
    diffusion: ImageDiffusionRecipe = ImageDiffusionRecipe()
    gan: ImageGanRecipe = ImageGanRecipe()
    vae: ImageVaeRecipe = ImageVaeRecipe()
