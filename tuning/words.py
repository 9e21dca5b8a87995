"""A study in words, as the terminal and the report tell it."""

from __future__ import annotations

import math
from typing import Any

from synth.evaluation.charts import number
from synth.recipe import Recipe
from tuning import insight, space
from tuning.record import Finalist, Study, Trial

STATES = {
    "waiting": "○ waiting", "running": "◐ running", "stopped": "◼ stopped", "done": "● done", "failed": "✕ failed",
}  # fmt: skip
ELSEWHERE = 2.0  # ranges that a setting counts as away from the default, where it is not on the range at all


def clock(seconds: float) -> str:
    """Minutes and seconds, as in 3:07; what is below zero is none left."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def line(text: str) -> str:
    """On one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def defaults(study: Study) -> dict[str, space.Knobs]:
    """The default knobs of each family that was tried, with what was set for the study."""
    base = Recipe.check(study.recipe)
    families = sorted({trial.family for trial in study.trials} & set(space.TABLES))
    return {family: space.knobs_of(space.recipe_of(base, {"family": family})) for family in families}


def differing(knobs: space.Knobs, usual: space.Knobs) -> dict[str, Any]:
    """The knobs that are not as usual, those first that are furthest from it on their range."""
    ranges = space.space(knobs["family"])

    def away(key: str) -> float:
        if key not in ranges or key not in usual:
            return ELSEWHERE
        return abs(ranges[key].unit(knobs[key]) - ranges[key].unit(usual[key]))

    changed = [key for key in knobs if key not in usual or knobs[key] != usual[key]]
    return {key: knobs[key] for key in sorted(changed, key=away, reverse=True)}


def setting(key: str, found: Any) -> str:
    """A knob in few characters, as in ``width 128``."""
    plain = isinstance(found, int | float) and not isinstance(found, bool)
    return f"{key.rpartition('.')[2]} {number(found) if plain else found}"


def settings(trial: Trial, usual: dict[str, space.Knobs], most: int | None = None) -> str:
    """The knobs in which a trial differs from its family's default, the furthest first, and no more than ``most``."""
    told = [setting(*knob) for knob in differing(trial.knobs, usual[trial.family]).items()]
    if not told:
        return "as the default"
    return ", ".join(told[:most]) + (f" and {len(told) - most} more" if most is not None and len(told) > most else "")


def value(trial: Trial) -> str:
    """The last value on select with its standard error from draw to draw, or a dash."""
    return "–" if trial.last is None else f"{trial.last.score.value:.4f} ± {trial.last.error:.4f}"


def counts(study: Study) -> str:
    """As in ``24 trials: 9 done, 12 stopped, 3 failed``."""
    states = [trial.state for trial in study.trials]
    told = [f"{states.count(state)} {state}" for state in ("done", "running", "stopped", "failed", "waiting")]
    return f"{plural(len(states), 'trial')}" + (": " if states else "") + ", ".join(t for t in told if t[:2] != "0 ")


def plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def name(finalist: Finalist) -> str:
    return f"trial {finalist.trial}"


def utility(finalist: Finalist) -> float:
    """The mean over the seeds of what models trained on its samples score, relative to those trained on real rows."""
    return sum(score.utility for score in finalist.scores) / len(finalist.scores)


def headline(study: Study) -> str:
    """The study in a sentence or two for somebody who will not read on: what came out, and how much it is worth."""
    chosen = insight.released(study)
    if chosen is not None:
        family = next(trial.family for trial in study.trials if trial.number == chosen.trial)
        return (
            f"Released: {name(chosen)} ({family}). Models trained on its samples reach {utility(chosen):.1%} of what models "
            f"trained on real rows do, on rows that the search did not see. {against_default(study, chosen)}"
        )
    if study.finalists:
        return f"{plural(len(study.finalists), 'finalist')} scored on confirm so far; none is released yet."
    best, default = insight.best(study), insight.default(study)
    if best is None or best.last is None:
        return f"No trial has been scored yet ({counts(study)})." if study.trials else "No trial has begun yet."
    told = (
        f"Nothing is released yet. The best of {plural(len(insight.scored(study)), 'scored trial')} so far is trial "
        f"{best.number} ({best.family}): models trained on its samples reach {best.last.score.utility:.1%} of what models "
        "trained on real rows do, on the rows that the search selects by, which flatters it."
    )
    if default is not None and default.last is not None and default is not best:
        told += f" The default recipe reaches {default.last.score.utility:.1%} there."
    return told


def against_default(study: Study, chosen: Finalist) -> str:
    """By how much the released finalist is better than the default recipe on confirm, beside the error of that."""
    default = insight.default_finalist(study)
    if default is None:
        return "The default recipe was not scored on confirm."
    if chosen.trial == default.trial:
        others = [f for f in study.finalists if f.trial != default.trial]
        best = max(others, key=lambda f: f.value, default=None)
        return "It is the default recipe" + (
            "." if best is None else f": the best other, {name(best)}, {_gap(best, chosen)}."
        )
    return f"It {_gap(chosen, default)} on confirm."


def _gap(ours: Finalist, theirs: Finalist) -> str:
    gap, error = ours.value - theirs.value, math.hypot(ours.error, theirs.error)
    if 0 in (ours.behind, theirs.behind):  # the best finalist: on the same rows, the error of the difference is known
        error = max(ours.behind_error, theirs.behind_error)
    way = "better" if gap >= 0 else "worse"
    than = f"by {abs(gap):.4f} ± {error:.4f} (one standard error)"
    if abs(gap) <= error:
        return f"is not told apart from the default recipe: {way} {than}"
    return f"is {way} than the default recipe {than}"


def optimism(study: Study) -> str:
    """The difference between the value where the released trial was chosen and where it was looked at once."""
    if study.released is None:
        return "Not known yet: test is looked at once, when the release is made."
    select, test = study.released["select"], study.released["test"]
    told = (
        f"On select, where it was chosen, its value was {select:.4f}; on test, looked at once and after all decisions, it is "
        f"{test:.4f}: "
    )
    if select >= test:
        return told + f"the search flattered it by {select - test:.4f}."
    return told + f"it did better by {test - select:.4f} where nothing was chosen, so the search did not flatter it."
