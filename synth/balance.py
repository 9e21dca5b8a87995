"""Which classes are to be drawn in which shares, as a person writes it: ``city``, or ``income: <=50K=0.5, >50K=0.5``."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from synth.data import conditions
from synth.data.categories import Categories
from synth.data.codec import Codec
from synth.data.conditions import Conditions, Wanted
from synth.errors import UserError

Balance = str | Mapping[str, Mapping[str, float]]


def classes(codec: Codec, where: Conditions, balance: Balance) -> tuple[str, dict[str, float]]:
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


def counts(codec: Codec, name: str, values: list[str]) -> np.ndarray:
    """(values) how many training rows have each."""
    coder = next(c for c in codec.columns if c.name == name)
    assert isinstance(coder, Categories)
    found = dict(zip(coder.shown, coder.counts, strict=False))
    return np.array([found[v] for v in values], dtype=np.float64)
