"""The recipe that a study would begin with, and what it expects of it: by what is remembered, without training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import yaml

from cluster.machine import usable_cores
from synth.recipe import Recipe
from synth.training import prepare as preparing
from tuning import space
from tuning.ideas import Ideas, remembered
from tuning.plan import plan
from tuning.prior import Recommendation
from tuning.study import Wanted, begun, check

MATTER = 5  # knobs that are said to matter most


def recommend(data: object, recipe: Recipe, wanted: Wanted, *, test: object | None = None) -> str:
    """A recipe as YAML that ``artesian train --recipe`` takes, with the reasons as comments. UserError as of ``tune``."""
    check(recipe, wanted)
    base, recipe = recipe, recipe.resolved(test_apart=test is not None)
    spread = plan(wanted.budget_s, cpus=usable_cores(), workers=recipe.training.most, trials=wanted.trials)
    source = preparing.open_train(data, test, recipe)
    sources, schema = preparing.describe(source, test, recipe)
    rows = preparing.prepare(sources, schema, recipe)
    study = begun(recipe, base, wanted, rows, {})
    found = Ideas(study, spread, wanted.families, space.settings(base), remembered(wanted.store)).recommend()
    document = space.recipe_of(base, found.suggestion.knobs).model_dump(exclude_unset=True)
    comments = "".join(f"# {line}\n" for line in why(found, study.features))
    return comments + yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip()


def why(found: Recommendation, features: Mapping[str, float]) -> list[str]:
    """What there is to say of a recommendation, a line each."""
    first = found.suggestion
    lines = [f"{first.knobs['family']}: {first.why}"]
    if first.expected is not None:
        value, error = first.expected
        lines.append(
            f"expected: models trained on its samples are worth {value:.3f} ± {error:.3f} of those trained on real rows, "
            "less penalties for rows left uncovered or copied"
        )
    lines.append(f"this table: {described(features)}")
    lines += [f"like it, by {weight:.0%}: {described(near)}" for weight, near in found.near]
    if found.matters:
        told = ", ".join(f"{key} {loss:+.3f}" for key, loss in list(found.matters.items())[:MATTER])
        lines.append(f"drawn at random, a knob would cost of the rank (0 to 1): {told}")
    return lines


def described(features: Mapping[str, float]) -> str:
    """A table by its meta-features, as a person would."""
    rows, columns = (round(math.exp(features[f"log_{what}"])) for what in ("rows", "columns"))
    kind = "regression" if features["regression"] else "classification"
    return f"{kind} of {rows:,} rows and {columns} columns, {features['categorical']:.0%} of them categorical"
