"""What past studies teach about a new table: the recipes to start with, those to try next, and what to expect of them.

Scores of different data sets do not compare, ranks within each do. A recipe's rank on a data set is what was measured there
or, where it was not run, the surrogate's prediction. The start is a greedy portfolio: each next recipe is that which most
lowers the mean over data sets of the best rank so far (Wistuba, Schilling, Schmidt-Thieme, DSAA 2015; auto-sklearn 2.0,
Feurer et al., JMLR 2022, algorithm 1), data sets like the new one counting most. What is tried after it has the best bound
(mean less deviation) under a Gaussian process whose mean is what the data sets predict and which learns the rest from this
study's own results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from synth.evaluation.intervals import NORMAL_95
from synth.recipe import Recipe
from tuning import space
from tuning.distances import Floats, kernel, weights
from tuning.memory import Past
from tuning.record import Origin
from tuning.surrogate import Surrogate, rank_of

TRUST = 0.5  # in a measured rank, against the predicted one, which has less noise and more bias
BEST = 8  # recipes of each data set that a portfolio is chosen from
DRAWN, VARIED = 256, 256  # recipes that are thought of: drawn from the space, and varied from good ones
CHANGE = 0.3  # share of the knobs in which a varied one differs
UNKNOWN = 12**-0.5  # deviation of a rank of which nothing is known
PLACES = 9  # on the range of a knob, to see how much it matters
SHOWN = 3  # data sets, and knobs, that a recommendation names
BOLD = 0.5  # deviations by which the unknown is preferred

Told = tuple[space.Knobs, float]
"""A recipe of this study and its value, not a number where it failed."""


@dataclass(frozen=True)
class Suggestion:
    """A recipe to try, whose idea it was, why, and what is expected of it: value and standard error."""

    knobs: space.Knobs
    origin: Origin
    why: str
    expected: tuple[float, float] | None


@dataclass(frozen=True)
class Recommendation:
    """The recipe to start with and, without training, what is known of it. ``near``: the meta-features of the remembered
    data sets that count most, and their weights; ``matters``: by how much the expected rank, from 0 to 1, would get worse if
    a knob were drawn at random, the greatest first."""

    suggestion: Suggestion
    near: list[tuple[float, dict[str, float]]]
    matters: dict[str, float]

    def reasons(self) -> list[str]:
        """Sentences that say why."""
        found = [f"The recipe is {self.suggestion.why}."]
        if self.near:
            like = "; ".join(f"{_told_of(features)} ({weight:.0%} of the weight)" for weight, features in self.near)
            found.append(f"Those most like this one: {like}.")
        if most := [(key, loss) for key, loss in self.matters.items() if loss > 0][:SHOWN]:
            what = ", ".join(f"{key}={self.suggestion.knobs[key]} ({loss:.0%})" for key, loss in most)
            found.append(
                f"What matters most, and the share of recipes that would pass it were it drawn at random: {what}."
            )
        if self.suggestion.expected:
            value, error = self.suggestion.expected
            found.append(
                f"Its score is expected to be {value:.3f} ± {NORMAL_95 * error:.3f}, where 1 is as good as real rows."
            )
        return found


class Prior:
    """What is known of one new table before its first trial.

    ``features`` are the new table's, ``seconds`` how long a trial of it is trained to the end; ``fixed`` are settings by
    dotted key that every recipe must have.
    """

    def __init__(
        self,
        pasts: Sequence[Past],
        features: Mapping[str, float],
        families: Sequence[str],
        *,
        seconds: float,
        fixed: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.pasts = [past for past in pasts if any(trial.curve for trial in past.trials)]
        self.features, self.families, self.seconds, self.seed = dict(features), list(families), seconds, seed
        self.fixed = dict(fixed or {})
        self.weights = weights([past.features for past in self.pasts], features)

    @cached_property
    def surrogate(self) -> Surrogate | None:
        """None where nothing is remembered."""
        return Surrogate(self.pasts, seed=self.seed) if self.pasts else None

    def portfolio(self, count: int, *, among: Sequence[space.Knobs] | None = None) -> list[Suggestion]:
        """The recipes to start with, in their order; without a memory the families' defaults, and no more than those.

        ``among``: the recipes to choose from, instead of the best of every data set and the defaults.
        """
        candidates = self._candidates() if among is None else list(among)
        if self.surrogate is None:
            why = "the default of its family: nothing is remembered yet"
            return [Suggestion(knobs, "default", why, None) for knobs in candidates[:count]]
        matrix = self.on_pasts(candidates)
        best, chosen = np.ones(len(self.pasts)), list[int]()
        while len(chosen) < min(count, len(candidates)):
            gain = self.weights @ np.minimum(best[:, None], matrix)
            gain[chosen] = np.inf
            # Where nothing is left to gain, the best by itself.
            chosen.append(int(np.lexsort((self.weights @ matrix, gain))[0]))
            best = np.minimum(best, matrix[:, chosen[-1]])
        means = self.weights @ matrix
        return self._suggested([candidates[k] for k in chosen], "portfolio", means[chosen])

    def propose(
        self,
        rng: np.random.Generator,
        count: int,
        told: Sequence[Told],
        *,
        running: Sequence[space.Knobs] = (),
        among: Sequence[space.Knobs] | None = None,
    ) -> list[Suggestion]:
        """What to try next, knowing this study's results, and those that are ``running``. ``among``: the recipes to choose
        from, instead of many drawn from the families' spaces and varied from the best. Fewer than ``count`` where there are
        no more."""
        candidates = self._thought(rng, told) if among is None else list(among)
        tried = [knobs for knobs, _ in told]
        known = {_key(knobs) for knobs in (*tried, *running)}
        candidates = [knobs for knobs in candidates if _key(knobs) not in known]
        if not candidates:
            return []
        everything = [*tried, *running, *candidates]
        mean, error = self.expected_ranks(everything)
        alike, seen = kernel(everything), list(range(len(tried)))
        if told:
            shift = matched([value for _, value in told], mean[seen]) - mean[seen]
            mean = mean + alike[:, seen] @ np.linalg.solve(alike[np.ix_(seen, seen)] + np.eye(len(seen)), shift)
        # What waits for its result counts as if it had come out as expected, so that proposals differ (Desautels, Krause,
        # Burdick, JMLR 2014).
        at = list(range(len(everything) - len(candidates)))
        chosen = list[int]()
        while len(chosen) < min(count, len(candidates)):
            inverse = np.linalg.inv(alike[np.ix_(at, at)] + np.eye(len(at)))
            unknown = 1 - np.einsum("ij,jk,ik->i", alike[:, at], inverse, alike[:, at])
            bound = mean - BOLD * error * np.sqrt(np.maximum(unknown, 0))
            bound[at] = np.inf
            chosen.append(int(np.argmin(bound)))
            at.append(chosen[-1])
        return self._suggested([everything[k] for k in chosen], "surrogate", mean[chosen])

    def recommend(self) -> Recommendation:
        """The recipe to start with, why, and what it is expected to reach; nothing is trained."""
        first = self.portfolio(1)[0]
        order = np.argsort(-self.weights, kind="stable")[:SHOWN]
        near = [(float(self.weights[k]), self.pasts[k].features) for k in order]
        return Recommendation(first, near, {} if self.surrogate is None else self._matters(first.knobs))

    def on_pasts(self, knobs: Sequence[space.Knobs]) -> Floats:
        """float64 (data sets, n): ranks on the remembered data sets."""
        assert self.surrogate is not None
        found = self.surrogate.ranks([past.features for past in self.pasts], knobs, self.seconds)
        column = {_key(k): j for j, k in enumerate(knobs)}
        for row, past in zip(found, self.pasts, strict=True):
            measured = rank_of(values := [trial.value for trial in past.trials], values)
            for trial, rank in zip(past.trials, measured, strict=True):
                if (j := column.get(_key(trial.knobs))) is not None:
                    row[j] += TRUST * (rank - row[j])
        return found

    def expected_ranks(self, knobs: Sequence[space.Knobs]) -> tuple[Floats, float]:
        """float64 (n,): ranks on the new table, half from the data sets that are like it and half from what the surrogate
        makes of its features; and their standard error. All alike without a memory."""
        if self.surrogate is None:
            return np.full(len(knobs), 0.5), UNKNOWN
        here = self.surrogate.ranks([self.features], knobs, self.seconds)[0]
        return (self.weights @ self.on_pasts(knobs) + here) / 2, self.surrogate.rank_error

    def expected(self, knobs: Sequence[space.Knobs]) -> list[tuple[float, float] | None]:
        """Value and standard error after ``seconds`` of training; None without a memory."""
        if self.surrogate is None:
            return [None] * len(knobs)
        return [
            (float(v), float(e))
            for v, e in zip(*self.surrogate.values(self.features, knobs, self.seconds), strict=True)
        ]

    def _candidates(self) -> list[space.Knobs]:
        """The families' defaults, and the best recipes of every data set."""
        found = [_default(family) for family in self.families]
        for past in self.pasts:
            trials = [trial for trial in past.trials if trial.family in self.families and not trial.failed]
            found += [trial.knobs for trial in sorted(trials, key=lambda trial: -trial.value)[:BEST]]
        return list({_key(knobs): knobs for knobs in map(self._fixed, found)}.values())

    def _thought(self, rng: np.random.Generator, told: Sequence[Told]) -> list[space.Knobs]:
        """Recipes of the families' spaces, and varied from the best of this study and of the others."""
        good = self._candidates()
        mean, _ = self.expected_ranks(good)
        good = [good[k] for k in np.argsort(mean, kind="stable")[:BEST]]
        good += [
            self._fixed(knobs) for knobs, _ in sorted(told, key=lambda t: -np.nan_to_num(t[1], nan=-np.inf))[:BEST]
        ]
        drawn = [space.random_knobs(self.families[k % len(self.families)], rng) for k in range(DRAWN)]
        for k in range(VARIED):
            near = good[k % len(good)]
            drawn.append(near | space.random_knobs(near["family"], rng, near=near, change=CHANGE))
        return [*good, *map(self._fixed, drawn)]

    def _fixed(self, knobs: space.Knobs) -> space.Knobs:
        """All knobs of the family, with those that are fixed."""
        default = _default(knobs["family"])
        return default | knobs | {key: value for key, value in self.fixed.items() if key in default}

    def _suggested(self, knobs: list[space.Knobs], origin: Origin, ranks: Floats) -> list[Suggestion]:
        n = len(self.pasts)
        why = (
            f"expected better than {{:.0%}} of the recipes tried on {n} remembered data set{'s'[: n > 1]}"
            if n
            else "drawn, and varied from the best so far: nothing is remembered yet"
        )
        return [
            Suggestion(k, origin, why.format(1 - rank), expected)
            for k, rank, expected in zip(knobs, ranks, self.expected(knobs), strict=True)
        ]

    def _matters(self, knobs: space.Knobs) -> dict[str, float]:
        assert self.surrogate is not None
        ranges = space.space(knobs["family"], fixed=list(self.fixed))
        if not ranges:
            return {}
        units = (np.arange(PLACES) + 0.5) / PLACES
        varied = [knobs | {key: range_.value(float(unit))} for key, range_ in ranges.items() for unit in units]
        here, *others = self.surrogate.ranks([self.features], [knobs, *varied], self.seconds)[0]
        losses = np.reshape(others, (len(ranges), PLACES)).mean(axis=1) - here
        return dict(sorted(zip(ranges, losses.tolist(), strict=True), key=lambda item: -item[1]))


def matched(values: Sequence[float], ranks: Floats) -> Floats:
    """This study's values as ranks: the best gets the best of the ranks that were expected of the same recipes, and so on,
    so that only their order speaks, which is all that compares between data sets. Equal ones get the mean of theirs."""
    at = rank_of(values, values) * len(values) - 0.5
    return np.interp(at, np.arange(len(values)), np.sort(ranks))


def _told_of(features: Mapping[str, float]) -> str:
    rows, columns = round(np.exp(features["log_rows"])), round(np.exp(features["log_columns"]))
    numbers, classes = round(features["numerical"] * columns), round(np.exp(features["log_classes"]))
    aim = "a number to predict" if features["regression"] else f"{classes} classes to predict"
    return f"{rows:,} rows × {columns} columns, {numbers} of them numbers, {aim}"


def _default(family: str) -> space.Knobs:
    return space.knobs_of(Recipe.read(None, {"family": family}))


def _key(knobs: space.Knobs) -> str:
    return json.dumps(knobs, sort_keys=True)
