"""A variational autoencoder for images, with latent maps at every level of a convolutional ladder.

The evidence lower bound (Kingma and Welling 2014, arXiv 1312.6114) of p(z | class) p(image | z, class). A single latent
vector leaves samples blurred, and between the images: the posteriors of all images together are no standard normal. Here z
is a few maps at each level, coarse to fine, and each posterior sees what the decoder has made of the maps before it (ladder
VAEs: Sønderby et al. 2016, arXiv 1602.02282; deep ones: Child 2021, "Very Deep VAEs", arXiv 2011.10650). Maps are
innovations, standard normal under the prior and shaped by the decoder, so that divergences are closed forms.

Pixels are logistic around the decoder's image, in bytes: exactly the probability of each of 256 values, of which black and
white take the tails (Salimans et al. 2017, "PixelCNN++", arXiv 1701.05517, Eq. 2, with one component). The scale of a
channel is one learnt number, so that the weight of the divergence is no matter of taste and detail has to pass through z,
instead of coming out as noise of single pixels (Rybkin et al. 2021, "Simple and Effective VAE Training with Calibrated
Decoders", arXiv 2006.13202, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.generators import latent
from synth.generators.base import Call, Draw, Generator
from synth.generators.convolutional import SLOPE, Block, Decoder, Encoder
from synth.generators.given import Given
from synth.generators.layout import Encoded, Layout
from synth.generators.pixels import drawn_classes, log_class_chances, packed, unpacked

STEP = 2 / 255  # between neighbouring bytes, where black is −1 and white 1
NARROWEST = STEP / 20  # scale below which a pixel is as good as known
FASTER = 5.0  # than other weights the scale must change, which is the last error's and no guess of a network's

Maps = Callable[[int, "Rung", Tensor, Tensor], Tensor]  # (its number, rung, state, standard normal noise) → latent maps


def log_probability(images: Tensor, means: Tensor, scale: Tensor) -> Tensor:
    """Log-probability of each byte of ``images`` in [−1, 1] under a logistic of ``means`` and ``scale``, of their shape.

    log(σ(a) − σ(b)) with a, b = (x ± STEP/2 − mean)/scale, without the difference of two numbers near 1: it is
    log σ(a) + log σ(−b) + log(1 − e^(b − a)).
    """
    upper, lower = (images + STEP / 2 - means) / scale, (images - STEP / 2 - means) / scale
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-STEP / scale))
    outside = torch.where(images < 0, F.logsigmoid(upper), F.logsigmoid(-lower))
    return torch.where(images.abs() > 1 - STEP / 2, outside, inside)


class Rung(nn.Module):
    """A few latent maps at one level: what their posterior is, seen from the decoder's state, and what they do to it."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.posterior = nn.Conv2d(channels, 2 * maps, 1)
        self.enter = nn.Conv2d(maps, channels, 1)
        self.block = Block(channels)
        # Narrow at first, so that maps tell of the image before the decoder has learnt to leave them aside.
        nn.init.constant_(self.posterior.bias[maps:], math.log(0.1))  # type: ignore[index]

    def infer(self, state: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (rows, maps, h, w) of q(z_l | x, z_<l); ``state`` and ``seen`` (rows, channels, h, w)."""
        x = F.leaky_relu(self.look(torch.cat([state, seen], 1)), SLOPE)
        mean, log_variance = self.posterior(x).float().chunk(2, 1)
        return mean, 8 * torch.tanh(log_variance / 8)  # beyond e^±8 nothing is gained, and much can overflow

    def forward(self, state: Tensor, z: Tensor) -> Tensor:
        return self.block(state + self.enter(z))


class Parts(NamedTuple):
    """What the network makes of images: the decoder's ``means`` (rows, C, H, W), the ``scale`` (C, 1, 1) of their pixels,
    the posterior's ``mean`` and ``log_variance`` (rows, Z) of all maps, coarse to fine."""

    means: Tensor
    scale: Tensor
    mean: Tensor
    log_variance: Tensor


class Autoencoder(nn.Module):
    """Encoder, ladder and decoder; ``rungs`` of ``maps`` each at every level."""

    def __init__(self, layout: Layout, width: int, depth: int, rungs: int, maps: int) -> None:
        super().__init__()
        assert layout.image is not None
        self.classes = layout.sizes[0] if layout.cells else 0
        self.encoder = Encoder(layout.image, width, depth)
        self.decoder = Decoder(max(self.classes, 1), layout.image, layout.image[0], width)
        self.rungs = rungs
        self.ladder = nn.ModuleList(Rung(channels, maps) for channels in self.decoder.widths for _ in range(rungs))
        self.log_scale = nn.Parameter(torch.full((layout.image[0],), -1.5 / FASTER))
        # Of each rung, coarse to fine, (maps, h, w).
        self.shapes = [(maps, *size) for size in self.decoder.sizes for _ in range(rungs)]
        self.units = sum(math.prod(shape) for shape in self.shapes)

    @property
    def scale(self) -> Tensor:
        return NARROWEST + (FASTER * self.log_scale).exp()[:, None, None]

    def forward(self, images: Tensor, classes: Tensor | None, noise: Tensor) -> Parts:
        """``noise`` (rows, Z) standard normal decides on the sample of the posterior."""
        seen, said = self.encoder(images)[::-1], list[tuple[Tensor, Tensor]]()

        def infer(number: int, rung: Rung, state: Tensor, normal: Tensor) -> Tensor:
            mean, log_variance = rung.infer(state, seen[number // self.rungs])
            said.append((mean.flatten(1), log_variance.flatten(1)))
            return latent.posterior(mean, log_variance, normal)

        means = self.climb(classes, noise, infer)
        mean, log_variance = (torch.cat(parts, 1) for parts in zip(*said, strict=True))
        return Parts(means, self.scale, mean, log_variance)

    def climb(self, classes: Tensor | None, noise: Tensor, maps: Maps) -> Tensor:
        """(rows, C, H, W) the decoder's image, where ``maps`` makes each rung's of its part of ``noise`` (rows, Z)."""
        known = noise.new_ones(len(noise), 1) if classes is None else F.one_hot(classes, self.classes).to(noise.dtype)
        state, parts = self.decoder.begin(known), noise.split([math.prod(shape) for shape in self.shapes], 1)
        for number, (rung, normal) in enumerate(zip(self.ladder, parts, strict=True)):
            assert isinstance(rung, Rung)
            level, within = divmod(number, self.rungs)
            if level and not within:
                state = self.decoder.rise(level, state)
            state = rung(state, maps(number, rung, state, normal.unflatten(1, self.shapes[number])))
        return self.decoder.end(state).float()


class ImageVAE(Generator):
    """The VAE over images. See the module's docstring.

    ``beta`` weighs the divergence at the end of ``cycles`` ramps, each ``period`` steps long; ``free_bits`` nats of each
    latent map of an image are free.
    """

    def __init__(
        self, layout: Layout, *, width: int, depth: int, rungs: int, maps: int,
        beta: float, free_bits: float, period: int, cycles: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layout, self.beta, self.free, self.period, self.cycles = layout, beta, free_bits, period, cycles
        self.vae = Autoencoder(layout, width, depth, rungs, maps)

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"vae": self.vae}

    def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, Tensor]]:
        """One loss: the negative evidence lower bound in nats a pixel and channel, as a mean over the whole batch."""
        images, classes = unpacked(batch, self.layout)
        rows = len(images)
        parts = call["vae"](images, classes, draw.normal(rows, self.vae.units))
        weight = self.beta * latent.cyclical(step, self.period, self.cycles, 0.5)
        nats = weight * latent.free_bits(self.of_maps(latent.divergence(parts.mean, parts.log_variance)), self.free)
        nats = nats - log_probability(images, parts.means, parts.scale).flatten(1).sum(1)
        yield "vae", nats.sum() * draw.parts / draw.whole(rows) / self.layout.values

    def of_maps(self, units: Tensor) -> Tensor:
        """(rows, maps of all rungs) sums over the places of each map; ``units`` (rows, Z)."""
        pieces = units.split([math.prod(shape) for shape in self.vae.shapes], 1)
        return torch.cat([p.unflatten(1, s).sum((2, 3)) for p, s in zip(pieces, self.vae.shapes, strict=True)], 1)

    def log_chances(self, draw: Draw, given: Given) -> Tensor:
        return log_class_chances(self.layout, given)

    @torch.no_grad()
    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        classes = drawn_classes(self.layout, rows, draw, given)
        noise = draw.normal(rows, self.vae.units)
        means = self.vae.climb(classes, noise, lambda number, rung, state, normal: normal)
        uniform = draw.uniform(rows, self.layout.values).clamp_min(2**-25).view_as(means)
        return packed(means + self.vae.scale * uniform.logit(), classes)

    @torch.no_grad()
    def remarks(self, batch: Encoded) -> list[str]:
        """How many latent maps are active: at some place, by the definition for units."""
        images, classes = unpacked(batch, self.layout)
        parts = self.vae(images, classes, torch.zeros(len(images), self.vae.units, device=images.device))
        return latent.collapse(self.of_maps(latent.active(parts.mean)[None].float())[0] > 0)
