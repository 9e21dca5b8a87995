"""What must hold in every row, said in the words of the table: read from text, tested on batches, and on each other.

    start <= end            0 <= age <= 120          signed >= '2020-01-31'        comparisons
    total = price * count + fee                                                    formulas
    combination(city, country)      onehot(car, bus, train)      unique(account)   groups of columns
    account ~ [A-Z]{2}\\d{6}                                                        regular expressions

A column is named as it is spelled, in backticks where that could be read otherwise. What a missing value takes part in
does not break a comparison.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth.data.expression import Expression, read
from synth.data.schema import Schema, arrow_type, is_number
from synth.errors import UserError

GROUPS = re.compile(r"\s*(combination|onehot|unique)\s*\((.*)\)\s*")
CLOSE = 1e-9  # relative: what rounding leaves between a sum and its formula


@dataclass(frozen=True)
class Constraint(ABC):
    """``text`` as it was written, and the ``columns`` that it is about."""

    text: str
    columns: tuple[str, ...]

    @abstractmethod
    def broken(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Which rows break it, without nulls."""


@dataclass(frozen=True)
class Comparison(Constraint):
    """left <= right, or left < right where it is ``strict``."""

    left: Expression
    right: Expression
    strict: bool

    def broken(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        test = pc.greater_equal if self.strict else pc.greater
        low, high = self.left.of(batch), self.right.of(batch)
        if isinstance(self.left.literal, str):
            low = low.cast(high.type)
        elif isinstance(self.right.literal, str):
            high = high.cast(low.type)
        return pc.fill_null(test(low, high), False)


@dataclass(frozen=True)
class Formula(Constraint):
    """``column`` = ``value``, at the decimals of the column."""

    column: str
    value: Expression
    decimals: int | None

    def computed(self, batch: pa.RecordBatch, dtype: pa.DataType) -> pa.Array:
        """The column, missing where an operand is. UserError for a number that its type does not hold."""
        value = self.value.of(batch)
        if not (pa.types.is_integer(value.type) and pa.types.is_integer(dtype)):
            number = value.cast(pa.float64()).to_numpy(zero_copy_only=False)  # missing is no number, and stays missing
            value = pa.array(number if self.decimals is None else np.round(number, self.decimals), from_pandas=True)
        try:
            return value.cast(dtype)
        except pa.ArrowInvalid as e:
            raise UserError(
                f"constraint {self.text!r}: gives numbers that {self.column!r}, {dtype}, does not hold ({e}): write the "
                "column in a wider type"
            ) from e

    def broken(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        found = batch.column(self.column)
        meant, said = self.value.of(batch).cast(pa.float64()), found.cast(pa.float64())
        scale = pc.add(pc.abs(meant), 1.0)
        allowed = pc.multiply(scale, CLOSE)
        if self.decimals is not None:  # halves may be rounded up or down
            allowed = pc.add(allowed, 0.5 * 10.0**-self.decimals)
        off = pc.greater(pc.abs(pc.subtract(meant, said)), allowed)
        return pc.or_(pc.fill_null(off, False), pc.xor(meant.is_null(), said.is_null()))


@dataclass(frozen=True)
class Combination(Constraint):
    """Only such values of the columns stand together as do in the real rows: held by construction, so never broken."""

    def broken(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return _none(batch)


@dataclass(frozen=True)
class OneHot(Constraint):
    """Exactly one of the columns, booleans or numbers, is true or 1, and the others are false or 0."""

    def broken(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        flags = [batch.column(name).cast(pa.float64()) for name in self.columns]
        bits = [pc.or_(pc.equal(flag, 0.0), pc.equal(flag, 1.0)) for flag in flags]
        total, whole = flags[0], bits[0]
        for flag, bit in zip(flags[1:], bits[1:], strict=True):
            total, whole = pc.add(total, flag), pc.and_(whole, bit)
        return pc.invert(pc.fill_null(pc.and_(whole, pc.equal(total, 1.0)), False))


@dataclass(frozen=True)
class Unique(Constraint):
    """No values of the columns occur together twice: held by construction, for one of them is an id, which is made from
    the row's number."""

    def broken(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Within the batch, the second and later rows of a key; one with a missing value is none."""
        codes, present = np.zeros(batch.num_rows, np.int64), np.ones(batch.num_rows, bool)
        for values in map(batch.column, self.columns):
            found = values.dictionary_encode()
            index = pc.fill_null(found.indices, len(found.dictionary)).to_numpy(zero_copy_only=False)
            codes = np.unique(codes * (len(found.dictionary) + 1) + index, return_inverse=True)[1]
            present &= values.is_valid().to_numpy(zero_copy_only=False)
        again = np.ones(len(codes), bool)
        again[np.unique(codes, return_index=True)[1]] = False
        return pa.array(again & present)


@dataclass(frozen=True)
class Pattern(Constraint):
    """All of every value of the column matches a regular expression."""

    pattern: str

    def broken(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        values = batch.column(self.columns[0]).cast(pa.string())
        return pc.fill_null(pc.invert(pc.match_substring_regex(values, f"^(?:{self.pattern})$")), False)


def stated(schema: Schema) -> list[Constraint]:
    """The constraints of a schema. UserError for what is none, and for columns that are not there or of another kind."""
    found = [constraint for text in schema.constraints for constraint in parse(text, schema)]
    for constraint in found:
        for name in constraint.columns:
            _check(constraint, name, schema)
        try:
            constraint.broken(
                pa.record_batch({n: pa.array([], arrow_type(schema[n].dtype)) for n in constraint.columns})
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as e:
            raise UserError(
                f"constraint {constraint.text!r}: cannot be tested on {', '.join(constraint.columns)}: {e}"
            ) from e
    return found


def _check(constraint: Constraint, name: str, schema: Schema) -> None:
    column = schema[name]
    number = is_number(arrow_type(column.dtype)) and column.kind != "id"
    alone = isinstance(constraint, Comparison) and (constraint.left.column, constraint.right.column).count(name)
    fits = {
        Formula: (number, "numbers"),
        Comparison: (number or (alone and column.kind == "datetime"), "numbers, or dates by themselves"),
        OneHot: (number or column.kind == "boolean", "booleans, or numbers 0 and 1"),
        Combination: (column.kind in ("categorical", "boolean"), "categories"),
        Unique: (any(schema[n].kind == "id" for n in constraint.columns), "keys of which one column is an id"),
        Pattern: (column.dtype == "string", "text"),
    }  # fmt: skip
    fit, wanted = fits[type(constraint)]
    if not fit:
        remedy = f" (force it with --id {name})" if isinstance(constraint, Unique) else ""
        raise UserError(
            f"constraint {constraint.text!r}: is for {wanted}, and column {name!r} is {column.kind}, {column.dtype}{remedy}"
        )


def parse(text: str, schema: Schema) -> list[Constraint]:
    """The constraints that ``text`` states: one, or of a chain such as 0 <= a <= b, each of its comparisons."""
    names = schema.names
    if match := GROUPS.fullmatch(text):
        return [_group(text, match[1], match[2], names)]
    if "~" in text:
        return [_pattern(text, names)]
    sides, signs = read(text, names)
    if not signs:
        raise UserError(f"constraint {text!r}: states nothing; write for example start <= end, or total = a + b")
    if signs == ["="]:
        column = sides[0].column
        if column is None:
            raise UserError(f"constraint {text!r}: a formula begins with the column that it gives, as in total = a + b")
        if column in sides[1].columns:
            raise UserError(f"constraint {text!r}: {column!r} stands on both sides")
        if not sides[1].columns:
            raise UserError(f"constraint {text!r}: is no formula of other columns; leave the column out with --exclude")
        return [Formula(text, (column, *sides[1].columns), column, sides[1], schema[column].decimals)]
    if "=" in signs:
        raise UserError(f"constraint {text!r}: write the formula and the comparison as two constraints")
    found: list[Constraint] = []
    for left, sign, right in zip(sides, signs, sides[1:], strict=False):
        low, high = (left, right) if sign[0] == "<" else (right, left)
        columns = tuple(dict.fromkeys((*low.columns, *high.columns)))
        if not columns:
            raise UserError(f"constraint {text!r}: compares no column")
        found.append(Comparison(text, columns, low, high, strict="=" not in sign))
    return found


def _group(text: str, what: str, inside: str, names: Sequence[str]) -> Constraint:
    columns = []
    for name in inside.split(","):
        [side], _ = read(name, names, where=text)
        if side.column is None:
            raise UserError(f"constraint {text!r}: {name.strip()!r} is no column")
        columns.append(side.column)
    if len(set(columns)) != len(columns) or len(columns) < (1 if what == "unique" else 2):
        raise UserError(f"constraint {text!r}: name two columns or more, each once")
    kinds: dict[str, type[Constraint]] = {"combination": Combination, "onehot": OneHot, "unique": Unique}
    return kinds[what](text, tuple(columns))


def _pattern(text: str, names: Sequence[str]) -> Constraint:
    name, _, pattern = text.partition("~")
    [side], _ = read(name, names, where=text)
    if side.column is None:
        raise UserError(f"constraint {text!r}: {name.strip()!r} is no column")
    try:
        Pattern(text, (side.column,), pattern.strip()).broken(pa.record_batch({side.column: pa.array([""])}))
    except pa.ArrowInvalid as e:
        raise UserError(f"constraint {text!r}: {pattern.strip()!r} is no regular expression: {e}") from e
    return Pattern(text, (side.column,), pattern.strip())


def _none(batch: pa.RecordBatch) -> pa.BooleanArray:
    return pa.repeat(pa.scalar(False), batch.num_rows)
