"""What is asked of a release: rows that meet conditions, classes in given shares, an event more often than it comes.

All three are kinds of rows in given shares: one kind for a condition, one a class, or the event and whatever comes. How
likely each kind is under the model is estimated from a small batch before anything is drawn, so a condition that is too
rare is refused at once, and every drawn row gets the weight that makes it stand for the model again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from synth.data import conditions
from synth.data.categories import Categories
from synth.data.codec import Codec
from synth.data.conditions import Conditions, Wanted, Where
from synth.errors import UserError
from synth.generators.base import Draw

RAREST = 1e-6  # what has less than this chance, the model has not learnt from the rows of any table it is meant for
PROBES = 512
MOST_BOOSTED = 0.9  # share of the rows that show the event: the others still say what there is besides
Balance = str | Mapping[str, Mapping[str, float]]
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

    A row weighs ``weights[j]`` where j is the first kind that it meets; None: all rows weigh the same, and no weight is
    written. ``key`` tells this request from others and ``told`` are sentences on it. Rows of a ``fast`` one, of which nothing
    else is asked, are drawn by the release's student.
    """

    kinds: tuple[Conditions, ...]
    shares: tuple[float, ...]
    weights: tuple[float, ...] | None
    key: str
    told: tuple[str, ...] = ()
    fast: bool = False

    def drawn(self, rows: int, draw: Draw) -> np.ndarray:
        """(rows) int64, the kind of each; their shares are met to within a row."""
        point = draw.stratified(rows, 1)[:, 0].double().cpu().numpy()
        return np.searchsorted(np.cumsum(self.shares), point).clip(max=len(self.shares) - 1)

    def weigh(self, batch: pa.RecordBatch, codec: Codec) -> pa.RecordBatch:
        """With the column of weights, if there is one."""
        if self.weights is None:
            return batch
        met = np.stack([codec.meets(batch, kind) for kind in self.kinds])
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
        found = _frequent(chance(asked, PROBES), asked)
    return Request((asked,), (1.0,), None, key([asked]), (f"{describe(asked)}: {found}",))


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
    found = _frequent(chance(both, 4 * PROBES), both)
    if where:
        found = found.of(chance(where, 4 * PROBES))
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
    return Request((both, where), (share, 1 - share), weights, key([where, event], float(boost)), told)


def _balanced(
    codec: Codec, chance: Callable[[Conditions, int], Chance], where: Conditions, balance: Balance
) -> Request:
    """Classes in given shares. A row's weight is the class's true share, in the training rows or under the condition by
    the model, over its drawn one."""
    name, shares = _shares(codec, where, balance)
    column, text = codec.table[name], f"--balance {name}"
    kinds = [conditions.together(where, {name: conditions.equal(column, value, f"{name}={value}")}) for value in shares]
    if where:
        each = max(4 * PROBES // len(kinds), 32)
        true = np.array([chance(kind, each).mean for kind in kinds])
        _frequent(Chance(float(true.sum()), 0.0), where)
    else:
        true = _counts(codec, name, list(shares))
    true, drawn = true / true.sum(), np.array(list(shares.values()))
    weights = true / drawn
    told = (
        f"{text}: " + ", ".join(f"{k} {_percent(t)} → {_percent(d)}" for k, t, d in zip(shares, true, drawn, strict=True)),
        f"each row counts for its {weight_column(codec)}, the class's true share over its drawn one; the effective sample "
        f"size is {1 / (drawn * weights**2).sum():.1%} of the rows",
    )  # fmt: skip
    return Request(tuple(kinds), tuple(drawn), tuple(weights), key([where], name, shares), told)


def _shares(codec: Codec, where: Conditions, balance: Balance) -> tuple[str, dict[str, float]]:
    """The column and the share of each class: equal ones of all that ``where`` allows, or those given."""
    given: list[tuple[Any, float]] | None = None
    if isinstance(balance, str):
        text = f"--balance {balance!r}"
        column, rest = conditions.column_and_rest(balance, codec.table, text)
        if rest.strip():
            given = _written(rest, text)
    else:
        shares_of = list(balance.items()) if isinstance(balance, Mapping) else []
        if len(shares_of) != 1 or not _are_shares(shares_of[0][1]):
            raise UserError(f"balance={balance!r}: give one column, as in {{'income': {{'<=50K': 0.5, '>50K': 0.5}}}}")
        [(name, mapping)] = shares_of
        text, given = f"balance={name!r}", [(value, float(share)) for value, share in mapping.items()]
        column = conditions.learnt(name, codec.table, text)
    coder = next((c for c in codec.columns if c.name == column.name), None)
    if column.kind not in ("categorical", "boolean") or not isinstance(coder, Categories):
        raise UserError(f"{text}: '{column.name}' is {column.kind}; only classes can be balanced")
    if given is None:
        allowed = coder.allowed(where.get(column.name, Wanted(missing=False)))[: len(coder.values)]
        values = [show for show, one in zip(coder.shown, allowed, strict=True) if one]
        return column.name, dict.fromkeys(values, 1 / len(values))
    shares: dict[str, float] = {}
    for value, share in given:
        one = conditions.together(where, {column.name: conditions.equal(column, value, text)})[column.name]
        shown = coder.shown[int(coder.allowed(one).argmax())]
        if not share > 0:
            raise UserError(f"{text}: {shown}={share:g}: leave out the classes that are not to be drawn")
        if shown in shares:
            raise UserError(f"{text}: the share of {shown} is given twice")
        shares[shown] = share
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise UserError(f"{text}: the shares sum to {sum(shares.values()):g}, and should to 1")
    return column.name, shares


def _are_shares(given: Any) -> bool:
    return isinstance(given, Mapping) and all(isinstance(share, Real) for share in given.values())


def _written(rest: str, text: str) -> list[tuple[str, float]]:
    """``: A=0.3, B=0.7`` → classes and their shares; a class may hold = itself."""
    form = f"{text}: write COLUMN, or COLUMN: CLASS=SHARE, CLASS=SHARE, as in 'income: <=50K=0.5, >50K=0.5'"
    if not rest.lstrip().startswith(":"):
        raise UserError(form)
    shares: list[tuple[str, float]] = []
    for item in conditions.split_values(rest.lstrip()[1:]):
        value, sign, share = item.rpartition("=")
        try:
            shares.append((value.strip(), float(share)))
        except ValueError as e:
            raise UserError(form) from e
        if not sign:
            raise UserError(form)
    return shares


def _counts(codec: Codec, name: str, values: list[str]) -> np.ndarray:
    coder = next(c for c in codec.columns if c.name == name)
    assert isinstance(coder, Categories)
    counts = dict(zip(coder.shown, coder.counts, strict=False))
    return np.array([counts[v] for v in values], dtype=np.float64)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
