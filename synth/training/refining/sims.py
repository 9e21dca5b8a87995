"""Self-improvement of diffusion: samples are drawn away from what the model becomes when it learns from its own.

Where Neon extrapolates weights, this extrapolates scores, see ``synth.generators.contrast``: it holds for any distance between
the two models, and costs twice the network evaluations.
"""

from __future__ import annotations

from synth.errors import UserError
from synth.recipe import Recipe, TrainingRecipe
from synth.release import Release
from synth.training.refining.ground import Ground, Offer, Offers, Realism
from synth.training.refining.neon import self_trained
from synth.training.workers import Progress

WEIGHTS = (0.25, 0.5, 1.0)


class Sims(Realism):
    """The cure ``sims``."""

    name, recall = "sims", True

    def check(self, parent: Release, recipe: Recipe) -> None:
        """See ``Cure``."""
        if recipe.family != "diffusion":
            raise UserError(
                f"{parent.location}: is of the family {recipe.family}, and sims extrapolates what a diffusion denoises; refine "
                "it --by neon, or train with --family diffusion"
            )

    def offers(self, ground: Ground, length: TrainingRecipe, progress: Progress) -> Offers:
        """See ``Cure``."""
        recipe = ground.recipe
        copied, steps, seconds = self_trained(ground, length, progress)
        shadow = {f"shadow.{name}": tensor for name, tensor in copied.get_submodule("denoiser").state_dict().items()}
        weights = ground.plain.generator.state_dict() | shadow
        found = [
            Offer(
                f"weight {weight:g}",
                recipe.model_copy(update={"diffusion": recipe.diffusion.model_copy(update={"contrast": weight})}),
                weights,
                steps,
                seconds,
            )
            for weight in WEIGHTS
        ]
        return Offers(found, "contrast with self-training")
