"""A study of collapse as it is kept: what was asked, and what each generation of each chain was measured to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from cluster import storage
from synth.errors import UserError

FILE = "study.json"


class Chain(BaseModel):
    """The figures of the generations of one policy and seed, and the seconds that each took to be fitted and to draw."""

    model_config = ConfigDict(extra="forbid")

    policy: str
    seed: int
    figures: Sequence[Mapping[str, float]]
    seconds: Sequence[float]


class Asked(BaseModel):
    """What a study is of. Another ``family``, seed, number of rows or list of policies is another study."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    policies: list[str]
    generations: int
    seeds: int
    rows: int
    seed: int

    @property
    def chains(self) -> list[tuple[str, int]]:
        """Policies and seeds."""
        return [(policy, seed) for seed in range(self.seeds) for policy in self.policies]


class Study(BaseModel):
    """``found``: of each policy and seed the figures of its generations, as far as they are known; ``real``: the figures of
    other real rows, which no generator can be better than but by chance, empty where there are none; ``rows`` there are."""

    model_config = ConfigDict(extra="forbid")

    data: str
    target: str | None
    asked: Asked
    rows: dict[str, int]
    real: dict[str, float]
    notes: list[str]
    found: list[Chain]

    def curve(self, policy: str, figure: str) -> Curve | None:
        """A figure over the generations that all seeds have reached; None where it was not measured."""
        chains = [chain.figures for chain in self.found if chain.policy == policy]
        known = min((len(figures) for figures in chains), default=0)
        values = [[figures[g].get(figure, np.nan) for g in range(known)] for figures in chains]
        return None if known == 0 or np.isnan(values).any() else Curve(np.array(values))

    def save(self, folder: str) -> None:
        storage.write_bytes(storage.join(folder, FILE), self.model_dump_json(indent=1).encode())

    @classmethod
    def load(cls, folder: str) -> Study:
        """UserError where there is none, or one that is damaged."""
        place = storage.join(folder, FILE)
        try:
            return cls.model_validate_json(storage.read_bytes(place))
        except ValidationError as e:
            raise UserError(f"{storage.without_credentials(place)}: is no study that this version reads") from e


@dataclass(frozen=True)
class Curve:
    """``values``: float64 (seeds, generations + 1)."""

    values: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        return self.values.mean(axis=0)

    @property
    def error(self) -> NDArray[np.float64]:
        """One standard error over the seeds; NaN of one seed, of which nothing is known."""
        seeds = len(self.values)
        return self.values.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(self.values.shape[1], np.nan)
