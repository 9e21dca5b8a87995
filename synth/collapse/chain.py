"""Generation after generation: each is fitted to what the policy has it learn from, and draws what the next may learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from synth.collapse.exact import Family, Model
from synth.collapse.policies import Policy
from synth.collapse.rows import Rows


def chain(
    family: Family, policy: Policy, real: Rows, generations: int, rng: np.random.Generator,
    *, fresh: Sequence[Rows] = (), draws: int | None = None,
) -> Iterator[Model]:  # fmt: skip
    """The models of generation 0, which learns from the ``real`` rows, and of so many after it.

    ``fresh``: the real rows of each later generation, where the policy asks for new ones; ``draws``: rows that each
    generation draws, as many as there are real ones where it is not said.
    """
    drawn: list[Rows] = []
    for generation in range(generations + 1):
        if generation == 0:
            rows, weights = real, np.full(len(real), 1 / len(real))
        else:
            rows, weights = policy.learnt(fresh[generation - 1] if fresh else real, drawn, rng)
        model = family.fit(rows, weights, rng)
        yield model
        drawn.append(model.sample(draws or len(real), rng))
