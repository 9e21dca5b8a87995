"""What a study teaches, in sentences: how long this data and this generator bear to learn from themselves."""

from __future__ import annotations

import numpy as np

from synth.collapse.measures import FIGURES
from synth.collapse.policies import CONTROL, Policy
from synth.collapse.record import Curve, Study

BORNE = 0.02  # of what generation 0 was, that may be lost
HEADLINES = ("utility", "coverage")  # by the first of them that was measured


def headline(study: Study) -> str:
    """The figure that lessons are about."""
    for name in HEADLINES:
        if any(study.curve(policy, name) is not None for policy in study.asked.policies):
            return name
    return HEADLINES[-1]


def kept(study: Study, policy: str) -> Curve | None:
    """The headline figure over that of generation 0 of the same seed; None where nothing is known, or generation 0 had
    nothing to lose."""
    curve = study.curve(policy, headline(study))
    if curve is None or not (curve.values[:, 0] > 0).all():
        return None
    return Curve(curve.values / curve.values[:, :1])


def borne(study: Study, policy: str) -> int | None:
    """The last generation before the first that has lost more than BORNE, by more than one standard error where there are
    several seeds."""
    course = kept(study, policy)
    if course is None:
        return None
    lost = np.flatnonzero(course.mean + np.nan_to_num(course.error) < 1 - BORNE)
    return int(lost[0]) - 1 if len(lost) else len(course.mean) - 1


def needed(study: Study) -> tuple[float | None, float] | None:
    """The largest share of real rows that is too small to bear all generations, and the smallest that is enough, of the
    policies that mix, 0 being to replace; a share with which a larger one fails is none that is enough. The former is None
    where none was tried that is too small; all of it, where none is enough."""
    enough = {}
    for text in study.asked.policies:
        policy = Policy.parse(text)
        if policy.kind in ("replace", "mix"):
            enough[policy.share or 0.0] = (borne(study, text) or 0) >= study.asked.generations
    good = [share for share in enough if all(fine for other, fine in enough.items() if other >= share)]
    if not good:
        return None
    return max((share for share in enough if share < min(good)), default=None), min(good)


def sentences(study: Study) -> list[str]:
    """For whoever decides: what is borne under each policy, how many real rows it takes, and what is chance."""
    figure, last = FIGURES[headline(study)].name, study.asked.generations
    lasting, failing = list[str](), list[str]()
    for policy in study.asked.policies:
        count, course = borne(study, policy), kept(study, policy)
        if count is None or course is None or policy == CONTROL:
            continue
        if count >= last:
            lasting.append(policy)
        else:
            failing.append(f"{policy} bears {count} of {last} ({course.mean[-1] - 1:+.1%} at the last)")
    said = list[str]()
    if failing:
        said.append(f"Within {BORNE:.0%} of the {figure} of generation 0: {'; '.join(failing)}.")
    if lasting:
        said.append(
            f"All {last} generations keep within {BORNE:.0%} of the {figure} of generation 0 under {_listed(lasting)}."
        )
    if (lasting or failing) and any(Policy.parse(text).kind == "mix" for text in study.asked.policies):
        said.append(_share(study))
    control, count = kept(study, CONTROL), borne(study, CONTROL)
    if control is not None and len(control.mean) > 1:
        said.append(
            f"Fitted anew to the same real rows each time, it strays by {np.abs(control.mean - 1).max():.1%} at most and bears "
            f"{count} of {last}: so much is chance."
        )
    return said


def _share(study: Study) -> str:
    found = needed(study)
    if found is None:
        return "None of the shares of real rows that were tried is enough for that."
    low, high = found
    if high == 0:
        return "No real rows are needed for that."
    if low is None:
        return f"A share of real rows of {100 * high:g} % is enough for that; none was tried that is too small."
    return f"A share of real rows of {100 * low:g} % is too small for that, and {100 * high:g} % is enough."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
