"""Feedback of a model of the real world: what it says of a release's own rows is what the release learns from next.

Two kinds of offers, each a copy of the generator that has learnt from real rows and as many rows of its own:

``targets``  own rows whose targets the model has drawn anew. It is the policy p(y | x) that the model rewards most with its log
             chances r(x, y), less a penalty for leaving the release p₀: argmax E[r] − β KL(p ‖ p₀) is p₀ exp(r / β), of which
             ``power`` 1/β is what the model says with more or less conviction. No gradient of the model is asked for.
``practice`` own rows that a learner of them does not yet know: one that has learnt from those so far chooses among the next,
             by how little it is sure of each, learns from these, too, and so on (Askari-Hemmat et al. 2025, "Improving the
             Scaling Laws of Synthetic Data with Deliberate Practice", arXiv 2502.15588).
``entropy``, ``loss``, ``hardness``
             own rows drawn by exp(z), z the standard score of how little the model is sure of a row, how wrong it is, or how
             little chance it gives to the row's class (Hemmat et al. 2023, "Feedback-guided Data Synthesis for Imbalanced
             Classification", arXiv 2310.00158, whose criteria they are). Scores are cut at CAP, so that no row is drawn more
             than a few times as often as others.

What a model asks for is not what is real: so half of each batch are real rows, and an offer is taken only if models that learn
from its samples do better on real rows, twice, and no fewer of these are covered.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.codec import Codec
from synth.errors import UserError
from synth.generators.layout import Encoded
from synth.recipe import Recipe, TrainingRecipe
from synth.release import Release
from synth.training.refining.finetune import finetune
from synth.training.refining.ground import OWN, Ground, Offer, Offers, own_rows, tensors
from synth.training.refining.teacher import Said, Teacher
from synth.training.selected import Measured
from synth.training.workers import Progress

CRITERIA = ("targets", "practice", "entropy", "loss", "hardness")
ROUNDS = 4  # of practice, the first of which takes rows as they come
POWERS = (1.0, 1.5)
CAP = 2.0  # standard deviations
SLOWER = 0.1  # of the learning rate that the release was trained with


class Feedback:
    """The cure ``feedback``; ``model`` None: boosted trees that learn from the real rows first."""

    useful = True

    def __init__(self, model: Any | None = None, criteria: Sequence[str] = CRITERIA[:2]) -> None:
        for name in criteria:
            if name not in CRITERIA:
                raise UserError(f"--criterion {name!r} is unknown; criteria: {', '.join(CRITERIA)}")
        self.model, self.criteria = model, tuple(dict.fromkeys(criteria))

    def check(self, parent: Release, recipe: Recipe) -> None:
        """See ``Cure``."""
        if recipe.family == "gan":
            raise UserError(
                f"{parent.location}: is of the family gan, whose critic is not in its release, so that it cannot learn any "
                "more; refine one of the family diffusion or vae"
            )

    def offers(self, ground: Ground, length: TrainingRecipe, progress: Progress) -> Offers:
        """See ``Cure``."""
        recipe, codec, seed = ground.recipe, ground.table.codec, ground.recipe.seed
        progress("asking the model", 0.0, {})
        teacher, rng = Teacher(ground.table, self.model, seed), np.random.default_rng(seed)
        own = own_rows(ground.plain, min(ground.table.rows["train"], OWN), seed, progress)
        rows = pa.Table.from_batches([codec.decode(own)])
        said = teacher(rows)
        pools = dict[str, Encoded]()
        for name in self.criteria:
            if name == "targets":
                for power in POWERS:
                    pools[f"targets to the power {power:g}"] = _relabelled(codec, rows, teacher, said, power, rng)
            elif said.chances is None and name != "loss":
                ground.table.notes.append(
                    f"feedback by {name} is of classes, and {teacher.target!r} is a number: not tried"
                )
            elif name == "practice":
                chosen = _rounds(teacher, rows, rng)
                pools[name] = Encoded(*(part[chosen] for part in own))
            else:
                chosen = _practised(_score(said, name), rng)
                pools[name] = Encoded(*(part[chosen] for part in own))
        device = ground.plain.device
        real, found, steps, seconds = tensors(ground.real(), device), list[Offer](), 0, 0.0
        share = {} if length.budget_s is None else {"budget_s": length.budget_s / len(pools)}
        rate = {"learning_rate": SLOWER * recipe.training.learning_rate, "batch": recipe.training.batch}
        learning = length.model_copy(update=share | rate)
        for name, pool in pools.items():
            copied = copy.deepcopy(ground.plain.generator)
            phase = f"learning from {name}"
            taken, took = finetune(copied, [real, tensors(pool, device)], learning, seed, progress, phase)
            steps, seconds = steps + taken, seconds + took
            found.append(Offer(name, recipe, copied.state_dict()))
        return Offers(found, steps, seconds, "feedback", "as it is")

    def improves(self, before: Measured, after: Measured) -> bool:
        """See ``Cure``."""
        return after.teaches(before)

    def rank(self, after: Measured) -> float:
        """See ``Cure``."""
        assert after.utility is not None
        return -after.utility.relative.value


def _relabelled(
    codec: Codec, rows: pa.Table, teacher: Teacher, said: Said, power: float, rng: np.random.Generator
) -> Encoded:
    place = rows.schema.get_field_index(teacher.target)
    [batch] = (
        rows.set_column(place, rows.schema.field(place), teacher.targets(said, power, rng))
        .combine_chunks()
        .to_batches()
    )
    return codec.encode(batch.filter(pa.array(codec.encodable(batch))))


def _score(said: Said, name: str) -> NDArray[np.float64]:
    return {"entropy": lambda: said.entropy, "loss": lambda: said.loss, "hardness": lambda: 1 - np.exp(-said.loss)}[
        name
    ]()


def _rounds(teacher: Teacher, rows: pa.Table, rng: np.random.Generator) -> NDArray[np.intp]:
    """Which rows practice has taken after ROUNDS of it, some several times; as many as there are."""
    first, *others = np.array_split(rng.permutation(len(rows)), ROUNDS)
    taken = first
    for following in others:
        unsure = teacher.unsure(rows.take(taken), rows.take(following))
        taken = np.concatenate([taken, following[_practised(unsure, rng)]])
    return taken


def _practised(score: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) which rows to take, with replacement."""
    z = ((score - score.mean()) / max(float(score.std()), 1e-12)).clip(-CAP, CAP)
    weights = np.exp(z)
    return rng.choice(len(score), len(score), p=weights / weights.sum())
