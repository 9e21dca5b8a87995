"""Recipes outside the hand-written space, bred from the best of a study: generators that design generators.

Regularised evolution (Real et al., AAAI 2019, arXiv 1802.01548, algorithm 1): parents win a tournament among the youngest
recipes, so that one that was lucky once dies out; their children take some knobs from another winner and have others mutated,
beyond the ranges of ``tuning.space`` and in knobs that are not searched there, within what the recipe allows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import reduce
from typing import Any

import numpy as np

from synth.errors import UserError
from synth.ranges import Choice, Number, Range
from synth.recipe import Recipe
from tuning import space
from tuning.prior import Prior, Suggestion, Told

POPULATION, TOURNAMENT = 24, 6
CROSSED, SHARE = 0.5, 0.3  # how often a child has two parents, and the share of the knobs that come from the second
MUTATED = 2  # knobs of a child that mutate, on average
STEP = 0.25  # deviation of a mutation, of the range of the knob
PATIENCE = 20  # litters for each child, of which all but one may have been tried before
LITTER = 8  # children of which the surrogate picks one

_MORE: dict[str, Range] = {
    "training.warmup": Number(30, 300, log=True, whole=True),
    "training.beta2": Choice((0.95, 0.99, 0.999)),
    "training.clip": Number(0.3, 30, log=True),
}
MORE: dict[str, dict[str, Range]] = {
    "diffusion": _MORE | {"diffusion.expansion": Choice((1, 2, 3, 4)), "diffusion.target_shown": Number(0.1, 0.5)},
    "gan": _MORE | {"gan.expansion": Choice((1, 2, 3, 4)), "gan.spectral": Choice((False, True))},
    "vae": _MORE | {"vae.expansion": Choice((1, 2, 3, 4)), "vae.free_bits": Number(0.0, 0.1)},
}
"""Knobs that mutate besides those that are searched: the range is where the first mutations lie."""


def evolve(
    rng: np.random.Generator,
    told: Sequence[Told],
    count: int,
    *,
    prior: Prior | None = None,
    fixed: Collection[str] = (),
) -> list[Suggestion]:
    """Children of this study's recipes, the oldest of ``told`` first; none before a recipe has a score, and fewer than
    ``count`` where so many are fixed that few others can be.

    ``prior``: picks each child from a litter, by the rank that it expects; of what lies beyond the ranges it knows as much
    as of their ends. ``fixed``: keys that do not mutate.
    """
    scored = [(knobs, value) for knobs, value in told if not math.isnan(value)][-POPULATION:]
    if not scored:
        return []
    known, found = [knobs for knobs, _ in told], list[Suggestion]()
    for _ in range(PATIENCE * count):
        if len(found) == count:
            break
        litter = [_child(rng, scored, fixed) for _ in range(LITTER if prior else 1)]
        litter = [(child, parent) for child, parent in litter if child not in known]
        if not litter:
            continue
        pick = int(np.argmin(prior.expected_ranks([child for child, _ in litter])[0])) if prior else 0
        child, parent = litter[pick]
        known.append(child)
        changed = [f"{key}={value}" for key, value in child.items() if parent.get(key) != value]
        expected = prior.expected([child])[0] if prior else None
        found.append(Suggestion(child, "mutation", f"a child of one of the best, with {', '.join(changed)}", expected))
    return found


def mutated(range_: Range, value: Any, rng: np.random.Generator) -> Any:
    """A value some way from this one, which may lie beyond the range."""
    unit = range_.unit(value) + STEP * rng.standard_normal()
    if isinstance(range_, Number):
        low, high = (math.log(v) if range_.log else v for v in (range_.low, range_.high))
        found = low + unit * (high - low)
        found = math.exp(found) if range_.log else found
        return round(found) if range_.whole else float(f"{found:.3g}")
    last = len(range_.options) - 1
    at = round(unit * last)
    if 0 <= at <= last or type(range_.options[0]) is not int:
        return range_.options[min(max(at, 0), last)]
    # Sizes go on as they rise, or fall, at the end: as many times as large, for each place beyond it.
    end, inner = (range_.options[0], range_.options[1]) if at < 0 else (range_.options[-1], range_.options[-2])
    return round(end * (end / inner) ** (-at if at < 0 else at - last))


def _child(rng: np.random.Generator, scored: Sequence[Told], fixed: Collection[str]) -> tuple[space.Knobs, space.Knobs]:
    """A recipe that is valid, and the parent it takes most from."""
    parent = _winner(rng, scored)
    family = parent["family"]
    genes = {key: r for key, r in (space.space(family) | MORE[family]).items() if key not in fixed}
    if not genes:
        raise UserError(f"every knob of {family} is fixed, so there is nothing to search: leave one of them open")
    child = dict(parent)
    relatives = [told for told in scored if told[0]["family"] == family]
    if rng.random() < CROSSED:
        other = _winner(rng, relatives)
        child |= {key: other[key] for key in genes if key in other and rng.random() < SHARE}
    whole = Recipe.read(None, child).suited(images=False)
    keys = [key for key in genes if rng.random() < MUTATED / len(genes)] or [list(genes)[rng.integers(len(genes))]]
    for key in keys:
        child[key] = _allowed(child, key, genes[key], reduce(getattr, key.split("."), whole), rng)
    return child, parent


def _allowed(knobs: space.Knobs, key: str, range_: Range, value: Any, rng: np.random.Generator) -> Any:
    """A mutation that the recipe allows."""
    while True:
        found = mutated(range_, value, rng)
        try:
            Recipe.read(None, knobs | {key: found}).suited(images=False)
        except UserError:
            continue
        return found


def _winner(rng: np.random.Generator, scored: Sequence[Told]) -> space.Knobs:
    """The best of a few at random."""
    drawn = rng.choice(len(scored), min(TOURNAMENT, len(scored)), replace=False)
    return scored[max(drawn, key=lambda k: scored[k][1])][0]
