"""Feedback of a model of the real world: what it says of a release's own rows is what the release learns from next.

Each offer is a copy of the generator that has learnt from real rows and as many rows of its own:

``targets``  own rows whose targets are drawn anew. Where the model rewards a target by its log chance r(x, y), and leaving
             the release p₀ costs a penalty β KL(p ‖ p₀), the best policy is p(y | x) ∝ p₀(y | x) exp(r(x, y) / β) (as of any
             reward: Korbak et al. 2022, arXiv 2205.11275). p₀ is what boosted trees learn of the release's own rows, each from
             the others, and ``power`` is 1/β. Of numbers both are normal about what trees, and the model, predict. No gradient
             of the model is asked for.
``practice`` own rows that a learner of them does not yet know: one that has learnt from those so far chooses among the next,
             by how little it is sure of each, learns from these, too, and so on (Askari-Hemmat et al. 2025, "Improving the
             Scaling Laws of Synthetic Data with Deliberate Practice", arXiv 2502.15588).
``entropy``, ``loss``, ``hardness``
             own rows drawn by exp(z), z the standard score of how little the model is sure of a row, how wrong it is, or how
             little chance it gives to the row's class (Hemmat et al. 2023, "Feedback-guided Data Synthesis for Imbalanced
             Classification", arXiv 2310.00158, whose criteria they are). Scores are cut at CAP, so that no row is drawn more
             than a few times as often as others.

What a model asks for is not what is real: so half of each batch are real rows, and an offer is taken only if models that learn
from its samples do better on real rows, twice, and these are neither covered less nor easier to tell apart. Rows without a
target are learnt from as they are.
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
from synth.training.refining.finetune import finetune, slowed
from synth.training.refining.ground import Ground, Offer, Offers, Usefulness, tensors
from synth.training.refining.teacher import Said, Teacher
from synth.training.workers import Progress

CRITERIA = ("targets", "practice", "entropy", "loss", "hardness")
ROUNDS = 4  # of practice, the first of which takes rows as they come
OF_NUMBERS = ("targets", "loss")
POWERS = (0.5, 1.0)
CAP = 2.0  # standard deviations
SLOWER = 0.1  # of the learning rate that the release was trained with


class Feedback(Usefulness):
    """The cure ``feedback``; ``model`` None: boosted trees that learn from the real rows first."""

    name = "feedback"

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
        """See ``Cure``. UserError for a table without a target, and where no criterion is of such a target."""
        recipe, codec, device = ground.recipe, ground.table.codec, ground.plain.device
        progress("asking the model", 0.0, {})
        teacher, rng = Teacher(ground.table, self.model, recipe.seed), np.random.default_rng(recipe.seed)
        names = [name for name in self.criteria if teacher.classes or name in OF_NUMBERS]
        if not names:
            raise UserError(
                f"--criterion {','.join(self.criteria)}: is of classes, and {teacher.target!r} is a number; criteria of "
                f"numbers: {', '.join(OF_NUMBERS)}"
            )
        if self.model is not None:
            ground.table.notes.append(
                f"feedback is of a model that was given ({type(self.model).__name__}): what it has learnt from is not known"
            )
        own = ground.own(progress)
        rows = pa.Table.from_batches([codec.decode(own)])
        judged = teacher.judges(rows)
        pools = dict[str, Encoded]()
        for name in names:
            if name == "targets":
                pools |= _targets(codec, rows, own, judged, teacher, rng)
            else:
                if name == "practice":
                    chosen = _rounds(teacher, rows, judged, rng)
                else:
                    chosen = judged[_practised(_score(teacher(rows.take(judged)), name), rng)]
                others = np.setdiff1d(np.arange(len(rows)), judged)
                pools[name] = Encoded(*(part[np.concatenate([chosen, others])] for part in own))
        real, found = tensors(ground.real(), device), list[Offer]()
        share = {} if length.budget_s is None else {"budget_s": length.budget_s / len(pools)}
        learning = slowed(recipe.training, length.model_copy(update=share), SLOWER)
        first = ground.parent.manifest.training.steps
        for name, pool in pools.items():
            copied, phase = copy.deepcopy(ground.plain.generator), f"learning from {name}"
            both = [real, tensors(pool, device)]
            taken, took = finetune(copied, both, learning, recipe.seed, progress, phase, first)
            found.append(Offer(name, recipe, copied.state_dict(), taken, took))
        return Offers(found, "feedback", "as it is", real=0.5)


def _targets(
    codec: Codec, rows: pa.Table, own: Encoded, judged: NDArray[np.intp], teacher: Teacher, rng: np.random.Generator
) -> dict[str, Encoded]:
    """All own rows, those that are ``judged`` with targets by each of POWERS; without rows that would break a constraint."""
    asked = rows.take(judged)
    said, prior = teacher(asked), teacher.prior(asked)
    others = np.setdiff1d(np.arange(len(rows)), judged)
    found = {}
    for power in POWERS:
        place = asked.schema.get_field_index(teacher.target)
        drawn = teacher.targets(said, prior, power, rng)
        [batch] = asked.set_column(place, asked.schema.field(place), drawn).combine_chunks().to_batches()
        fits = np.logical_and.reduce(
            [codec.encodable(batch), *(~marks for marks in codec.reduction.broken(batch).values())]
        )
        anew = codec.encode(batch.filter(pa.array(fits)))
        parts = [np.concatenate([new, old[others]]) for new, old in zip(anew, own, strict=True)]
        found[f"targets to the power {power:g}"] = Encoded(*parts)
    return found


def _score(said: Said, name: str) -> NDArray[np.float64]:
    if name == "entropy":
        return said.entropy
    return said.loss if name == "loss" else 1 - np.exp(-said.loss)


def _rounds(teacher: Teacher, rows: pa.Table, judged: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """Which of the rows ``judged`` practice has taken after ROUNDS of it, some several times; as many as there are."""
    taken, *others = np.array_split(rng.permutation(judged), ROUNDS)
    for following in others:
        unsure = teacher.unsure(rows.take(taken), rows.take(following))
        taken = np.concatenate([taken, following[_practised(unsure, rng)]])
    return taken


def _practised(score: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) which rows to take, with replacement."""
    z = ((score - score.mean()) / max(float(score.std()), 1e-12)).clip(-CAP, CAP)
    weights = np.exp(z)
    return rng.choice(len(score), len(score), p=weights / weights.sum())
