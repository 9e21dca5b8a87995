"""Gradients of a model that has learnt the target from real rows guide the sampler, see ``synth.generators.tutor``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from synth.errors import UserError
from synth.generators.base import Call, Draw, Generator
from synth.generators.families import build
from synth.generators.layout import Encoded
from synth.generators.table_diffusion import TableDiffusion
from synth.generators.tutor import CRITERIA, Tutor
from synth.recipe import Recipe, TrainingRecipe
from synth.release import Release
from synth.sampling import Sampler
from synth.training.refining.finetune import finetune
from synth.training.refining.ground import Ground, Offer, Offers, Usefulness, tensors
from synth.training.workers import Progress

WEIGHTS = (0.5, 2.0)


class Gradients(Usefulness):
    """The cure ``gradients``, by these criteria."""

    name = "gradients"

    def __init__(self, criteria: Sequence[str] = ("entropy",)) -> None:
        for name in criteria:
            if name not in CRITERIA:
                raise UserError(f"--criterion {name!r} has no gradient; criteria that have: {', '.join(CRITERIA)}")
        self.criteria = tuple(dict.fromkeys(criteria))

    def check(self, parent: Release, recipe: Recipe) -> None:
        """See ``Cure``."""
        if recipe.family != "diffusion":
            raise UserError(
                f"{parent.location}: is of the family {recipe.family}, and gradients guide the diffusion of tables alone; "
                "refine it --by feedback, or train with --family diffusion"
            )

    def offers(self, ground: Ground, length: TrainingRecipe, progress: Progress) -> Offers:
        """See ``Cure``. UserError for a table without a class to predict, and without values to guide."""
        recipe, codec = ground.recipe, ground.table.codec
        if codec.layout.target is None or not codec.layout.values:
            raise UserError(
                f"{ground.parent.location}: has no class to predict, or no continuous numbers to guide: gradients are of a "
                "classifier, and of values; refine it --by feedback"
            )
        torch.manual_seed(recipe.seed)
        first = _recipe(recipe, self.criteria[0], 1.0)
        fresh = {n: t for n, t in build(first, codec.layout).state_dict().items() if n.startswith("tutor.")}
        guided = Sampler.of(first, codec, {**ground.plain.generator.state_dict(), **fresh})
        assert isinstance(guided.generator, TableDiffusion) and guided.generator.tutor is not None
        rows = [tensors(ground.real(), guided.device)]
        steps, seconds = finetune(
            _Learner(guided.generator.tutor), rows, length, recipe.seed, progress, "learning the target"
        )
        weights = guided.generator.state_dict()
        found = [
            Offer(f"{name} with weight {weight:g}", _recipe(recipe, name, weight), weights, steps, seconds)
            for name, weight in itertools.product(self.criteria, WEIGHTS)
        ]
        return Offers(found, "gradients", "as it is")


def _recipe(recipe: Recipe, criterion: str, weight: float) -> Recipe:
    update = {"tutored": weight, "criterion": criterion}
    return recipe.model_copy(update={"diffusion": recipe.diffusion.model_copy(update=update)})


class _Learner(Generator):
    """A tutor as what ``finetune`` trains."""

    def __init__(self, tutor: Tutor) -> None:
        super().__init__()
        self.tutor = tutor

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"tutor": self.tutor}

    def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, Tensor]]:
        yield "tutor", self.tutor.loss(batch, draw)
