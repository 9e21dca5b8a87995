"""What a generation of generators learns from: real rows, what earlier generations drew, and how much each counts.

replace                 what the generation before it drew
mix:0.1                 the same, but for a tenth of real rows, which are drawn anew each time
accumulate              the real rows and all that was ever drawn
accumulate-subsample    as many of those as there are real rows, at random
fresh:golden            new real rows each time, and what the generation before it drew, with the weight that is best
fresh:0.3               the same, real rows having that weight
real                    real rows alone, as many as ``share`` says: the control
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from synth.errors import UserError
from synth.training.mixing import golden

Kind = Literal["replace", "mix", "accumulate", "accumulate-subsample", "fresh", "real"]
GOLDEN = "golden"
CONTROL = "real"
SHARED = ("mix", "fresh", "real")  # which take a share


@dataclass(frozen=True)
class Policy:
    """``share``: of real rows among all in ``mix`` and ``real``, their weight in ``fresh``; None is the golden one."""

    kind: Kind
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Policy:
        """UserError for what is none."""
        kind, _, share = text.partition(":")
        if kind not in get_args(Kind):
            raise UserError(f"--policy {text}: is none of {', '.join(get_args(Kind))}")
        if kind not in SHARED:
            if share:
                raise UserError(f"--policy {text}: {kind} takes no share; leave :{share} out")
            return cls(kind)  # type: ignore[arg-type]
        if share in ("", GOLDEN) and kind == "fresh":
            return cls("fresh")
        try:
            value = float(share or 1 if kind == "real" else share)
        except ValueError:
            value = math.nan
        if not 0 < value <= 1:
            raise UserError(f"--policy {text}: the share of real rows is above 0 and at most 1, as in {kind}:0.1")
        return cls(kind, value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        share = GOLDEN if self.kind == "fresh" and self.share is None else self.share
        if share is None or (self.kind, share) == ("real", 1):
            return self.kind
        return f"{self.kind}:{share if share == GOLDEN else f'{share:g}'}"

    def learnt(
        self, real: int, drawn: Sequence[int], rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """What the next generation learns from, and the rows' weights, float64 (n,), which sum to 1. Rows are numbered as if
        the ``real`` ones, which it may have, new ones where they are ``fresh``, and those that each earlier generation has
        ``drawn`` were laid end to end."""
        every, last = np.arange(real + sum(drawn)), drawn[-1]
        latest = every[-last:]
        match self.kind:
            case "replace":
                found = latest
            case "mix" | "real":
                assert self.share is not None
                own = max(1, round(self.share * real))
                found = rng.permutation(real)[:own]
                if self.kind == "mix":
                    found = np.concatenate([found, rng.permutation(latest)[: real - own]])
            case "accumulate":
                found = every
            case "accumulate-subsample":
                found = rng.choice(every, real, replace=False)
            case "fresh":
                weight = golden(real / last) if self.share is None else self.share
                weights = np.concatenate([np.full(real, weight / real), np.full(last, (1 - weight) / last)])
                return np.concatenate([every[:real], latest]), weights
        return found, np.full(len(found), 1 / len(found))
