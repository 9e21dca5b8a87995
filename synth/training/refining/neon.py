"""Negative extrapolation from self-training: a model that has learnt from its own samples shows where not to go.

Alemohammad et al. 2025, "Neon: Negative Extrapolation From Self-Training Improves Image Generation" (arXiv 2510.03597): a copy
of the weights θ is trained for a while on the model's own samples, which gives θ_s, and what is published is

    (1 + w) θ − w θ_s.

Self-training moves a model to where its sampler errs already. Away from there lies what it lacks, as long as the sampler
favours what is frequent (few steps, low temperatures); of one that does not, it is the wrong direction, and no weight helps.
"""

from __future__ import annotations

import copy

from synth.errors import UserError
from synth.generators.base import Generator
from synth.recipe import Recipe, TrainingRecipe
from synth.release import Release
from synth.training.refining.finetune import finetune, slowed
from synth.training.refining.ground import Ground, Offer, Offers, Realism, tensors
from synth.training.workers import Progress

WEIGHTS = (0.5, 1.0, 2.0)
SLOWER = 0.2  # of the learning rate that the release was trained with


class Neon(Realism):
    """The cure ``neon``."""

    name, recall = "neon", True

    def check(self, parent: Release, recipe: Recipe) -> None:
        """See ``Cure``."""
        if recipe.family == "gan":
            raise UserError(
                f"{parent.location}: is of the family gan, whose critic is not in its release, so that it cannot learn from "
                "its own rows; refine one of the family diffusion or vae"
            )

    def offers(self, ground: Ground, length: TrainingRecipe, progress: Progress) -> Offers:
        """See ``Cure``."""
        recipe = ground.recipe
        copied, steps, seconds = self_trained(ground, length, progress)
        before, after = ground.plain.generator.state_dict(), copied.state_dict()
        found = [
            Offer(
                f"weight {weight:g}",
                recipe,
                {
                    name: (1 + weight) * tensor - weight * after[name] if tensor.is_floating_point() else tensor
                    for name, tensor in before.items()
                },
                steps,
                seconds,
            )
            for weight in WEIGHTS
        ]
        return Offers(found, "negative extrapolation")


def self_trained(ground: Ground, length: TrainingRecipe, progress: Progress) -> tuple[Generator, int, float]:
    """A copy of the generator that has learnt from its own rows, and the steps and seconds that it took."""
    recipe, plain = ground.recipe, ground.plain
    own, copied = tensors(ground.own(progress), plain.device), copy.deepcopy(plain.generator)
    learning, first = slowed(recipe.training, length, SLOWER), ground.parent.manifest.training.steps
    return copied, *finetune(copied, [own], learning, recipe.seed, progress, "learning from its own rows", first)
