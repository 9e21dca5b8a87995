"""Arithmetic over columns: read from text, computed on batches, and seen as a linear form where it is one."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synth.data.schema import nearest
from synth.errors import UserError

_SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "="}
_ARITHMETIC: dict[type[ast.operator], Any] = {
    ast.Add: pc.add_checked, ast.Sub: pc.subtract_checked, ast.Mult: pc.multiply_checked, ast.Div: pc.divide,
}  # fmt: skip
LIMIT: dict[type, float] = {int: 2**63, float: math.inf}


@dataclass(frozen=True)
class Expression:
    """A tree of Python's grammar in which the name ``_3`` stands for ``names[3]``."""

    tree: ast.expr
    names: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that occur in it, each once."""
        found = (self._named(node) for node in ast.walk(self.tree) if isinstance(node, ast.Name))
        return tuple(dict.fromkeys(found))

    @property
    def column(self) -> str | None:
        """The column that it is, if it is nothing else."""
        return self._named(self.tree) if isinstance(self.tree, ast.Name) else None

    @property
    def literal(self) -> Any:
        """The number or text that it is, if it is nothing else."""
        try:
            return ast.literal_eval(self.tree)
        except ValueError:
            return None

    def of(self, batch: pa.RecordBatch) -> Any:
        """An array (rows,), or a scalar where no column occurs; missing where an operand is, or a divisor is zero.

        UserError for whole numbers beyond 64 bits.
        """
        if isinstance(self.literal, str):  # a moment, which Arrow reads in whatever type it is compared with
            return pa.scalar(self.literal)
        try:
            return self._value(self.tree, batch)
        except pa.ArrowInvalid as e:
            raise UserError(
                f"a constraint computes with {', '.join(self.columns)} beyond 64 bits ({e}): write its whole numbers as "
                "fractions, such as 2.0"
            ) from e

    def linear(self) -> tuple[dict[str, float], float] | None:
        """Factors of the columns, and the constant; None where it is not linear, or a date."""
        return None if isinstance(self.literal, str) else self._form(self.tree)

    def _named(self, node: ast.Name) -> str:
        return self.names[int(node.id[1:])]

    def _value(self, node: ast.expr, batch: pa.RecordBatch) -> Any:
        if isinstance(node, ast.Name):
            return batch.column(self._named(node))
        if isinstance(node, ast.Constant):
            return pa.scalar(node.value)
        if isinstance(node, ast.UnaryOp):
            return pc.negate_checked(self._value(node.operand, batch))
        assert isinstance(node, ast.BinOp)
        left, right = self._value(node.left, batch), self._value(node.right, batch)
        if isinstance(node.op, ast.Div):  # of whole numbers, too
            left, right = left.cast(pa.float64()), right.cast(pa.float64())
            right = pc.if_else(pc.equal(right, 0.0), pa.scalar(None, pa.float64()), right)
        return _ARITHMETIC[type(node.op)](left, right)

    def _form(self, node: ast.expr) -> tuple[dict[str, float], float] | None:
        if isinstance(node, ast.Name):
            return {self._named(node): 1.0}, 0.0
        if isinstance(node, ast.Constant):
            return {}, float(str(node.value))
        if isinstance(node, ast.UnaryOp):
            return _scaled(self._form(node.operand), -1.0)
        assert isinstance(node, ast.BinOp)
        left, right = self._form(node.left), self._form(node.right)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Add | ast.Sub):
            sign = 1.0 if isinstance(node.op, ast.Add) else -1.0
            return (
                {n: left[0].get(n, 0.0) + sign * right[0].get(n, 0.0) for n in left[0].keys() | right[0].keys()},
                left[1] + sign * right[1],
            )
        if isinstance(node.op, ast.Div):
            return _scaled(left, 1 / right[1]) if not right[0] and right[1] else None
        if left[0] and right[0]:
            return None
        return _scaled(left, right[1]) if left[0] else _scaled(right, left[1])


def _scaled(form: tuple[dict[str, float], float] | None, by: float) -> tuple[dict[str, float], float] | None:
    return None if form is None else ({n: by * factor for n, factor in form[0].items()}, by * form[1])


def read(text: str, names: Sequence[str], where: str | None = None) -> tuple[list[Expression], list[str]]:
    """The expressions of a chain of comparisons, and the signs (<, <=, >, >=, =) between them.

    Raises UserError for what cannot be read, and for names that are none of the columns.
    """
    where = f"constraint {text if where is None else where!r}"
    coded = re.sub(r"(?<![<>=!])=(?!=)", "==", _coded(text, names, where)).strip()
    try:
        body = ast.parse(coded, mode="eval").body
    except SyntaxError as e:
        raise UserError(f"{where}: cannot be read; write for example start <= end, or total = a + b") from e
    sides, signs = [body], list[str]()
    if isinstance(body, ast.Compare):
        sides = [body.left, *body.comparators]
        for sign in body.ops:
            if type(sign) not in _SIGNS:
                raise UserError(f"{where}: compare with <, <=, >, >= or =")
            signs.append(_SIGNS[type(sign)])
    for side in sides:
        _check(side, names, where, coded)
    return [Expression(side, tuple(names)) for side in sides], signs


def _coded(text: str, names: Sequence[str], where: str) -> str:
    """``text`` with a name of Python's grammar for each column, the longest first where one holds another."""
    spelled = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    number = {name: i for i, name in enumerate(names)}

    def code(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        name = next(found for found in match.groups()[1:] if found is not None)
        if name not in number:
            raise UserError(f"{where}: there is no column '{name}'.{nearest(name, names)}")
        return f"_{number[name]}"

    # The last, a name that could be taken for a coded one, is no column's.
    return re.sub(rf"('[^']*')|`([^`]*)`|(?<![\w.])({spelled})(?![\w.])|(?<![\w.])(_\d+)(?!\w)", code, text)


def _written(coded: str, names: Sequence[str]) -> str:
    return re.sub(r"\b_(\d+)\b", lambda match: names[int(match[1])], coded)


def _check(side: ast.expr, names: Sequence[str], where: str, coded: str) -> None:
    for node in ast.walk(side):
        match node:
            case ast.Name(id=name):
                if not re.fullmatch(r"_\d+", name):
                    raise UserError(f"{where}: there is no column '{name}'.{nearest(name, names)}")
            case ast.Constant(value=value):
                if isinstance(value, bool) or not isinstance(value, int | float | str):
                    raise UserError(f"{where}: {value!r} is no number")
                if not isinstance(value, str) and not abs(value) < LIMIT[type(value)]:
                    raise UserError(f"{where}: {value!r} is beyond what a column can hold; write a smaller number")
                if isinstance(value, str) and node is not side:
                    raise UserError(f"{where}: {value!r} cannot be computed with")
            case ast.BinOp(op=op):
                if type(op) not in _ARITHMETIC:
                    raise UserError(f"{where}: compute with +, -, * and /")
            case ast.UnaryOp(op=ast.USub()) | ast.Load() | ast.USub() | ast.operator():
                pass
            case _:
                spelled = _written(ast.get_source_segment(coded, node) or type(node).__name__, names)
                raise UserError(f"{where}: {spelled!r} is neither a column, a number nor a sum of these")
