"""Rows of which some columns are known, among the constraints of their table: what follows, and what it leaves open."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth.data import conform
from synth.data.categories import Categories
from synth.data.codec import Codec
from synth.data.columns import Numbers
from synth.data.conform import Place
from synth.data.constraints import Formula
from synth.data.reduction import Arrays, Chosen, Computed, Gap, Joined, Reduction
from synth.data.schema import arrow_type
from synth.errors import UserError


@dataclass(frozen=True)
class Known:
    """``whole`` are columns of the table and ``reduced`` those that are learnt, missing where nothing is known. ``allowed``
    are, of a group of columns of which some are known, the states (rows, states) boolean that it may have. ``unused``
    counts the values of columns that no reduced one tells of."""

    whole: Arrays
    reduced: Arrays
    allowed: dict[str, NDArray[np.bool_]]
    unused: dict[str, int]


def know(codec: Codec, given: Arrays, rows: int, place: Place) -> Known:
    """What follows from the ``given`` columns, missing where nothing is known; ``place`` says where a row stands.

    UserError that names the first row whose given values contradict a constraint, by themselves or in any completion.
    """
    reduction, missing = codec.reduction, {c.name: pa.nulls(rows, arrow_type(c.dtype)) for c in codec.table.learnt}
    whole = _completed(reduction, missing | given, place)
    _check(reduction, whole, place)
    reduced: Arrays = {}
    allowed: dict[str, NDArray[np.bool_]] = {}
    unused: dict[str, int] = {}
    steps = {step.column.name: step for step in reduction.steps if step.column is not None}
    for coder in codec.columns:
        step = steps.get(coder.name)
        if step is None:
            reduced[coder.name] = whole[coder.name]
            continue
        needed = (*step.makes, *step.needs)
        there = np.logical_and.reduce([_valid(whole[n]) for n in needed])
        some = np.logical_or.reduce([_valid(whole[n]) for n in step.makes])
        values = step.reduced(pa.record_batch({n: whole[n].filter(pa.array(there)) for n in needed}))
        reduced[coder.name] = values.take(pa.array(there.cumsum() - 1, mask=~there))
        if isinstance(step, Gap):
            if count := int((some & ~there).sum()):
                unused[step.makes[0]] = count
            continue
        assert isinstance(step, Joined | Chosen)
        assert isinstance(coder, Categories)
        if (partly := some & ~there).any():
            allowed[coder.name] = _states(step, coder, whole, partly, place)
        strange = there & ~coder.encodable(reduced[coder.name])
        if strange.any():
            raise _unheard(step, whole, int(strange.argmax()), place)
    return Known(whole, reduced, allowed, unused)


def tied(codec: Codec, known: Known, uniform: np.ndarray) -> Known:
    """With what numbers that are known say of columns which they may equal and of which nothing is: with the probability that
    it does (``Numbers.told_by``), such a column has the number. ``uniform`` (rows, columns of the codec) on [0, 1) decides.

    A column of a constraint is left to be drawn, as it can then be drawn anew.
    """
    whole, reduced = dict(known.whole), dict(known.reduced)
    coders = {c.name: c for c in codec.columns}
    bound = {name for constraint in codec.reduction.constraints for name in constraint.columns}
    for i, coder in reversed(list(enumerate(codec.columns))):  # what a column is tied to comes before it
        if not isinstance(coder, Numbers) or coder.tied is None or coder.tied in bound or coder.tied not in whole:
            continue
        other = coders[coder.tied]
        if isinstance(other, Numbers):
            numbers, chance = coder.told_by(reduced[coder.name], other)
            equal = pc.if_else(pa.array(uniform[:, i] < chance), numbers, pa.scalar(None, numbers.type))
            whole[other.name] = reduced[other.name] = pc.coalesce(reduced[other.name], equal)
    return replace(known, whole=whole, reduced=reduced)


def _completed(reduction: Reduction, whole: Arrays, place: Place) -> Arrays:
    """With what formulas say: their columns where all else is known, and the one operand that is missing beside them."""
    whole, formulas = dict(whole), [step.formula for step in reduction.steps if isinstance(step, Computed)]
    for formula in formulas:
        value = formula.computed(
            pa.record_batch({n: whole[n] for n in formula.value.columns}), whole[formula.column].type
        )
        whole[formula.column] = pc.coalesce(whole[formula.column], value)
    for formula in reversed(formulas):
        factors, constant = formula.value.linear() or ({}, 0.0)
        for name, factor in factors.items():
            others = (_numbers(whole[n]) * f for n, f in factors.items() if n != name)
            with np.errstate(divide="ignore", invalid="ignore"):
                value = (_numbers(whole[formula.column]) - constant - sum(others)) / factor
            decimals = reduction.schema[name].decimals
            value = value if decimals is None else np.round(value, decimals)
            open_ = ~_valid(whole[name]) & np.isfinite(value)
            solved = conform.cast(pa.array(value, mask=~open_), whole[name].type, name, place)
            whole[name] = pc.coalesce(whole[name], solved)
    return whole


def _check(reduction: Reduction, whole: Arrays, place: Place) -> None:
    """UserError for the first row that breaks a constraint all of whose columns are known."""
    for constraint in reduction.constraints:
        if not set(constraint.columns) <= whole.keys():  # of ids, which are made anew
            continue
        valid = {name: _valid(whole[name]) for name in constraint.columns}
        known = np.logical_and.reduce(list(valid.values()))
        broken = known & constraint.broken(pa.record_batch(whole)).to_numpy(zero_copy_only=False)
        if broken.any():
            row = int(broken.argmax())
            said = ", ".join(f"{name} = {conform.show(whole[name][row])}" for name in constraint.columns)
            raise UserError(
                f"{place(row)}: {said} breaks the constraint {constraint.text!r}. Correct the row, or leave a cell empty."
            )
        if isinstance(constraint, Formula) and (open_ := valid[constraint.column] & ~known).any():
            row = int(open_.argmax())
            absent = ", ".join(repr(name) for name, there in valid.items() if not there[row])
            raise UserError(
                f"{place(row)}: '{constraint.column}' is given, and {absent} of the constraint {constraint.text!r} cannot "
                f"be told from it. Leave '{constraint.column}' empty, or fill them in."
            )


def _states(step: Joined | Chosen, coder: Categories, whole: Arrays, partly: np.ndarray, place: Place) -> np.ndarray:
    """(rows, states) boolean: of the rows that are ``partly`` known, which states agree with that; of others none."""
    if coder.base:
        raise UserError(
            f"{place(int(partly.argmax()))}: only a part of {', '.join(map(repr, step.makes))} is given, of which there are "
            f"{len(coder.values):,} combinations, too many to fill in parts. Give all of them or none."
        )
    assert step.column is not None
    made = step.restored({step.column.name: pa.array(coder.values, pa.string())})
    states = np.repeat(partly[:, None], len(coder.values), axis=1)
    for name in step.makes:
        known = partly & _valid(whole[name])
        kinds = pc.unique(made[name])
        of_rows, of_states = (_index(array, kinds) for array in (whole[name], made[name]))
        states[known] &= of_rows[known][:, None] == of_states
    if (none := partly & ~states.any(1)).any():
        raise _unheard(step, whole, int(none.argmax()), place)
    return states


def _unheard(step: Joined | Chosen, whole: Arrays, row: int, place: Place) -> UserError:
    known = (f"{name} = {conform.show(whole[name][row])}" for name in step.makes if whole[name][row].is_valid)
    return UserError(
        f"{place(row)}: no training row has {', '.join(known)}, and only combinations that occur are allowed. Correct the "
        "row, or leave a cell empty."
    )


def _index(array: pa.Array, kinds: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.index_in(array, value_set=kinds), -1).to_numpy(zero_copy_only=False))


def _valid(array: pa.Array) -> np.ndarray:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))


def _numbers(array: pa.Array) -> np.ndarray:
    """float64, NaN where missing."""
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
