"""What is asked of a release: rows that meet conditions, classes in given shares, an event more often than it comes.

All three are kinds of rows in given shares: one kind for a condition, one a class, or the event and whatever comes; where a
condition has alternatives (see ``Codec.ways``), each of them, in proportion to its probability. How likely each kind is
under the model is estimated from a small batch before anything is drawn, so a condition that is too rare is refused at
once, and every drawn row gets the weight that makes it stand for the model again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from synth import balance as balances
from synth.balance import Balance
from synth.data import conditions
from synth.data.codec import Codec
from synth.data.conditions import Conditions, Where
from synth.errors import UserError
from synth.generators.base import Draw

RAREST = 1e-6  # what has less than this chance, the model has not learnt from the rows of any table it is meant for
PROBES = 512
MOST_BOOSTED = 0.9  # share of the rows that show the event: the others still say what there is besides
Quality = Literal["best", "fast"]


@dataclass(frozen=True)
class Chance:
    """An estimated probability and its standard error."""

    mean: float
    error: float

    def __str__(self) -> str:
        once = f"1 row in {1 / self.mean:,.0f}" if self.mean > 0 else "no row"
        return f"{_percent(self.mean)} ± {_percent(1.96 * self.error)} of the model's rows, {once}"

    def of(self, whole: Chance) -> Chance:
        """The probability of this given what ``whole`` is the probability of, estimated apart (delta method)."""
        ratio = min(self.mean / whole.mean, 1.0)
        return Chance(ratio, ratio * math.hypot(self.error / self.mean, whole.error / whole.mean))


@dataclass(frozen=True)
class Request:
    """Kinds of rows: ``kinds[j]`` is what the j-th meets and ``shares[j]`` its share of the rows that are drawn.

    A row weighs ``weights[j]`` where ``weighed[j]`` is the first of these conditions that it meets; None: all rows weigh the
    same, and no weight is written. ``key`` tells this request from others and ``told`` are sentences on it. Rows of a
    ``fast`` one, of which nothing else is asked, are drawn by the release's student.
    """

    kinds: tuple[Conditions, ...]
    shares: tuple[float, ...]
    weights: tuple[float, ...] | None
    key: str
    told: tuple[str, ...] = ()
    fast: bool = False
    weighed: tuple[Conditions, ...] = ()

    def drawn(self, rows: int, draw: Draw) -> np.ndarray:
        """(rows) int64, the kind of each; their shares are met to within a row."""
        point = draw.stratified(rows, 1)[:, 0].double().cpu().numpy()
        return np.searchsorted(np.cumsum(self.shares), point).clip(max=len(self.shares) - 1)

    def weigh(self, batch: pa.RecordBatch, codec: Codec) -> pa.RecordBatch:
        """With the column of weights, if there is one."""
        if self.weights is None:
            return batch
        met = np.stack([codec.meets(batch, one) for one in self.weighed])
        column = pa.array(np.asarray(self.weights)[met.argmax(0)])
        name = weight_column(codec)
        return pa.RecordBatch.from_arrays([*batch.columns, column], [*batch.schema.names, name])

    def schema(self, codec: Codec) -> pa.Schema:
        """Of the batches that ``weigh`` returns."""
        schema = codec.table.arrow()
        return schema if self.weights is None else schema.append(pa.field(weight_column(codec), pa.float64()))


def weight_column(codec: Codec) -> str:
    """``_weight``, or longer where the table has such a column."""
    name = "_weight"
    while name in codec.table.names:
        name += "_"
    return name


class Found(NamedTuple):
    """The alternatives of a condition, each with its share of the rows that meet it, and how likely that is."""

    ways: list[Conditions]
    shares: np.ndarray
    chance: Chance


def _find(codec: Codec, chance: Callable[[Conditions, int], Chance], asked: Conditions, rows: int) -> Found:
    """By so many rows for each alternative."""
    ways = codec.ways(asked)
    each = [chance(way, rows) for way in ways]
    means = np.array([one.mean for one in each])
    shares = means / means.sum() if means.any() else np.full(len(ways), 1 / len(ways))
    return Found(ways, shares, Chance(float(means.sum()), math.hypot(*(one.error for one in each))))


def _certain(asked: Conditions) -> Found:
    """Of what has no alternatives, nor is there a need to know how likely it is."""
    return Found([asked], np.ones(1), Chance(1.0, 0.0))


def ask(
    codec: Codec,
    chance: Callable[[Conditions, int], Chance],
    *,
    where: Where | None = None,
    balance: Balance | None = None,
    rare: Where | None = None,
    boost: float = 1.0,
) -> Request | None:
    """The request, None where nothing is asked; ``chance(conditions, rows)`` estimates a probability from so many rows.

    Raises UserError for what cannot be understood, what no training row can be, and what the model has too rarely.
    """
    with _blamed("where"):
        asked = conditions.parse(where, codec.table)
        codec.asked(asked)  # says what is impossible before any network is run
    if balance is not None and rare is not None:
        raise UserError("--balance and --rare both say how often rows are drawn: give one of them")
    if rare is None and boost != 1:
        raise UserError(f"--boost {boost:g}: of which event? write one, such as --rare 'capital.gain>50000'")
    if rare is not None:
        with _blamed("rare"):
            return _boosted(codec, chance, asked, conditions.parse(rare, codec.table), boost)
    if balance is not None:
        with _blamed("balance"):
            return _balanced(codec, chance, asked, balance)
    if not asked:
        return None
    with _blamed("where"):
        found = _find(codec, chance, asked, PROBES)
        told = (f"{describe(asked)}: {_frequent(found.chance, asked)}",)
    return Request(tuple(found.ways), tuple(found.shares), None, key(found.ways), told)


@contextmanager
def _blamed(part: str) -> Iterator[None]:
    """What is wrong within is wrong with this part of the request."""
    try:
        yield
    except UserError as e:
        e.part = part
        raise


def describe(asked: Conditions) -> str:
    return " and ".join(map(str, asked.values()))


def key(kinds: Sequence[Conditions], *rest: object) -> str:
    """The same in every process, and for a condition however it was written."""
    asked = [sorted((name, wanted.key) for name, wanted in kind.items()) for kind in kinds]
    return hashlib.sha256(repr((asked, *rest)).encode()).hexdigest()[:16]


def _frequent(found: Chance, asked: Conditions) -> Chance:
    """UserError for what the model hardly ever has."""
    if found.mean + 1.96 * found.error < RAREST:
        raise UserError(
            f"{describe(asked)}: too rare: {found}, fewer than the model can have learnt from (1 in {1 / RAREST:,.0f}); "
            "ask for less at once"
        )
    return found


def _boosted(
    codec: Codec, chance: Callable[[Conditions, int], Chance], where: Conditions, event: Conditions, boost: float
) -> Request:
    """Importance sampling by a defensive mixture: a share λ of the rows is drawn from the event, the others from all.

    With P the event's probability, λ = P (boost − 1) / (1 − P) makes it boost · P of the rows. The ratio of densities
    p(x) / (λ p(x | event) + (1 − λ) p(x)) is 1 / boost within the event and 1 / (1 − λ) outside of it, so no weight is
    above 1 / (1 − λ) (Hesterberg 1995, "Weighted average importance sampling and defensive mixture distributions").
    """
    if not boost >= 1 or not math.isfinite(boost):
        raise UserError(
            f"--boost {boost:g}: how many times as often the event is drawn: a number from 1 on, such as 20"
        )
    both = conditions.together(where, event)
    if both == where:
        raise UserError("--rare names no event: write a condition, such as --rare 'capital.gain>50000'")
    codec.asked(both)
    rare, usual = _find(codec, chance, both, 4 * PROBES), _certain(where)
    found = _frequent(rare.chance, both)
    if where:
        usual = _find(codec, chance, where, 4 * PROBES)
        found = found.of(usual.chance)
    p = found.mean
    if boost * p > MOST_BOOSTED:
        raise UserError(
            f"--boost {boost:g}: {describe(event)} has a probability of {_percent(p)}, so it can be drawn at most "
            f"{max(MOST_BOOSTED / p, 1):.3g} times as often (in {MOST_BOOSTED:.0%} of the rows)"
        )
    share = p * (boost - 1) / (1 - p)
    weights = (1 / boost, 1 / (1 - share))
    size = boost * p * weights[0] ** 2 + (1 - boost * p) * weights[1] ** 2
    told = (
        f"{describe(event)}: probability {_percent(p)}, 95 % confidence interval {_percent(max(p - 1.96 * found.error, 0))} "
        f"to {_percent(min(p + 1.96 * found.error, 1))}; drawn in {_percent(boost * p)} of the rows",
        f"each row counts for its {weight_column(codec)}: {weights[0]:.4g} with the event, {weights[1]:.4g} without; the "
        f"effective sample size is {1 / size:.1%} of the rows",
    )  # fmt: skip
    shares = (*(share * rare.shares), *((1 - share) * usual.shares))
    asked = key([where, event], float(boost))
    return Request((*rare.ways, *usual.ways), shares, weights, asked, told, weighed=(both, where))


def _balanced(
    codec: Codec, chance: Callable[[Conditions, int], Chance], where: Conditions, balance: Balance
) -> Request:
    """Classes in given shares. A row's weight is the class's true share, in the training rows or under the condition by
    the model, over its drawn one."""
    name, shares = balances.classes(codec, where, balance)
    column, text = codec.table[name], f"--balance {name}"
    kinds = [conditions.together(where, {name: conditions.equal(column, value, f"{name}={value}")}) for value in shares]
    if where:
        each = max(4 * PROBES // len(kinds), 32)
        found = [_find(codec, chance, kind, each) for kind in kinds]
        true = np.array([one.chance.mean for one in found])
        _frequent(Chance(float(true.sum()), 0.0), where)
    else:
        found = [_certain(kind) for kind in kinds]  # classes by themselves have no alternatives
        true = balances.counts(codec, name, list(shares))
    true, drawn = true / true.sum(), np.array(list(shares.values()))
    weights = true / drawn
    told = (
        f"{text}: " + ", ".join(f"{k} {_percent(t)} → {_percent(d)}" for k, t, d in zip(shares, true, drawn, strict=True)),
        f"each row counts for its {weight_column(codec)}, the class's true share over its drawn one; the effective sample "
        f"size is {1 / (drawn * weights**2).sum():.1%} of the rows",
    )  # fmt: skip
    ways = tuple(way for one in found for way in one.ways)
    parts = np.concatenate([share * one.shares for share, one in zip(drawn, found, strict=True)])
    return Request(ways, tuple(parts), tuple(weights), key([where], name, shares), told, weighed=tuple(kinds))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
