"""What the search found, asked again: the best few are scored on rows that it has not seen, and one is chosen.

A search picks what did best on ``select``, partly by luck, and the more trials the more luck. So the finalists' models are
scored anew on ``confirm``, on samples of several seeds, the default recipe always among them; and that gives way only to a
recipe which is better by more than a standard error (the one-standard-error rule of Breiman et al. 1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from synth.data.schema import Schema
from synth.recipe import Recipe
from synth.sampling import Sampler
from tuning import insight
from tuning.kept import Kept
from tuning.objective import Objective, Score
from tuning.record import ENDING, Finalist, Scored, Study, Trial
from tuning.trial import name_of

FINALISTS, SEEDS = 5, 3
FIRST_SEED = 1_000  # of samples for confirm: others than those that were scored on select


class Found(NamedTuple):
    """A finalist: the trial, its model, a score on confirm for each seed."""

    trial: Trial
    kept: Kept
    scores: Sequence[Score]


def of(study: Study) -> list[Trial]:
    """Five at most: the default recipe, trained for longer or else as far as it came, even should it have failed later; the
    others that were trained for longer; the best other way to sample each of these; and the best that the search scored."""
    sound = insight.sound(study)
    usual = insight.default(study)
    others = [t for t in sound if t.origin == "longer" and t != usual]
    ways = [t for t in insight.ranked(study, sound) if t.origin == "sampling"]
    best = [next(t for t in ways if t.parent == parent) for parent in dict.fromkeys(t.parent for t in ways)]
    searched = [t for t in sound if t.origin not in ENDING and t != usual]
    return [*([usual] if usual else []), *others, *best, *insight.ranked(study, searched)][:FINALISTS]


def score(recipe: Recipe, kept: Kept, objective: Objective, seed: int, rows: int, threads: int) -> Score:
    """One sample of a model, of so many rows, scored; runs on the cluster."""
    import torch

    torch.set_num_threads(threads)
    rows = min(len(objective.train), rows)
    return objective(Sampler.of(recipe, kept.codec, kept.weights).table(rows, seed=FIRST_SEED + seed), seed)


def compared(found: Sequence[Found]) -> list[Finalist]:
    """The finalists, the best first, each with how far it is behind that and how sure this is: how much the difference
    varies over resamples of the rows, which are the same for all, and from draw to draw."""
    values = [float(np.mean([s.value for s in f.scores])) for f in found]
    resampled = [np.mean([s.resampled for s in f.scores], axis=0) for f in found]
    drawn = [float(np.var([s.value for s in f.scores], ddof=1)) / len(f.scores) for f in found]
    best = int(np.argmax(values))
    listed = []
    for k, one in enumerate(found):
        apart = 0.0 if k == best else float(np.nanvar(resampled[best] - resampled[k])) + drawn[best] + drawn[k]
        listed.append(
            Finalist(
                trial=one.trial.number, steps=one.kept.facts["step"],
                seconds=one.kept.facts["elapsed_s"], cpu_s=one.kept.facts["cpu_s"],
                scores=[Scored(**{name: getattr(s, name) for name in Scored.model_fields}) for s in one.scores],
                value=values[k], error=float(np.sqrt(np.nanvar(resampled[k]) + drawn[k])),
                behind=values[best] - values[k], behind_error=float(np.sqrt(apart)),
            )
        )  # fmt: skip
    return sorted(listed, key=lambda f: f.behind)


def choose(listed: Sequence[Finalist], usual: int | None) -> Finalist:
    """Of finalists, the best first: the best, unless the default recipe, whose trial is ``usual``, is as good within a
    standard error of the difference. It is marked, with the reason."""
    best = chosen = listed[0]
    default = next((f for f in listed if f.trial == usual), None)
    if default is None:
        chosen.why = f"the best of {len(listed)} finalists on confirm; of the default recipe there is no score"
    elif default is best:
        chosen.why = f"the default recipe, the best of {len(listed)} finalists on confirm"
    else:
        apart = f"{default.behind:.4f} ± {default.behind_error:.4f}"
        if default.behind > default.behind_error:
            chosen.why = f"the best of {len(listed)} finalists on confirm, {apart} above the default recipe"
        else:
            chosen = default
            chosen.why = f"the default recipe: trial {best.trial} is {apart} above it on confirm, no more than chance"
    chosen.released = True
    return chosen


def load(folder: str, trial: Trial, schema: Schema) -> Kept:
    """The model that a trial's last score is of; of a variant, its parent's."""
    return Kept.load(folder, name_of(trial.model), schema)
