"""Whether constraints can hold at all, before anything is trained: the linear ones are a linear programme."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.optimize import linprog

from synth.data.constraints import Combination, Comparison, Constraint, Formula, OneHot
from synth.data.expression import Expression
from synth.errors import UserError

MARGIN = 1e-6  # by which a strict comparison must be able to hold
LARGEST = 1e15  # from which on the solver takes a number for a mistake
INFEASIBLE = 2  # as linprog has it
DAY_US = 86_400_000_000


def check_consistent(constraints: Sequence[Constraint]) -> None:
    """UserError that names the fewest constraints which contradict each other, or a column that two of them make."""
    times = Counter(name for c in constraints for name in _made(c))
    for name, count in times.items():
        if count > 1:
            texts = " and ".join(repr(c.text) for c in constraints if name in _made(c))
            raise UserError(f"column {name!r} is made by {texts}: leave all but one out")
    if _possible(constraints):
        return
    guilty = list(constraints)
    for constraint in constraints:  # those that none of can be spared contradict each other
        fewer = [other for other in guilty if other is not constraint]
        if not _possible(fewer):
            guilty = fewer
    texts = " and ".join(dict.fromkeys(repr(c.text) for c in guilty))
    raise UserError(f"no row can satisfy {texts}: change one of these constraints")


def _made(constraint: Constraint) -> Sequence[str]:
    """Columns that are made from something else when rows are served."""
    if isinstance(constraint, Formula):
        return (constraint.column,)
    return constraint.columns if isinstance(constraint, Combination | OneHot) else ()


def _possible(constraints: Sequence[Constraint]) -> bool:
    """Whether there are numbers that satisfy all linear comparisons, the strict ones by a margin, and linear formulas."""
    names = sorted({name for c in constraints for name in c.columns})
    at = {name: i for i, name in enumerate(names)}
    rows: dict[bool, list[np.ndarray]] = {
        True: [],
        False: [],
    }  # [factors, strict, constant], of equalities and the rest
    for constraint in constraints:
        match constraint:
            case Comparison(left=left, right=right, strict=strict):
                forms = [_form(left), _form(right)]
            case Formula(column=column, value=value):
                strict, forms = False, [({column: 1.0}, 0.0), _form(value)]
            case _:
                continue
        if forms[0] is None or forms[1] is None:
            continue
        row = np.zeros(len(names) + 2)
        for sign, (factors, _) in zip((1.0, -1.0), (forms[0], forms[1]), strict=True):
            for name, factor in factors.items():
                row[at[name]] += sign * factor
        row[-2:] = strict, forms[1][1] - forms[0][1]
        rows[isinstance(constraint, Formula)].append(row)
    equal, below = (np.array(rows[kind]).reshape(-1, len(names) + 2) for kind in (True, False))
    if not len(equal) and not len(below):
        return True
    # The last unknown is the margin, to be as large as may be.
    found = linprog(
        np.append(np.zeros(len(names)), -1.0), A_ub=below[:, :-1], b_ub=below[:, -1], A_eq=equal[:, :-1], b_eq=equal[:, -1],
        bounds=[(None, None)] * len(names) + [(0.0, 1.0)],
    )  # fmt: skip
    if found.status != 0:  # what the solver cannot decide may be
        return bool(found.status != INFEASIBLE)
    return not below[:, -2].any() or bool(found.x[-1] > MARGIN)


def _form(side: Expression) -> tuple[dict[str, float], float] | None:
    """The linear form of one side, of a moment its days since 1970; None where there is none to compute with."""
    if isinstance(side.literal, str):
        moment = pa.scalar(side.literal).cast(pa.timestamp("us")).cast(pa.int64()).as_py()
        return {}, moment / DAY_US
    form = side.linear()
    return form if form is not None and all(abs(x) < LARGEST for x in (*form[0].values(), form[1])) else None
