"""Ids of served rows: made from the row's number, so unique, and no trace of a real one.

By themselves they are that number. Where a regular expression is to match, the number counts through the texts that it
matches, in an order that looks random: a permutation of them all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from synth.data.schema import Column, arrow_type
from synth.errors import UserError

MOST = 2**62  # texts of a pattern that are counted through; more are as good as endless
REPEATED = 8  # times that * and + may repeat, beyond their least
PRINTED = [chr(c) for c in range(33, 127)]  # what a dot stands for
CLASSES = {
    "category_digit": [chr(c) for c in range(48, 58)],
    "category_word": [chr(c) for c in (*range(48, 58), *range(65, 91), 95, *range(97, 123))],
    "category_space": [" "],
}

Texts = tuple[int, Callable[[int], str]]
"""How many texts there are, and the text of a number below that."""


def fresh_ids(column: Column, pattern: str | None, first: int, rows: int) -> pa.Array:
    """The ids of rows ``first`` …, in the column's type. UserError where the pattern matches too few texts."""
    if pattern is None:
        return pa.array(np.arange(first, first + rows)).cast(arrow_type(column.dtype))
    count, text = texts(pattern)
    if first + rows > count:
        raise UserError(
            f"column {column.name!r}: {pattern!r} matches only {count:,} texts, and row {first + rows:,} needs one of its own: "
            "draw fewer rows, or widen the constraint"
        )
    factor = _factor(count)
    return pa.array([text(i * factor % count) for i in range(first, first + rows)], pa.string())


def _factor(count: int) -> int:
    """A number without a common divisor with ``count``, near its golden section: multiples of it visit every remainder,
    far from each other (Knuth, The Art of Computer Programming 3, section 6.4)."""
    factor = max(round(count * 0.6180339887498949), 1)
    while math.gcd(factor, count) != 1:
        factor += 1
    return factor


@lru_cache(16)
def texts(pattern: str) -> Texts:
    """The texts that a regular expression matches, each counted once unless two of its branches match it.

    ``*`` and ``+`` repeat up to REPEATED times more than they must. UserError for what has no such list: look-arounds,
    back references, negated classes of letters.
    """
    from re import _parser  # type: ignore[attr-defined]  # the standard library's own reading, which has no public name

    try:
        parsed = _parser.parse(pattern)
    except re.error as e:
        raise UserError(f"{pattern!r} is no regular expression: {e}") from e
    return _sequence([_item(str(op).lower(), argument, pattern) for op, argument in parsed])


def _sequence(items: list[Texts]) -> Texts:
    count = math.prod(n for n, _ in items)

    def text(i: int) -> str:
        found = []
        for n, part in items:
            i, rest = divmod(i, n)
            found.append(part(rest))
        return "".join(found)

    return min(count, MOST), text


def _choice(options: list[Texts]) -> Texts:
    def text(i: int) -> str:
        for n, part in options:
            if i < n:
                return part(i)
            i -= n
        raise AssertionError(i)

    return min(sum(n for n, _ in options), MOST), text


def _item(op: str, argument: Any, pattern: str) -> Texts:
    match op:
        case "literal":
            return 1, lambda i: chr(argument)
        case "any":
            return len(PRINTED), PRINTED.__getitem__
        case "at":  # ^ and $: all of a value is matched anyway
            return 1, lambda i: ""
        case "in":
            letters = sorted(set(_letters(argument, pattern)))
            return len(letters), letters.__getitem__
        case "subpattern":
            return _sequence([_item(str(o).lower(), a, pattern) for o, a in argument[3]])
        case "branch":
            return _choice(
                [_sequence([_item(str(o).lower(), a, pattern) for o, a in branch]) for branch in argument[1]]
            )
        case "max_repeat" | "min_repeat":
            least, most, inner = argument
            once = _sequence([_item(str(o).lower(), a, pattern) for o, a in inner])
            most = min(int(most), int(least) + REPEATED)
            return _choice([_sequence([once] * times) for times in range(int(least), most + 1)])
        case _:
            raise UserError(
                f"{pattern!r}: ids cannot be made of {op.replace('_', ' ')}; write it with letters, sets, groups"
            )


def _letters(members: list[tuple[Any, Any]], pattern: str) -> list[str]:
    found: list[str] = []
    for op, argument in members:
        match str(op).lower():
            case "literal":
                found.append(chr(argument))
            case "range":
                found += [chr(c) for c in range(argument[0], argument[1] + 1)]
            case "category" if str(argument).lower() in CLASSES:
                found += CLASSES[str(argument).lower()]
            case "negate":
                inner = set(_letters(members[1:], pattern))
                return [letter for letter in PRINTED if letter not in inner]
            case other:
                raise UserError(f"{pattern!r}: ids cannot be made of {other} {argument}; write the letters themselves")
    return found
