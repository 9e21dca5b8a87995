"""What a person may ask of rows: ``income=">50K"``, ``age>=65``, ``education in (Masters, Doctorate)``, ``pay is missing``.

A clause speaks of one column, and several hold together. A comparison is never true of a missing value, as in SQL; so
``city != Rome`` asks for a city that is known.

    COLUMN = VALUE     COLUMN != VALUE     COLUMN < VALUE     COLUMN <= VALUE     COLUMN > VALUE     COLUMN >= VALUE
    COLUMN in (VALUE, …)     COLUMN not in (VALUE, …)     COLUMN is missing     COLUMN is not missing

Values and names may be in quotes, and must be where they hold commas or brackets. Numbers are compared exactly, as the
decimal numbers that they are written as; moments are ISO dates.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from synth.data.numbers import ticks
from synth.data.schema import Column, Schema, arrow_type, nearest
from synth.errors import UserError

Where = str | Sequence[str] | Mapping[str, Any]
_OPERATION = re.compile(
    r"\s*(?:(?P<compare>==|!=|<=|>=|=|<|>)\s*(?P<value>.+)"
    r"|(?P<set>(?:not\s+)?in)\b\s*\((?P<values>.*)\)"
    r"|is\s+(?P<missing>(?:not\s+)?missing))\s*",
    re.DOTALL | re.IGNORECASE,
)
FURTHEST = 400  # decimal exponents beyond which no number of a column lies, nor between two of them
SYNTAX = "write COLUMN=VALUE, !=, <, <=, > or >=, COLUMN in (A, B), COLUMN not in (A, B), or COLUMN is [not] missing"


class Range(NamedTuple):
    """The numbers from ``low`` to ``high``, exact; an open end is not one of them."""

    low: Fraction | float
    high: Fraction | float
    low_open: bool = False
    high_open: bool = False

    @property
    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def holds(self, x: Fraction) -> bool:
        above = x > self.low or (x == self.low and not self.low_open)
        return above and (x < self.high or (x == self.high and not self.high_open))

    def __and__(self, other: Range) -> Range:
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        return Range(low, high, low_open, not closed)


ALL = (Range(-math.inf, math.inf),)


@dataclass(frozen=True)
class Wanted:
    """What is asked of one column: numbers and moments in one of ``ranges``, which ascend; other values among ``names``
    (None: any) and not among ``other_than``; and whether it may be ``missing``. ``text`` is how it was asked for. Nobody
    writes ``tied``, by which ``Codec.ways`` tells rows that equal another column there from those that do not."""

    ranges: tuple[Range, ...] = ALL
    names: frozenset[Any] | None = None
    other_than: frozenset[Any] = frozenset()
    missing: bool = True
    tied: bool | None = None
    text: tuple[str, ...] = field(default=(), compare=False)

    def __and__(self, other: Wanted) -> Wanted:
        assert self.tied is None and other.tied is None, "alternatives are made of what is asked for in all"
        both = (a & b for a in self.ranges for b in other.ranges)
        names = [n for n in (self.names, other.names) if n is not None]
        return Wanted(
            ranges=tuple(r for r in both if not r.empty),
            names=frozenset.intersection(*names) if names else None,
            other_than=self.other_than | other.other_than,
            missing=self.missing and other.missing,
            text=(*self.text, *other.text),
        )

    def __str__(self) -> str:
        return " and ".join(self.text)

    @property
    def key(self) -> tuple[object, ...]:
        """What is asked, however it was written; sets print in another order in another process."""
        names = None if self.names is None else sorted(map(repr, self.names))
        tied = () if self.tied is None else (self.tied,)
        return self.ranges, names, sorted(map(repr, self.other_than)), self.missing, *tied


Conditions = dict[str, Wanted]


def parse(where: Where | None, schema: Schema) -> Conditions:
    """What clauses ask of each column that they name.

    ``where`` is a clause, several, or a mapping of columns to a value, a list of values, None for missing, or, of numbers
    and moments, an operation as text (``{"age": ">= 65", "income": ">50K"}``). Raises UserError for a malformed clause, an
    unknown column, one that is not learnt, and a value that the column cannot hold.
    """
    if where is None:
        return {}
    if isinstance(where, Mapping):
        found = [_of_mapping(str(name), value, schema) for name, value in where.items()]
    else:
        clauses = [where] if isinstance(where, str) else where
        if not isinstance(clauses, list | tuple) or not all(isinstance(text, str) for text in clauses):
            raise UserError(
                f"{where!r} is no condition: give a clause such as 'age>=65', a list of them, or what each column holds, "
                "such as {'age': '>= 65', 'city': ['Rome', 'Oslo']}"
            )
        found = [_clause(text, schema) for text in clauses]
    return together(*({name: wanted} for name, wanted in found))


def together(*conditions: Conditions) -> Conditions:
    """All of them at once."""
    joined: Conditions = {}
    for condition in conditions:
        for name, wanted in condition.items():
            joined[name] = joined[name] & wanted if name in joined else wanted
    return joined


def equal(column: Column, value: Any, text: str) -> Wanted:
    """That a column is ``value``, as text or of the column's own type."""
    return _among(column, [value], text)


def exact(column: Column, value: Any, text: str) -> Fraction:
    """A number, or a moment in ticks since 1970; UserError for what the column cannot be compared with."""
    kind = arrow_type(column.dtype)
    if column.kind == "datetime":
        try:
            if isinstance(value, date):  # datetime, and pandas' moments, are dates too
                value = value.isoformat()
            moment = pa.array([str(value).strip()]).cast(kind)
        except pa.ArrowInvalid as e:
            raise UserError(
                f"{text!r}: {value!r} is no {column.dtype}; write an ISO date, such as 2024-05-31 or 2024-05-31 18:00"
            ) from e
        return Fraction(ticks(moment)[0].as_py())
    try:
        read = Decimal(str(value).strip().replace("_", ""))
    except InvalidOperation as e:
        raise UserError(
            f"{text!r}: {value!r} is no number, as '{column.name}' holds; a second condition is a clause of its own"
        ) from e
    if not read.is_finite():
        raise UserError(f"{text!r}: {value!r} is no number to compare with; write '{column.name} is missing' for gaps")
    if abs(read.adjusted()) > FURTHEST:  # a fraction would have all of its digits
        read = Decimal(f"1e{FURTHEST if read.adjusted() > 0 else -FURTHEST}").copy_sign(read) if read else Decimal(0)
    # Compared as the column holds it: to full precision, or as the nearest number of its type.
    if column.decimals is None and column.kind == "numerical" and pa.types.is_floating(kind):
        with np.errstate(over="ignore"):
            held = float(kind.to_pandas_dtype()(read))
        return number(held) if math.isfinite(held) else Fraction(read)
    return Fraction(read)


def number(value: Any) -> Fraction:
    """A number of the codec's as it is written."""
    return Fraction(value) if isinstance(value, int) else Fraction(Decimal(str(value)))


def learnt(name: str, schema: Schema, what: str) -> Column:
    """The column of that name; UserError where there is none, or nothing is learnt of it."""
    if name in schema.excluded:
        raise UserError(f"{what}: '{name}' was left out of the training, so the release knows nothing of it")
    if name not in schema.names:
        known = [c.name for c in schema.learnt]
        raise UserError(f"{what}: there is no column '{name}'.{nearest(name, known)} Columns: {', '.join(known[:20])}")
    column = schema[name]
    if column.kind in ("id", "text", "image"):
        why = {"id": "ids are made up anew", "text": "free text is not learnt", "image": "it is the picture"}
        raise UserError(f"{what}: nothing can be asked of '{name}': {why[column.kind]}")
    return column


def column_and_rest(text: str, schema: Schema, what: str) -> tuple[Column, str]:
    """The column with which ``text`` begins, in quotes or not, and what follows it."""
    text = text.strip()
    if text[:1] in ("'", '"') and (end := text.find(text[0], 1)) > 0:
        return learnt(text[1:end], schema, what), text[end + 1 :]
    # The longest name that fits: names may hold anything, operators too.
    for name in sorted([*schema.names, *schema.excluded], key=len, reverse=True):
        if text.startswith(name) and not re.match(r"[\w.]", text[len(name) :]):
            return learnt(name, schema, what), text[len(name) :]
    name = re.split(r"[=!<>:]|\s+(?:not\s+in|in|is)\b", text, maxsplit=1)[0].strip()
    return learnt(name, schema, what), text[len(name) :]


def split_values(text: str) -> list[str]:
    """Values between commas, which may be in quotes of either kind."""
    quote = "'" if text.lstrip().startswith("'") else '"'
    return [v.strip() for row in csv.reader([text], quotechar=quote, skipinitialspace=True) for v in row]


def _of_mapping(name: str, value: Any, schema: Schema) -> tuple[str, Wanted]:
    text = f"{name}: {value!r}"
    column = learnt(name, schema, text)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return name, Wanted(ranges=(), names=frozenset(), text=(text,))
    if isinstance(value, str):
        # A category may look like an operation, as ">50K" does: it means itself.
        match = _OPERATION.fullmatch(value) if column.kind in ("numerical", "datetime") else None
        return name, equal(column, value, text) if match is None else _operation(column, match, text)
    if isinstance(value, Iterable):
        return name, _among(column, list(value), text)
    return name, equal(column, value, text)


def _clause(text: str, schema: Schema) -> tuple[str, Wanted]:
    column, rest = column_and_rest(text, schema, repr(text))
    match = _OPERATION.fullmatch(rest)
    if match is None:
        raise UserError(f"{text!r} is no condition: {SYNTAX}")
    return column.name, _operation(column, match, text)


def _operation(column: Column, match: re.Match[str], text: str) -> Wanted:
    if match["missing"]:
        absent = match["missing"].lower() == "missing"
        return Wanted(ranges=(), names=frozenset(), text=(text,)) if absent else Wanted(missing=False, text=(text,))
    if match["set"]:
        values = split_values(match["values"])
        if not values:
            raise UserError(f"{text!r}: no values; write {column.name} in (A, B)")
        if not all(values):
            raise UserError(f"{text!r}: an empty value; write '{column.name} is missing' for gaps")
        among = _among(column, values, text)
        return among if match["set"].lower() == "in" else _but(among)
    sign, value = match["compare"], match["value"].strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    if sign in ("=", "==", "!="):
        one = equal(column, value, text)
        return _but(one) if sign == "!=" else one
    if column.kind not in ("numerical", "datetime"):
        raise UserError(f"{text!r}: '{column.name}' holds categories, which have no order; {SYNTAX}")
    bound = exact(column, value, text)
    ends = Range(-math.inf, bound, high_open=sign == "<") if "<" in sign else Range(bound, math.inf, sign == ">")
    return Wanted(ranges=(ends,), missing=False, text=(text,))


def _among(column: Column, values: list[Any], text: str) -> Wanted:
    if column.kind in ("numerical", "datetime"):
        points = sorted({exact(column, value, text) for value in values})
        return Wanted(ranges=tuple(Range(p, p) for p in points), missing=False, text=(text,))
    return Wanted(names=frozenset(_named(column, value, text) for value in values), missing=False, text=(text,))


def _but(among: Wanted) -> Wanted:
    """Any known value other than these."""
    if among.names is not None:
        return Wanted(other_than=among.names, missing=False, text=among.text)
    points = [r.low for r in among.ranges]
    ends = zip([-math.inf, *points], [*points, math.inf], strict=True)
    return Wanted(ranges=tuple(Range(a, b, True, True) for a, b in ends), missing=False, text=among.text)


def _named(column: Column, value: Any, text: str) -> Any:
    """A category as the codec keeps it: text, a truth value or a number."""
    kind = arrow_type(column.dtype)
    try:
        array = pa.array([value if isinstance(value, bool) else str(value).strip()]).cast(pa.string()).cast(kind)
    except pa.ArrowInvalid as e:
        raise UserError(f"{text!r}: {value!r} is no {column.dtype}, which '{column.name}' holds") from e
    if pa.types.is_temporal(kind):
        return ticks(array)[0].as_py()
    return array.cast(pa.string())[0].as_py() if pa.types.is_decimal(kind) else array[0].as_py()
