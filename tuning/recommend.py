"""The recipe that a study would begin with, and what it expects of it: by what is remembered, without training."""

from __future__ import annotations

import yaml

from cluster.machine import usable_cores
from synth.recipe import Recipe
from synth.training import prepare as preparing
from tuning import space
from tuning.ideas import Ideas, remembered
from tuning.plan import plan
from tuning.study import Wanted, begun, check


def recommend(data: object, recipe: Recipe, wanted: Wanted, *, test: object | None = None) -> str:
    """A recipe as YAML that ``artesian train --recipe`` takes, with the reasons as comments. UserError as of ``tune``."""
    check(recipe, wanted)
    base, recipe = recipe, recipe.resolved(test_apart=test is not None)
    spread = plan(wanted.budget_s, [(usable_cores(), 0)], workers=recipe.training.most, trials=wanted.trials)
    source = preparing.open_train(data, test, recipe)
    sources, schema = preparing.describe(source, test, recipe)
    rows = preparing.prepare(sources, schema, recipe)
    study = begun(recipe, base, wanted, rows, {})
    found = Ideas(study, spread, wanted.families, space.settings(base), remembered(wanted.store)).recommend()
    document = space.recipe_of(base, found.suggestion.knobs).model_dump(exclude_unset=True)
    return (
        "".join(f"# {line}\n" for line in found.reasons())
        + yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip()
    )
