"""A generative adversarial network for images: relativistic pairs, penalties on both sides, adaptive augmentation.

The objective is that of Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN" (arXiv 2501.05441):
real and generated images are judged in pairs, and the critic's slope is penalised at both. Classes enter the generator
beside the noise and the critic as a projection (Miyato and Koyama 2018, "cGANs with Projection Discriminator", arXiv
1802.05637, Eq. 3); the two images of a pair are of one class.

**Adaptive augmentation** (Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", arXiv
2006.06676, section 3). The critic sees all images, real and generated, through the same random changes, each made with a
chance that rises while the critic knows its few real images too well. What the paper watches, E[sign D(real)], means
nothing here: a relativistic critic may add any number to all scores. Watched instead is the mean sign over the pairs,
r = E[sign(D(real) − D(generated))]: 0 where the critic cannot tell the two, 1 where it errs in no pair, and 2 AUC − 1 in
expectation, whatever the objective. It is compared with the paper's target in the paper's way.

The chance is state: it must be the same on all workers, and survive a checkpoint at any ZeRO stage. So it is a parameter
of the critic, and its change is a gradient: target − r, of which the trainer takes the mean over the workers as of every
other. AdamW divides a gradient by its usual size, so that the chance moves by about one learning rate a step, up or down:
the paper's fixed speed. Nothing else needs to be saved, sent or agreed upon.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from synth.family import Objective
from synth.generators.adversarial import between, critic_loss, generator_loss, judged, one_centred, zero_centred
from synth.generators.augment import augment
from synth.generators.base import Call, Draw, Generator
from synth.generators.convolutional import SLOPE, Decoder, Encoder, blocks
from synth.generators.given import Given
from synth.generators.layout import Encoded, Layout
from synth.generators.pixels import drawn_classes, log_class_chances, packed, unpacked
from synth.generators.spectral import Spectral

MOST = 0.8  # chance up to which a generator does not learn to make augmented images (Karras et al. 2020, section 2.2)
PULL = 0.01  # keeps the chance's gradient out of the norm that is clipped; AdamW's step does not depend on it
SPRING = 20.0  # how strongly the chance is drawn back from beyond its bounds: r − target is no greater than 1 by far


class ImageGenerator(nn.Module):
    """Noise (rows, latent) and classes (rows,) → images (rows, C, H, W), about within [−1, 1]."""

    def __init__(self, layout: Layout, latent: int, width: int, depth: int) -> None:
        super().__init__()
        assert layout.image is not None
        self.classes = layout.sizes[0] if layout.cells else 0
        self.decoder = Decoder(latent + self.classes, layout.image, layout.image[0], width)
        self.levels = nn.ModuleList(blocks(channels, depth) for channels in self.decoder.widths)

    def forward(self, noise: Tensor, classes: Tensor | None) -> Tensor:
        if classes is not None:
            noise = torch.cat([noise, F.one_hot(classes, self.classes)], 1)
        x = self.levels[0](self.decoder.begin(noise))
        for number, level in enumerate(self.levels[1:], start=1):
            x = level(self.decoder.rise(number, x))
        return self.decoder.end(x)


class ImageCritic(nn.Module):
    """Scores (rows,) of images, the greater, the more real; and what its training asks for.

    Its slopes are computed in full precision, since a gradient of gradients in bfloat16 has too few digits.
    """

    def __init__(
        self,
        layout: Layout,
        width: int,
        depth: int,
        gamma: float,
        one_centred: bool,
        spectral: bool,
        kinds: Sequence[str],
    ) -> None:
        super().__init__()
        assert layout.image is not None
        features = 4 * width
        self.gamma, self.one_centred, self.kinds = gamma, one_centred, kinds
        self.encoder = Encoder(layout.image, width, depth)
        self.features = nn.Linear(self.encoder.outputs, features)
        self.score = nn.Linear(features, 1)
        self.projection = nn.Embedding(layout.sizes[0], features) if layout.cells else None
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)
        if spectral:
            for module in [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]:
                if not module.weight.any():  # zeros, with which residual branches begin, have no direction to normalise
                    nn.init.orthogonal_(module.weight)
                shape = module.weight.flatten(1).shape
                parametrize.register_parametrization(module, "weight", Spectral(*shape))
        self.chance = nn.Parameter(torch.zeros(1)) if kinds else None

    def judge(self, images: Tensor, classes: Tensor | None) -> Tensor:
        """(rows,) w·φ(x) + e_y·φ(x)."""
        coarsest = self.encoder(images)[-1]
        features = F.leaky_relu(self.features(F.leaky_relu(coarsest, SLOPE).flatten(1)), SLOPE)
        scores: Tensor = self.score(features)[:, 0]
        if self.projection is None:
            return scores
        return scores + (self.projection(classes) * features).sum(1) / math.sqrt(features.shape[1])

    def forward(
        self, real: Tensor, fake: Tensor, classes: Tensor | None, draw: Draw, *, learns: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores (rows,) of pairs ``real`` and ``fake`` (rows, C, H, W) as both look after augmentation; where the critic
        ``learns``, also its penalty (rows,), and the chance (1,) of augmentation. Elsewhere only ``fake`` gets gradients."""
        chance = fake.new_zeros(1) if self.chance is None else self.chance
        real, fake = (augment(x, draw, self.kinds, chance.detach())[0] for x in (real, fake))
        if not learns:
            with torch.no_grad():
                ahead = self.judge(real, classes)
            return ahead, self.judge(fake, classes), fake.new_zeros(len(fake)), chance
        with torch.autocast(fake.device.type, enabled=False):
            if self.gamma and not self.one_centred:
                both = None if classes is None else torch.cat([classes, classes])
                scores, squared = judged(lambda x: self.judge(x, both), torch.cat([real, fake.float()]))
                ahead, behind = scores.view(2, -1)
                return ahead, behind, zero_centred(squared.view(2, -1).sum(0), self.gamma), chance
            ahead, behind = self.judge(real, classes), self.judge(fake.float(), classes)
            if not self.gamma:
                return ahead, behind, torch.zeros_like(ahead), chance
            points = between(real, fake.float(), draw.uniform(len(real), 1))
            _, squared = judged(lambda x: self.judge(x, classes), points)
            return ahead, behind, one_centred(squared, self.gamma), chance


class ImageGAN(Generator):
    """A generator and its critic, stepped in turn, as the module's docstring says.

    ``width`` and ``depth`` are the size of both, ``latent`` the dimensions of the noise. ``gamma`` is the weight of the
    gradient penalty: one-centred between real and generated images where the objective is ``wasserstein``, else
    zero-centred on both; 0 for none. ``augment`` names what is done to images, and ``overfit`` is the r to be kept.
    """

    judges = ("critic",)

    def __init__(
        self,
        layout: Layout,
        *,
        latent: int,
        width: int,
        depth: int,
        objective: Objective,
        gamma: float,
        spectral: bool,
        augment: Sequence[str],
        overfit: float,
    ) -> None:
        super().__init__()
        self.layout, self.latent, self.objective, self.overfit = layout, latent, objective, overfit
        self.generator = ImageGenerator(layout, latent, width, depth)
        self.critic = ImageCritic(layout, width, depth, gamma, objective == "wasserstein", spectral, augment)

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, Tensor]]:
        """The critic's loss, then the generator's against the critic as it then is: means over the whole batch."""
        real, classes = unpacked(batch, self.layout)
        rows, share = len(real), draw.parts / draw.whole(len(real))
        with torch.no_grad():
            fake = call["generator"](draw.normal(rows, self.latent), classes)
        ahead, behind, penalty, chance = call["critic"](real, fake, classes, draw, learns=True)
        loss = share * (critic_loss(self.objective, ahead, behind) + penalty).sum()
        yield "critic", loss + self._adapted(chance, share * (ahead - behind).detach().sign().sum())

        # Frozen, and called itself: its weights get no gradients in the generator's step.
        self.critic.requires_grad_(False)
        fake = call["generator"](draw.normal(rows, self.latent), classes)
        ahead, behind, *_ = self.critic(real, fake, classes, draw, learns=False)
        self.critic.requires_grad_(True)
        yield "generator", share * generator_loss(self.objective, ahead, behind).sum()

    def _adapted(self, chance: Tensor, told: Tensor) -> Tensor:
        """0, with the gradient by which the ``chance`` (1,) changes; ``told`` is r, of which each worker knows its share.

        Between 0 and MOST it is target − r. Beyond, a spring brings the chance back, which else would drift ever further,
        and not be there when it is needed. All is linear in r, so that the mean over workers is the whole batch's.
        """
        beyond = chance - chance.clamp(0, MOST)
        pull = PULL * (SPRING / 2 * beyond.square() - (told - self.overfit) * chance).sum()
        return pull - pull.detach()

    def log_chances(self, draw: Draw, given: Given) -> Tensor:
        return log_class_chances(self.layout, given)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        classes = drawn_classes(self.layout, rows, draw, given)
        return packed(self.generator(draw.normal(rows, self.latent), classes), classes)

    def remarks(self, batch: Encoded) -> list[str]:
        """How often images are augmented by now: the more, the more the critic overfits."""
        if self.critic.chance is None:
            return []
        chance = min(max(float(self.critic.chance.detach()), 0.0), MOST)
        return [
            f"each augmentation of {', '.join(self.critic.kinds)} was made with probability {chance:.2f} (at most {MOST})"
        ]
