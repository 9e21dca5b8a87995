"""Generation after generation: each is fitted to what the policy has it learn from, and draws what the next may learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from synth.collapse.policies import Policy

Rows = TypeVar("Rows", bound=Sized)
"""Whatever a family is fitted to and draws."""


class Model(Protocol[Rows]):
    """A fitted generator."""

    def sample(self, count: int, rng: np.random.Generator) -> Rows:
        """So many rows."""
        ...

    def log_density(self, rows: Rows) -> NDArray[np.float64] | None:
        """ln p of each row, in nats, float64 (n,), where the generator knows it."""
        ...


class Family(Protocol[Rows]):
    """A kind of generator, with all that generations have in common."""

    def fit(self, rows: Rows, weights: NDArray[np.float64], rng: np.random.Generator) -> Model[Rows]:
        """The model of rows with these weights, float64 (n,), which sum to 1."""
        ...

    def gather(self, parts: Sequence[Rows], rows: NDArray[np.intp]) -> Rows:
        """Rows by their numbers, as if the parts were laid end to end."""
        ...


def chain(
    family: Family[Rows], policy: Policy, real: Callable[[int], Rows], generations: int,
    rng: Callable[[int], np.random.Generator], *, draws: int | None = None, drawn: Sequence[Rows] = (),
) -> Iterator[tuple[Model[Rows], Rows]]:  # fmt: skip
    """The models of generation 0, which learns from real rows, and of so many after it, each with the rows that it draws.

    ``real`` and ``rng`` are those of a generation: the same real rows for all of them, or new ones. ``draws``: rows that each
    generation draws, as many as there are real ones where it is not said. ``drawn``: what earlier generations drew, after
    which the chain goes on.
    """
    past = list(drawn)
    for generation in range(len(past), generations + 1):
        own, chance = real(generation), rng(generation)
        if generation == 0:
            model = family.fit(own, np.full(len(own), 1 / len(own)), chance)
        else:
            rows, weights = policy.learnt(len(own), [len(part) for part in past], chance)
            model = family.fit(family.gather([own, *past], rows), weights, chance)
        past.append(model.sample(draws or len(own), chance))
        yield model, past[-1]
