"""Columns that constraints make redundant, and how they come back: what holds by construction need not be learnt.

    t = a + b            t is left out, and computed from what was drawn
    a <= b, c <= b       b is shown as its distance to the greater of a and c, which is never below what real rows have
    combination, onehot  one category stands for all columns of the group

The model learns the reduced table; a restored row satisfies these constraints whatever was drawn.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from graphlib import CycleError, TopologicalSorter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth.data.constraints import Combination, Comparison, Constraint, Formula, OneHot, stated
from synth.data.schema import Column, Schema, arrow_type
from synth.errors import UserError

Arrays = dict[str, pa.Array]


@dataclass(frozen=True)
class Step(ABC):
    """``makes`` the columns of the table from those that it ``needs`` and, where it has one, its ``column`` of the
    reduced table."""

    makes: tuple[str, ...]
    needs: tuple[str, ...]
    column: Column | None

    @abstractmethod
    def reduced(self, batch: pa.RecordBatch) -> pa.Array:
        """The reduced column of whole rows."""

    @abstractmethod
    def restored(self, arrays: Mapping[str, pa.Array]) -> Arrays:
        """The columns that it makes."""


@dataclass(frozen=True)
class Computed(Step):
    formula: Formula
    dtype: pa.DataType

    def reduced(self, batch: pa.RecordBatch) -> pa.Array:
        raise TypeError("a computed column leaves nothing to learn")

    def restored(self, arrays: Mapping[str, pa.Array]) -> Arrays:
        return {self.formula.column: self.formula.computed(_batch(arrays, self.needs), self.dtype)}


@dataclass(frozen=True)
class Gap(Step):
    """A column as its distance to the greatest of those that it is never below; missing where it is itself."""

    dtype: pa.DataType
    decimals: int | None

    def reduced(self, batch: pa.RecordBatch) -> pa.Array:
        assert self.column is not None
        [name] = self.makes
        gap = pc.subtract_checked(_plain(batch.column(name)), self._base({n: batch.column(n) for n in self.needs}))
        return gap.cast(arrow_type(self.column.dtype))

    def restored(self, arrays: Mapping[str, pa.Array]) -> Arrays:
        assert self.column is not None
        value = pc.add_checked(self._base(arrays), arrays[self.column.name])
        if pa.types.is_floating(value.type) and self.decimals is not None:
            value = pc.round(value, ndigits=self.decimals)
        if pa.types.is_integer(self.dtype):  # of a narrow type the sum may be beyond the end
            limits = np.iinfo(self.dtype.to_pandas_dtype())
            value = pc.min_element_wise(value, pa.scalar(min(limits.max, 2**63 - 1)), skip_nulls=False)
        if pa.types.is_date32(self.dtype):
            value = value.cast(pa.int32())
        return {self.makes[0]: value.cast(self.dtype)}

    def _base(self, arrays: Mapping[str, pa.Array]) -> pa.Array:
        return reduce(lambda a, b: pc.max_element_wise(a, b, skip_nulls=False), (_plain(arrays[n]) for n in self.needs))


@dataclass(frozen=True)
class Joined(Step):
    """Categories that stand together, as one: the JSON of their list."""

    dtypes: tuple[pa.DataType, ...]

    def reduced(self, batch: pa.RecordBatch) -> pa.Array:
        # Once for each combination that there is, not for each row.
        codes = [batch.column(name).dictionary_encode(null_encoding="encode") for name in self.makes]
        index = np.stack([code.indices.to_numpy(zero_copy_only=False) for code in codes], 1)
        distinct, inverse = np.unique(index, axis=0, return_inverse=True)
        words = [code.dictionary.to_pylist() for code in codes]
        spelled = [json.dumps([w[i] for w, i in zip(words, row, strict=True)], ensure_ascii=False) for row in distinct]
        return pa.array(spelled, pa.string()).take(pa.array(inverse.reshape(-1)))

    def restored(self, arrays: Mapping[str, pa.Array]) -> Arrays:
        assert self.column is not None
        code = arrays[self.column.name].dictionary_encode()
        rows = [json.loads(text) for text in code.dictionary.to_pylist()]
        return {
            name: pa.array([row[i] for row in rows], dtype).take(code.indices)
            for i, (name, dtype) in enumerate(zip(self.makes, self.dtypes, strict=True))
        }


@dataclass(frozen=True)
class Chosen(Step):
    """A one-hot group as the name of the column that is 1."""

    dtypes: tuple[pa.DataType, ...]

    def reduced(self, batch: pa.RecordBatch) -> pa.Array:
        flags = np.stack([batch.column(n).cast(pa.float64()).to_numpy(zero_copy_only=False) for n in self.makes], 1)
        return pa.array(self.makes).take(pa.array(flags.argmax(1)))

    def restored(self, arrays: Mapping[str, pa.Array]) -> Arrays:
        assert self.column is not None
        chosen = arrays[self.column.name]
        return {
            name: pc.equal(chosen, name).cast(pa.int8()).cast(dtype)
            for name, dtype in zip(self.makes, self.dtypes, strict=True)
        }


class Reduction:
    """The reduced columns of a schema, and the way there and back. UserError for constraints that cannot be."""

    def __init__(self, schema: Schema) -> None:
        self.schema, self.constraints = schema, stated(schema)
        steps = _groups(self.constraints, schema)
        made = {name for step in steps for name in step.makes}
        steps += _gaps(self.constraints, schema, made, steps)
        self.steps = _ordered(steps)

    @cached_property
    def columns(self) -> list[Column]:
        """The reduced table: a column that a step shows stands where the first of those that it makes stood."""
        shown: dict[str, Column | None] = {}
        for step in self.steps:
            shown |= dict.fromkeys(step.makes) | {step.makes[0]: step.column}
        found = [shown.get(column.name, column) for column in self.schema.learnt]
        return [column for column in found if column is not None]

    def reduce(self, batch: pa.RecordBatch) -> Arrays:
        """The reduced columns of whole rows, by name."""
        by_column = {step.column.name: step for step in self.steps if step.column is not None}
        return {
            c.name: by_column[c.name].reduced(batch) if c.name in by_column else batch.column(c.name)
            for c in self.columns
        }

    def restore(self, arrays: Arrays, known: Arrays | None = None) -> Arrays:
        """The learnt columns of whole rows, from reduced ones; where a value is ``known``, that stands and others follow
        from it."""

        def stands(made: Arrays) -> Arrays:
            return {n: pc.coalesce(known[n], a) if known is not None and n in known else a for n, a in made.items()}

        whole = stands(arrays)
        for step in self.steps:
            whole |= stands(step.restored(whole))
        return whole

    def broken(self, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        """By constraint, as it was written, which rows break it: (rows,) boolean."""
        found: dict[str, np.ndarray] = {}
        for constraint in self.constraints:
            rows = constraint.broken(batch).to_numpy(zero_copy_only=False)
            found[constraint.text] = found.get(constraint.text, False) | rows
        return found


def _groups(constraints: list[Constraint], schema: Schema) -> list[Step]:
    steps: list[Step] = []
    for constraint in constraints:
        names = constraint.columns
        match constraint:
            case Formula(column=made):
                dtype = arrow_type(schema[made].dtype)
                steps.append(Computed((made,), constraint.value.columns, None, constraint, dtype))
            case Combination() | OneHot():
                kind: type[Joined] | type[Chosen] = Joined if isinstance(constraint, Combination) else Chosen
                column = Column(name=_free(" × ".join(names), schema), kind="categorical", dtype="string")
                steps.append(kind(names, (), column, tuple(arrow_type(schema[n].dtype) for n in names)))
            case _:
                pass
    return steps


def _gaps(constraints: list[Constraint], schema: Schema, made: set[str], others: list[Step]) -> list[Step]:
    """For each column that is never below others, as long as both are drawn, and neither in a circle."""
    below: dict[str, list[str]] = {}
    for constraint in constraints:
        if not isinstance(constraint, Comparison):
            continue
        low, high = constraint.left.column, constraint.right.column
        if low is None or high is None or high in made or schema[low].nullable:
            continue  # tested on the rows that are drawn, instead
        same = (
            schema[low].dtype == schema[high].dtype
            if schema[high].kind == "datetime"
            else schema[low].kind == "numerical"
        )
        candidate = below | {high: [*below.get(high, []), low]}
        if same and _acyclic(candidate, others):
            below = candidate
    return [_gap(high, tuple(dict.fromkeys(lows)), schema) for high, lows in below.items()]


def _gap(high: str, lows: tuple[str, ...], schema: Schema) -> Gap:
    columns, dtype = [schema[n] for n in (high, *lows)], arrow_type(schema[high].dtype)
    whole = schema[high].kind == "datetime" or all(c.decimals == 0 for c in columns)
    places = [c.decimals for c in columns]
    decimals = 0 if whole else None if None in places else max(p for p in places if p is not None)
    base = lows[0] if len(lows) == 1 else f"max({', '.join(lows)})"
    column = Column(
        name=_free(f"{high} − {base}", schema), kind="numerical", dtype="int64" if whole else "double",
        nullable=schema[high].nullable, decimals=decimals,
    )  # fmt: skip
    return Gap((high,), lows, column, dtype, schema[high].decimals)


def _acyclic(below: Mapping[str, list[str]], steps: list[Step]) -> bool:
    graph = {name: list(step.needs) for step in steps for name in step.makes} | dict(below)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return False
    return True


def _ordered(steps: list[Step]) -> list[Step]:
    """Each after those that make what it needs."""
    maker = {name: step for step in steps for name in step.makes}
    graph = {id(step): [id(maker[n]) for n in step.needs if n in maker] for step in steps}
    by_id = {id(step): step for step in steps}
    try:
        return [by_id[i] for i in TopologicalSorter(graph).static_order()]
    except CycleError as e:
        texts = ", ".join(repr(s.formula.text) for s in steps if isinstance(s, Computed) and id(s) in e.args[1])
        raise UserError(f"the formulas {texts} need each other: leave one out") from e


def _free(name: str, schema: Schema) -> str:
    while name in schema.names:
        name += "'"
    return name


def _plain(array: pa.Array) -> pa.Array:
    """Numbers to compute with: moments as ticks, whole numbers as int64, others as doubles."""
    if pa.types.is_temporal(array.type):
        return array.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date32(array.type) else array.cast(pa.int64())
    return array.cast(pa.int64() if pa.types.is_integer(array.type) else pa.float64())


def _batch(arrays: Mapping[str, pa.Array], names: tuple[str, ...]) -> pa.RecordBatch:
    return pa.record_batch({name: arrays[name] for name in names})
