"""Real and synthetic rows in one training: which are given, and how much each kind counts.

They are weighted and not pooled: each kind makes up its share of every batch, however many rows it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cluster.location import without_credentials
from synth.data.reduction import Reduction
from synth.data.schema import Schema, nearest
from synth.data.source import Source, open_source
from synth.errors import UserError

LEAST = 1e-4  # share of every batch
NAME = "synthetic"  # of sources, which are numbered
Mix = float | Literal["golden"]


def golden(ratio: float) -> float:
    """The weight of real rows, with which a model of ``ratio`` real rows to one synthetic row is estimated best, generation
    after generation: w* = (√(k² + 4k) − k) / 2 (He, Xu and Cheng 2025, arXiv 2502.18049); of one to one, 1/φ."""
    return (math.sqrt(ratio * ratio + 4 * ratio) - ratio) / 2


@dataclass(frozen=True)
class Given:
    """A table of synthetic rows, whatever ``open_source`` takes, and its ``weight`` among such tables; None: by its rows."""

    data: Any
    weight: float | None = None

    @classmethod
    def parse(cls, text: str) -> Given:
        """``FILE`` or ``FILE@WEIGHT``. UserError for a weight that is none."""
        place, at, weight = text.rpartition("@")
        if not at or "/" in weight or Path(text).exists():  # a URI's user, perhaps, or a name
            return cls(text)
        try:
            value = float(weight)
        except ValueError:
            return cls(text)
        if not 0 < value < math.inf:
            name = without_credentials(place)
            raise UserError(f"--synthetic {name}@{weight}: the weight is above 0, as in {name}@2")
        return cls(place, value)


def listed(synthetic: Any) -> list[Given]:
    """The tables that a caller gives: one, or a list of several, each alone or as (table, weight). UserError for a weight that
    is none."""
    if synthetic is None:
        return []
    found = []
    for one in synthetic if isinstance(synthetic, list) else [synthetic]:
        table, weight = one if isinstance(one, tuple) and len(one) == 2 else (one, None)
        if weight is not None and not (isinstance(weight, int | float) and 0 < weight < math.inf):
            raise UserError(f"synthetic: the weight {weight!r} is no number above 0, as in ('rows.csv', 2)")
        found.append(Given(table, weight))
    return found


def opened(given: Sequence[Given], schema: Schema, as_text: Sequence[str]) -> dict[str, Source]:
    """The sources by their names. UserError for a table that lacks columns of the real one."""
    found = dict[str, Source]()
    for number, one in enumerate(given, 1):
        source = open_source(one.data, as_text=as_text)
        names = source.schema.names
        ruled = [name for constraint in Reduction(schema).constraints for name in constraint.columns]
        wanted = list(dict.fromkeys([*(column.name for column in schema.learnt), *ruled]))
        if missing := [name for name in wanted if name not in names]:
            others = [name for name in names if name not in schema.names]
            has = f", and has {_listed(others)}, which the real rows do not" if others else ""
            raise UserError(
                f"{source.location}: lacks {_listed(missing)} of the real rows{has}; give rows of the same table."
                f"{nearest(missing[0], names)}"
            )
        found[f"{NAME} {number}"] = source
    return found


def shares(real: int, synthetic: Sequence[int], weights: Sequence[float | None], mix: Mix) -> tuple[float, list[float]]:
    """The share of ``real`` rows in each batch, and that of each table of ``synthetic`` ones, of so many rows; all of them
    together are 1. UserError for a share below LEAST."""
    every = sum(synthetic)
    own = golden(real / every) if mix == "golden" else mix
    if all(weight is None for weight in weights):
        parts = [count / every for count in synthetic]
    else:
        told = [1.0 if weight is None else weight for weight in weights]
        parts = [weight / sum(told) for weight in told]
    found = [(1 - own) * part for part in parts]
    if min(own, *found) < LEAST:
        raise UserError(
            f"a share of {min(own, *found):.1g} of every batch is too little to learn from: give {LEAST:g} or more"
        )
    return own, found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
